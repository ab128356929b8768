"""Ctrl-C and SIGTERM let a run finish its iteration and save; a second one ends it at once."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def postponed() -> Iterator[Callable[[], Callable[[], None] | None]]:
    """Yield `asked()`: None, or once a signal has come the function that does what the signal would have done.

    Only the main thread can catch signals: in others nothing is postponed.
    """
    come: list[int] = []
    before: dict[int, Any] = {}

    def act() -> None:
        handler = before[come[0]]
        if not callable(handler):  # the system's default is to end
            raise SystemExit(128 + come[0])
        handler(come[0], None)

    def note(number: int, frame: Any) -> None:
        come.append(number)
        if len(come) > 1:
            act()

    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield lambda: act if come else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
