"""Clips as recordings of a lower sample rate would have them: what a telephone leaves of what a checkpoint knows."""

from typing import Any, TypeVar

from eranntag.audio import reader
from eranntag.inference.pipeline import Scorer
from eranntag.inference.prepared import Heard, Sound

Done = TypeVar("Done")


def narrowed(scorer: Scorer[Done], sample_rate_hz: int | None) -> Scorer[Done]:
    """`scorer`, which then hears all sounds at `sample_rate_hz` at most; None: as they are."""
    return scorer if sample_rate_hz is None else _Narrowed(scorer, sample_rate_hz)


class _Narrowed:
    """Hears the mean of the channels, resampled; what has no higher rate stays as it is. All else is the scorer's."""

    def __init__(self, scorer: Scorer[Any], sample_rate_hz: int) -> None:
        self.sample_rate_hz = sample_rate_hz
        self.batch, self.parallel, self._prepare_source = scorer.batch, scorer.parallel, scorer.prepare_source
        self.scores, self.prediction, self.predict_long = scorer.scores, scorer.prediction, scorer.predict_long

    def prepare_source(self, source: Sound, name: str = "") -> Heard:
        sound = reader.stream(source, name)
        if sound.rate > self.sample_rate_hz:
            blocks = (block[None] for block in reader.mono_blocks(sound, self.sample_rate_hz))
            sound = reader.Stream(self.sample_rate_hz, sound.source, blocks)
        return self._prepare_source(sound)
