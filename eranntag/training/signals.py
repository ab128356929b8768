"""Ctrl-C and SIGTERM let a run finish its iteration and save; a second one ends it at once."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def postponed() -> Iterator[Callable[[], Callable[[], None] | None]]:
    """Yield a function that returns None, or after a signal a function that does what the signal would have done.

    Only the main thread can catch signals: in others nothing is postponed.
    """
    received: list[int] = []
    previous: dict[int, Any] = {}

    def deliver() -> None:
        handler = previous[received[0]]
        if not callable(handler):  # the system's default is to end
            raise SystemExit(128 + received[0])
        handler(received[0], None)

    def note(number: int, frame: Any) -> None:
        received.append(number)
        if len(received) > 1:
            deliver()

    if threading.current_thread() is threading.main_thread():
        previous = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield lambda: deliver if received else None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
