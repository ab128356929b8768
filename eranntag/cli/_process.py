"""The process of the command line: its streams, its signals, and the messages of libraries, none of which is a traceback.

Nothing here happens in a program that imports eranntag.
"""

import io
import logging
import os
import signal
import sys
import threading
import warnings
from typing import Any

from eranntag.cli import _signals
from eranntag.cli._group import cli
from eranntag.cli.display import terminal


def run() -> None:
    """Run the command line of this process; raises SystemExit with the exit code."""
    _open_streams()
    shorten_messages()
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) != signal.SIG_IGN:  # the parent process wants it to be ignored
            _signals.handle(number)
    try:
        cli(prog_name="eranntag")
    except KeyboardInterrupt:  # a signal while the error of the run was printed
        sys.exit(130)
    finally:
        _signals.stop_timer()


def _open_streams() -> None:
    """Open the standard streams that are closed, and let all of them take any text.

    A closed stream would be None, and the next file that is opened would get its number, so that a library's messages went
    into the results. Here standard input becomes empty, writing to standard output fails, and standard error is discarded.
    """
    for number, mode in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, mode), True)  # gets the lowest free number, which is this one
    sys.stdin = sys.stdin or io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)))
    sys.stdout = sys.stdout or _writer(1)
    sys.stderr = sys.stderr or _writer(2)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # both are TextIOWrappers


def _writer(number: int) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(io.FileIO(number, "w", closefd=False)), encoding="utf-8")


def shorten_messages() -> None:
    """Print warnings, log records and uncaught errors of threads and destructors as one line each."""

    class LineHandler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            _print_line(record.name, record.getMessage())

    def show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        _print_line(category.__name__, message)

    def show_error(kind: type[BaseException], error: BaseException | None) -> None:
        if not issubclass(kind, (KeyboardInterrupt, SystemExit, BrokenPipeError)):
            _print_line(kind.__name__, error or "")

    logging.lastResort = LineHandler(logging.WARNING)
    warnings.showwarning = show_warning
    threading.excepthook = lambda args: show_error(args.exc_type, args.exc_value)
    sys.unraisablehook = lambda args: show_error(args.exc_type, args.exc_value)


def _print_line(name: str, text: object) -> None:
    first = str(text).strip().partition("\n")[0]
    terminal.print_status(f"eranntag: {name}: {first}")
