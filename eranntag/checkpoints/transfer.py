"""Downloads in a thread, which are aborted when too few bytes arrive, or too many.

The timeouts of HTTP libraries do not cover everything: the system's resolver has its own, a server that sends a byte a second
never times out, and some libraries retry for minutes. An aborted thread ends with the next bytes that arrive, or with the
process. It only writes into a folder that has been removed by then.
"""

import concurrent.futures
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from eranntag.checkpoints import limits

T = TypeVar("T")
ProgressCallback = Callable[[int, int], None]  # bytes done, bytes in all

STALL_SECONDS = 25.0  # the longest wait for STALL_BYTES
STALL_BYTES = 32 << 10  # in 25 seconds: 1.3 kB/s, a fifth of a slow modem
TIMEOUT = 10.0  # seconds of silence on one connection, for the libraries
CHUNK_BYTES = 16 << 10  # bytes that the libraries are to pass on at once, or a slow line would seem to be silent
POLL_SECONDS = 0.1
MAX_BYTES = limits.MAX_FILE  # bytes of a file whose size is not known


class ConnectionFailed(Exception):
    """There was no usable answer; `str` is the cause."""


class NotAvailable(Exception):
    """The server has no such file, or denies it to this user; `str` is the cause."""


class InvalidDownload(Exception):
    """The download is not the file, or only a part of it; `str` describes it."""


class ByteCounter:
    """Counts the bytes of one file of `most` bytes at most; stops the thread that counts them with an exception."""

    def __init__(self, most: int) -> None:
        self.most, self.done = most, 0
        self._stopped = threading.Event()

    def add(self, count: int) -> None:
        """Count bytes that arrived. Raises InvalidDownload for too many, and for a negative count: the server began again."""
        self.check()
        if count < 0:
            raise InvalidDownload(f"a file that was cut after {self.done} bytes")
        self.done += count
        if self.done > self.most:
            raise InvalidDownload(f"more than {self.most} bytes")

    def check(self) -> None:
        """Raise ConnectionFailed if the download was aborted."""
        if self._stopped.is_set():
            raise ConnectionFailed("aborted")

    def stop(self) -> None:
        self._stopped.set()


def run_with_stall_timeout(work: Callable[[ByteCounter], T], most: int, report: ProgressCallback | None = None) -> T:
    """Return `work(counter)`, computed in a thread, where the counter counts the bytes that arrive.

    Raises what `work` raises, and ConnectionFailed when fewer than STALL_BYTES arrive in STALL_SECONDS. `report` is called in
    this thread with the bytes that arrived and those of the file.
    """
    counter, future = ByteCounter(most), concurrent.futures.Future[T]()

    def run() -> None:
        try:
            future.set_result(work(counter))
        except BaseException as error:  # belongs to the thread that waits
            future.set_exception(error)

    threading.Thread(target=run, name="download", daemon=True).start()
    counted, reported, until = 0, 0, time.monotonic() + STALL_SECONDS
    try:
        while not concurrent.futures.wait([future], POLL_SECONDS).done:
            if counter.done - counted >= STALL_BYTES:
                counted, until = counter.done, time.monotonic() + STALL_SECONDS
            elif time.monotonic() >= until:
                raise ConnectionFailed(f"fewer than {STALL_BYTES} bytes in {STALL_SECONDS:g} s")
            if report is not None and counter.done > reported:
                reported = counter.done
                report(reported, counter.most)
        result = future.result()
        if report is not None and counter.done > reported:
            report(counter.done, counter.most)
        return result
    finally:
        counter.stop()


def root_cause(error: BaseException) -> BaseException:
    """Return the first error in a chain of errors."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return error


def cause_text(error: BaseException) -> str:
    """Return the root cause of a library's error in one line.

    The addresses that outer layers quote are left out: those of a storage are signed.
    """
    error = root_cause(error)
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:200].rstrip(".") or type(error).__name__
