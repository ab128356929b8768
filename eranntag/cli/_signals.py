"""Signals: the first one raises an exception, so that open files are finished; the next ones are ignored meanwhile."""

import signal
import sys
from typing import Any

RETRY_SECONDS = 0.25
received: list[int] = []  # the numbers of the signals


def handle(number: int) -> None:
    """Let signal `number` raise KeyboardInterrupt (SIGINT) or SystemExit(128 + number).

    A library may replace the exception by another one, and in a destructor Python drops it. So a timer raises it again until
    it is being handled.
    """

    def stop(*_: Any) -> None:
        if received and _is_being_handled():
            return
        received.append(number)
        if hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, stop)
            signal.setitimer(signal.ITIMER_REAL, RETRY_SECONDS, RETRY_SECONDS)
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    signal.signal(number, stop)


def _is_being_handled() -> bool:
    """Return whether the interrupted code is in an `except` or `finally` of the exception that a signal raised."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, KeyboardInterrupt | SystemExit):
        error = error.__context__
    return error is not None


def stop_timer() -> None:
    """Raise nothing any more."""
    if received and hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)
    exec("")  # resets CPython's mark of an interrupted `exec` of a text, which would change the exit code
