"""A download in a thread of its own, which is given up when too few bytes arrive, or too many.

The timeouts of HTTP libraries do not cover everything: the system's resolver has its own, a server that sends a byte a second
always answers in time, and some libraries try again for minutes. A thread that was given up ends with the next bytes that
arrive, or with the process. It only writes into a folder that has been removed by then.
"""

import concurrent.futures
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from eranntag.checkpoints import limits

T = TypeVar("T")
Report = Callable[[int, int], None]  # bytes done, bytes in all

SECONDS = 25.0  # the longest wait for SLOWEST_BYTES
SLOWEST_BYTES = 32 << 10  # in 25 seconds: 1.3 kB/s, a fifth of a slow modem
TIMEOUT = 10.0  # seconds of silence on one connection, for the libraries
PIECE = 16 << 10  # bytes that the libraries are to pass on at once, or a slow line would seem to be silent
POLL_SECONDS = 0.1
MOST = limits.MAX_FILE  # bytes of a file whose size is not known


class Unreachable(Exception):
    """There was no usable answer; `str` is the cause."""


class Refused(Exception):
    """The server has no such file, or not for this user; `str` is the cause."""


class Wrong(Exception):
    """What arrived is not the file, or only a part of it; `str` describes it."""


class Meter:
    """Counts the bytes of one file of `most` bytes at most; stops the thread that counts them with an exception."""

    def __init__(self, most: int) -> None:
        self.most, self.done = most, 0
        self._stopped = threading.Event()

    def add(self, count: int) -> None:
        """Count bytes that arrived. Raises Wrong for too many, and for a negative count: a server that begins again."""
        self.check()
        if count < 0:
            raise Wrong(f"a file that was cut after {self.done} bytes")
        self.done += count
        if self.done > self.most:
            raise Wrong(f"more than {self.most} bytes")

    def check(self) -> None:
        """Raise Unreachable if the download was given up."""
        if self._stopped.is_set():
            raise Unreachable("given up")

    def stop(self) -> None:
        self._stopped.set()


def watched(work: Callable[[Meter], T], most: int, report: Report | None = None) -> T:
    """Return `work(meter)`, computed in a thread, where the meter counts what arrives.

    Raises what `work` raises, and Unreachable when fewer than SLOWEST_BYTES arrive in SECONDS. `report` is called in this
    thread with the bytes that arrived and those of the file.
    """
    meter, future = Meter(most), concurrent.futures.Future[T]()

    def run() -> None:
        try:
            future.set_result(work(meter))
        except BaseException as error:  # belongs to the thread that waits
            future.set_exception(error)

    threading.Thread(target=run, name="download", daemon=True).start()
    counted, reported, until = 0, 0, time.monotonic() + SECONDS
    try:
        while not concurrent.futures.wait([future], POLL_SECONDS).done:
            if meter.done - counted >= SLOWEST_BYTES:
                counted, until = meter.done, time.monotonic() + SECONDS
            elif time.monotonic() >= until:
                raise Unreachable(f"fewer than {SLOWEST_BYTES} bytes in {SECONDS:g} s")
            if report is not None and meter.done > reported:
                reported = meter.done
                report(reported, meter.most)
        result = future.result()
        if report is not None and meter.done > reported:
            report(meter.done, meter.most)
        return result
    finally:
        meter.stop()


def innermost(error: BaseException) -> BaseException:
    """The error that a library's errors are about."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return error


def cause(error: BaseException) -> str:
    """The innermost cause of a library's error in one line, without the addresses that its outer layers quote: those of a
    storage are signed."""
    error = innermost(error)
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:200].rstrip(".") or type(error).__name__
