"""The program `eranntag`; before the command line is loaded and after it has ended, a signal ends it at once and silently."""

import atexit
import os
import signal
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main() -> None:
    _end_on_signals()
    atexit.register(_ignore_signals)  # runs last, when all threads have ended
    from eranntag.cli import main as run

    try:
        run()
    finally:
        _end_on_signals()


def _end_on_signals() -> None:
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # the parent process wants it to be ignored
            signal.signal(number, _exit)


def _ignore_signals() -> None:
    """Ignore signals while Python removes its handlers, after which they would end the process with another exit code."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _exit(number: int, _: Any) -> NoReturn:
    os._exit(128 + number)


if __name__ == "__main__":
    main()
