"""Learning rates as functions of the iteration, and of what was measured so far: a resumed run needs no scheduler state."""

import math
from collections.abc import Sequence

WAITING, BETTER, DIVISOR = 3, 1e-4, 10  # evaluations, a share of the best, of the rate


def constant(iteration: int, total: int, peak: float) -> tuple[float, float]:
    """The papers' small data sets: (learning rate, Adam's beta1)."""
    return peak, 0.9


def one_cycle(iteration: int, total: int, peak: float) -> tuple[float, float]:
    """torch's OneCycleLR with its defaults: cosine from peak / 25 up over 30 % of the run, down to peak / 250 000."""
    top = 0.3 * total - 1
    if iteration <= top:
        rate, beta1 = _cosine(peak / 25, peak, iteration / top), _cosine(0.95, 0.85, iteration / top)
    else:
        down = (iteration - top) / (total - 1 - top)
        rate, beta1 = _cosine(peak, peak / 25 / 1e4, down), _cosine(0.85, 0.95, down)
    return rate, beta1


def psla_balanced(iteration: int, total: int, peak: float) -> tuple[float, float]:
    """PSLA on the balanced set (Gong et al., 2021): halved every 5 of 60 epochs after the 35th; Adam's beta1 is 0.95."""
    return _halved(iteration, total, peak, epochs=60, after=35)


def psla_full(iteration: int, total: int, peak: float) -> tuple[float, float]:
    """PSLA on the full set: halved every 5 of 30 epochs after the 10th."""
    return _halved(iteration, total, peak, epochs=30, after=10)


def plateau(iteration: int, total: int, peak: float) -> tuple[float, float]:
    """2APAE's (its authors' code has torch's ReduceLROnPlateau): constant; the trainer divides it by DIVISOR at each
    of the `plateaus`. Without held-out clips there are none."""
    return peak, 0.9


def plateaus(measured: Sequence[float]) -> int:
    """How often more than WAITING evaluations in a row brought nothing BETTER than the best before them."""
    count, waiting, best = 0, 0, -math.inf
    for value in measured:
        if value > best * (1 + BETTER):
            best, waiting = value, 0
        else:
            waiting += 1
        if waiting > WAITING:
            count, waiting = count + 1, 0
    return count


def _halved(iteration: int, total: int, peak: float, epochs: int, after: int) -> tuple[float, float]:
    epoch = iteration * epochs // total  # from 0
    return peak * 0.5 ** max(0, (epoch - after) // 5 + 1), 0.95


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


SCHEDULES = {
    "constant": constant,
    "one-cycle": one_cycle,
    "plateau": plateau,
    "psla-balanced": psla_balanced,
    "psla-full": psla_full,
}
