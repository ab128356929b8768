"""How time is taken: warm up until it is stable, repeat while the budget lasts, report the middle and the ends."""

import gc
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from eranntag.errors import EranntagError

WARM_UPS = 2  # at least: a GPU captures its graph at the second run of a shape
REPEATS = 3  # at least, unless they take PATIENCE times the budget
PATIENCE = 4
STABLE = 0.05  # two successive warm-ups differ by less

Done = TypeVar("Done")


@dataclass(frozen=True)
class Spread:
    """The median, the lowest and the highest of `runs` measurements."""

    median: float
    lowest: float
    highest: float
    runs: int


def spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values), len(values))


def rate(seconds: Sequence[float], amount: float = 1) -> Spread:
    """`amount` things in each of `seconds` -> things a second."""
    return spread([amount / each for each in seconds])


def percentile(values: Sequence[float], percent: float) -> float:
    """Linear between neighbours."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def clocked(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def timed(work: Callable[[], object], budget: float, repeats: int = REPEATS) -> list[float]:
    """Seconds of each run of `work` after its warm-up. About `budget` seconds for either, so that slow machines finish."""
    warm_ups: list[float] = []
    while len(warm_ups) < WARM_UPS or (sum(warm_ups) < budget and not _stable(*warm_ups[-2:])):
        warm_ups.append(clocked(work))
    times: list[float] = []
    while not times or sum(times) < (budget if len(times) >= repeats else PATIENCE * budget):
        times.append(clocked(work))
    return times


def _stable(before: float, now: float) -> bool:
    return abs(now - before) <= STABLE * before


def fitting(batch: int, work: Callable[[int], Done], tell: Callable[[str], None]) -> tuple[int, Done]:
    """`work(batch)`, halving the batch until it fits into memory: the batch that did, and the result.

    EranntagError when not even one clip fits.
    """
    while True:
        try:
            return batch, work(batch)
        except (MemoryError, RuntimeError) as error:
            if not _is_lack_of_memory(error):
                raise
        # here, where the failed batch's tensors are gone
        _free()
        if batch == 1:
            raise EranntagError("out of memory with a single clip; try fewer --seconds, or another --device or --dtype")
        tell(f"out of memory with a batch of {batch}; {batch // 2} is measured instead")
        batch //= 2


def _is_lack_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(sign in text for sign in ("out of memory", "alloc", "not enough memory"))


def _free() -> None:
    gc.collect()
    if torch := sys.modules.get("torch"):
        torch.cuda.empty_cache()
