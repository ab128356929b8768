"""The process. While the command line is not there yet, and when it has done its work, a signal ends it without a word."""

import atexit
import os
import signal
from typing import Any, NoReturn


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # else whoever started this wants it to be ignored
            signal.signal(number, end)
    atexit.register(ignore)  # called last, when all threads have ended
    from eranntag.cli import _process

    try:
        _process.run()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, end)


def ignore() -> None:
    """Python is about to take its handlers away; from then on a signal would end the process with a code of its own."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def end(number: int, _: Any) -> NoReturn:
    os._exit(128 + number)


if __name__ == "__main__":
    main()
