"""Samplers: position in the endless stream of training clips -> index of a clip.

Every sampler is a function of (seed, position): its whole state is the number of iterations done, which the run's state holds,
and any process can compute its own share of a batch without communication.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np

Targets = Sequence[tuple[int, ...]]  # the class indices of every clip


class Sampler(Protocol):
    def __call__(self, position: int) -> int:
        """The index of the clip at `position` of the stream."""


@lru_cache(maxsize=8192)  # more than a lap of the queue uses
def _permutation(size: int, *key: int) -> np.ndarray:
    return np.random.default_rng(key).permutation(size)


class Shuffled:
    """Every clip once an epoch, in another order each time."""

    def __init__(self, targets: Targets, seed: int) -> None:
        self.clips, self.seed = len(targets), seed

    def __call__(self, position: int) -> int:
        epoch, place = divmod(position, self.clips)
        return int(_permutation(self.clips, self.seed, 1, epoch)[place])


class Balanced:
    """PANNs' class queue (Kong et al. 2020, `BalancedTrainSampler`), which ERANN uses on AudioSet (Section 4.2).

    Each lap visits every class that has clips once, in random order, and takes that class's next clip; a class whose
    clips have all been drawn shuffles them. So in lap n a class has been visited n times before, which fixes its pointer.
    `order(size, *key)` returns a permutation; a test passes fixed ones. Clips without labels are never drawn.
    """

    def __init__(self, targets: Targets, seed: int, order: Callable[..., np.ndarray] = _permutation) -> None:
        self.seed, self.order = seed, order
        clips: dict[int, list[int]] = {}
        for index, classes in enumerate(targets):
            for label in classes:
                clips.setdefault(label, []).append(index)
        self.clips = [np.array(clips[label]) for label in sorted(clips)]

    def __call__(self, position: int) -> int:
        lap, place = divmod(position, len(self.clips))
        which = self.order(len(self.clips), self.seed, 2, lap)[place]
        clips = self.clips[which]
        epoch, pointer = divmod(lap, len(clips))
        return int(clips[self.order(len(clips), self.seed, 3, int(which), epoch)[pointer]])


def weights(targets: Targets) -> np.ndarray:
    """PSLA's Algorithm 1: a clip's weight is the sum of 1 / (clips of the class) over its classes, (clips,) float64."""
    counts = np.bincount([label for classes in targets for label in classes], minlength=1)
    return np.array([sum(1 / counts[label] for label in classes) for classes in targets], float)


class Weighted:
    """PSLA's sampling (Gong et al. 2021, Section III-B): draws with replacement, by `weights`; N draws are an epoch."""

    def __init__(self, targets: Targets, seed: int) -> None:
        self.seed = seed
        self.cumulative = np.cumsum(weights(targets))
        self.cumulative /= self.cumulative[-1]
        self.draws = lru_cache(maxsize=2)(self._draws)

    def _draws(self, epoch: int) -> np.ndarray:
        uniform = np.random.default_rng([self.seed, 4, epoch]).random(len(self.cumulative))
        return np.searchsorted(self.cumulative, uniform, side="right")

    def __call__(self, position: int) -> int:
        epoch, place = divmod(position, len(self.cumulative))
        return int(self.draws(epoch)[place])


class WithPartners:
    """For mixup as in PSLA's code: every other draw is uniform over all clips; between them are the draws of `sampler`."""

    def __init__(self, sampler: Sampler, clips: int, seed: int) -> None:
        self.sampler, self.clips, self.seed = sampler, clips, seed

    def __call__(self, position: int) -> int:
        example, partner = divmod(position, 2)
        return int(np.random.default_rng([self.seed, 7, example]).integers(self.clips)) if partner else self.sampler(example)


PARTNERS = ("sampler", "uniform")
SAMPLERS: dict[str, Callable[[Targets, int], Sampler]] = {"shuffle": Shuffled, "balanced": Balanced, "weighted": Weighted}
