"""Evaluation at a lower sample rate: clips as a telephone, for example, would have recorded them."""

from typing import Any, TypeVar

from eranntag.audio import reader
from eranntag.inference.pipeline import Scorer
from eranntag.inference.prepared import AudioSource, Prepared

Done = TypeVar("Done")


def downsampled(scorer: Scorer[Done], sample_rate_hz: int | None) -> Scorer[Done]:
    """Return `scorer` with its input resampled to at most `sample_rate_hz`; None: unchanged."""
    return scorer if sample_rate_hz is None else DownsampledInput(scorer, sample_rate_hz)


class DownsampledInput:
    """A Scorer whose input is the mean of the channels, resampled where its rate is higher; all else is delegated."""

    def __init__(self, scorer: Scorer[Any], sample_rate_hz: int) -> None:
        self.sample_rate_hz = sample_rate_hz
        self.batch, self.parallel, self._prepare_source = scorer.batch, scorer.parallel, scorer.prepare_source
        self.scores, self.prediction, self.predict_long = scorer.scores, scorer.prediction, scorer.predict_long

    def prepare_source(self, source: AudioSource, name: str = "") -> Prepared:
        sound = reader.open_stream(source, name)
        if sound.rate > self.sample_rate_hz:
            blocks = (block[None] for block in reader.mono_blocks(sound, self.sample_rate_hz))
            sound = reader.AudioStream(self.sample_rate_hz, sound.source, blocks)
        return self._prepare_source(sound)
