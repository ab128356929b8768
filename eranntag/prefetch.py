"""Bounded parallel map: results are computed in threads, a few of them ahead of the consumer."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, limit: int | None = None
) -> Generator[Result]:
    """Yield `function(item)` for each item in order, computed in `workers` threads.

    At most `limit` results (2 * `workers` by default) are computed or in progress ahead of the consumer, which bounds the
    memory that a stream of any length takes.
    """
    remaining = iter(items)
    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="prefetch")
    try:
        pending.extend(pool.submit(function, item) for item in islice(remaining, limit or 2 * workers))
        while pending:
            result = pending.popleft().result()
            pending.extend(pool.submit(function, item) for item in islice(remaining, 1))
            yield result
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # do not block on tasks in progress when the consumer stops
