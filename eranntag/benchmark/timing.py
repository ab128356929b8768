"""Measuring time: warm up until it is stable, repeat for a budget of seconds, report median, minimum and maximum."""

import gc
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from eranntag.errors import EranntagError

WARM_UPS = 2  # at least: on a GPU a graph is captured in the second run of a shape
REPEATS = 3  # at least, unless they take MAX_BUDGETS times the budget
MAX_BUDGETS = 4
STABLE = 0.05  # relative difference of two successive warm-ups

Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class Spread:
    """The median, the lowest and the highest of `runs` measurements."""

    median: float
    lowest: float
    highest: float
    runs: int


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of `values`, of which there must be one."""
    return Spread(statistics.median(values), min(values), max(values), len(values))


def rate(seconds: Sequence[float], amount: float = 1) -> Spread:
    """Return the rates per second of runs that took `seconds` for `amount` things each."""
    return spread([amount / each for each in seconds])


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the percentile with linear interpolation."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def time_once(work: Callable[[], object]) -> float:
    """Return the seconds that `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def time_repeatedly(work: Callable[[], object], budget: float, repeats: int = REPEATS) -> list[float]:
    """Return the seconds of each run of `work` after a warm-up; both take about `budget` seconds, also on slow machines."""
    warm_ups: list[float] = []
    while len(warm_ups) < WARM_UPS or (sum(warm_ups) < budget and not _stable(*warm_ups[-2:])):
        warm_ups.append(time_once(work))
    times: list[float] = []
    while not times or sum(times) < (budget if len(times) >= repeats else MAX_BUDGETS * budget):
        times.append(time_once(work))
    return times


def _stable(before: float, now: float) -> bool:
    return abs(now - before) <= STABLE * before


def largest_fitting_batch(batch: int, work: Callable[[int], Outcome], log: Callable[[str], None]) -> tuple[int, Outcome]:
    """Return the batch size, halved from `batch` until `work(batch)` fits into memory, and its result.

    Raises EranntagError if not even one clip fits.
    """
    while True:
        try:
            return batch, work(batch)
        except (MemoryError, RuntimeError) as error:
            if not _is_lack_of_memory(error):
                raise
        # outside of `except`, where the tensors of the failed batch are freed
        _free()
        if batch == 1:
            raise EranntagError("out of memory with a single clip; try fewer --seconds, or another --device or --dtype")
        log(f"out of memory with a batch of {batch}; {batch // 2} is measured instead")
        batch //= 2


def _is_lack_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(sign in text for sign in ("out of memory", "alloc", "not enough memory"))


def _free() -> None:
    gc.collect()
    if torch := sys.modules.get("torch"):
        torch.cuda.empty_cache()
