"""What the process has from outside: streams, signals, and what libraries say of their own accord. None of it is a traceback.

Only the command line does this, never a program that imports eranntag.
"""

import io
import logging
import os
import signal
import sys
import threading
import warnings
from types import TracebackType
from typing import Any

from eranntag.cli.display import terminal

AGAIN_SECONDS = 0.25


def run() -> None:
    """The command line, to its exit code."""
    from eranntag.cli import cli

    _open_streams()
    keep_to_a_line()
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) != signal.SIG_IGN:  # else whoever started this wants it to be ignored
            _listen(number)
    try:
        cli(prog_name="eranntag")
    except KeyboardInterrupt:  # which came while the end of the run was told
        sys.exit(130)
    finally:
        _at_rest()


def _open_streams() -> None:
    """Every stream is there, and takes every text.

    One that was closed would be None; and the next file to be opened would get its number, so that what a library prints went
    into the results. Now standard input is empty, what is written to standard output fails, and standard error goes nowhere.
    """
    for number, mode in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, mode), True)  # gets the lowest number that is free
    sys.stdin = sys.stdin or io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)))
    sys.stdout = sys.stdout or _writer(1)
    sys.stderr = sys.stderr or _writer(2)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def _writer(number: int) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(io.FileIO(number, "w", closefd=False)), encoding="utf-8")


def keep_to_a_line() -> None:
    """Warnings and logs of libraries, and errors where nobody can catch them: in threads of theirs, in destructors."""

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            terminal.print_status(f"eranntag: {record.name}: {_first_line(record.getMessage())}")

    def warned(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        terminal.print_status(f"eranntag: {category.__name__}: {_first_line(message)}")

    def failed(kind: type[BaseException], error: BaseException | None, _: TracebackType | None = None) -> None:
        if not issubclass(kind, (KeyboardInterrupt, SystemExit, BrokenPipeError)):
            terminal.print_status(f"eranntag: {kind.__name__}: {_first_line(error or '')}")

    logging.lastResort = Told(logging.WARNING)  # type: ignore[assignment]
    warnings.showwarning = warned  # type: ignore[assignment]
    threading.excepthook = lambda args: failed(args.exc_type, args.exc_value)
    sys.unraisablehook = lambda args: failed(args.exc_type, args.exc_value)


def _first_line(text: object) -> str:
    return str(text).strip().partition("\n")[0]


stopped: list[int] = []  # the signals that were heard


def _listen(number: int) -> None:
    """The first signal ends the run by an exception, so that what is open is finished; meanwhile others only would break that.

    Some libraries make another error of it, or it comes in a destructor, where Python drops it. So it comes again by itself
    until it is under way.
    """

    def stop(*_: Any) -> None:
        if stopped and _under_way():
            return
        stopped.append(number)
        if hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, stop)
            signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS, AGAIN_SECONDS)
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    signal.signal(number, stop)


def _under_way() -> bool:
    """Is what the first signal raised being handled by somebody?"""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, (KeyboardInterrupt, SystemExit)):
        error = error.__context__
    return error is not None


def _at_rest() -> None:
    """Nothing is raised any more."""
    if stopped and hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)
    exec("")  # Python would end with another exit code if an `exec` of a text was interrupted; this makes it forget that
