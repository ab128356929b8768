"""Calls that may never return, in a thread of their own, so that whoever asks need not wait for ever.

No timeout of an HTTP client covers everything: the system's resolver has its own, and a server that sends a byte a second
always answers in time.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class Late(Exception):
    """A call took longer than it was given."""


class Aside:
    """`call(work, seconds)` is `work()`, or Late after so long. Then the thread is left to itself: it ends with that work, or
    with the process."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="aside", daemon=True).start()

    def call(self, work: Callable[[], T], seconds: float) -> T:
        self._work.put(work)
        try:
            result, error = self._results.get(timeout=max(0.0, seconds))
        except queue.Empty:
            raise Late from None
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    def end(self) -> None:
        self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                self._results.put((work(), None))
            except BaseException as error:  # for whoever asked, not for this thread
                self._results.put((None, error))


@contextmanager
def aside() -> Iterator[Aside]:
    helper = Aside()
    try:
        yield helper
    finally:
        helper.end()
