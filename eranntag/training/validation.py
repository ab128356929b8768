"""Evaluation on whole held-out clips during a run."""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from eranntag.evaluation import metrics
from eranntag.inference.batching import batched_by_shape
from eranntag.inference.tagger import Tagger
from eranntag.prefetch import prefetch_map
from eranntag.training.data import WaveformCache
from eranntag.training.distributed import World
from eranntag.types import Example


class Validation:
    """Scores of `sounds` by a Tagger, every process computing its share; broken clips are left out."""

    def __init__(self, sounds: WaveformCache, metric: str, world: World, workers: int) -> None:
        self.sounds, self.metric, self.world, self.workers = sounds, metric, world, workers

    def measure(self, tagger: Tagger) -> dict[str, float]:
        """The recipe's metric, on every process the same, and of how many `clips`: those that could be read."""
        scores, examples = self.scores(tagger)
        measured = measure(self.metric, scores, examples)
        return {**measured, "clips": len(examples)} if measured else {}

    def scores(self, tagger: Tagger) -> tuple[np.ndarray, list[Example]]:
        """(clips, classes), and the clips in that order."""
        mine = range(self.world.rank, len(self.sounds), self.world.size)
        scored = sorted(self.world.gather(list(self._scored(tagger, mine))), key=lambda pair: pair[0])
        matrix = np.stack([row for _, row in scored]) if scored else np.zeros((0, len(tagger.labels)), np.float32)
        return matrix, [self.sounds.examples[index] for index, _ in scored]

    def _scored(self, tagger: Tagger, indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """A few clips are decoded while those before them are scored."""
        at_once = tagger.batch
        prepared = prefetch_map(lambda index: (index, self._prepared(tagger, index)), indices, self.workers, 4 * at_once)
        while some := list(islice(prepared, 2 * at_once)):
            readable = [(index, clip) for index, clip in some if clip is not None]
            scores = batched_by_shape(tagger.scores, [clip for _, clip in readable], at_once)
            yield from zip((index for index, _ in readable), scores, strict=True)

    def _prepared(self, tagger: Tagger, index: int) -> np.ndarray | None:
        clip = self.sounds.clip(index)
        return None if clip is None else tagger.prepare(clip)


def measure(metric: str, scores: np.ndarray, examples: Sequence[Example]) -> dict[str, float]:
    """Nothing when no clip could be read, or none has a class that mAP could be about."""
    value = metrics.recipe_metric(metric, scores, metrics.multi_hot([example.targets for example in examples], scores.shape[1]))
    return {} if np.isnan(value) else {metric: value}
