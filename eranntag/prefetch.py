"""`map` in threads for streams of any length: a few results are computed ahead, which bounds the memory."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, most: int | None = None
) -> Generator[Result]:
    """The results in order, at most `most` items (2 * `workers`) ahead of whoever takes them."""
    remaining = iter(items)
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="ahead")
    try:
        waiting.extend(pool.submit(function, item) for item in islice(remaining, most or 2 * workers))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in islice(remaining, 1))
            yield result
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # whoever has had enough does not wait for what is under way
