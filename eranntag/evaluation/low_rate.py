"""Clips as recordings of a lower sample rate would have them: what a telephone leaves of what a checkpoint knows."""

from typing import Any, TypeVar

from eranntag.audio import reader
from eranntag.inference.pipeline import Listener
from eranntag.inference.prepared import Heard, Sound

Done = TypeVar("Done")


def narrowed(listener: Listener[Done], sample_rate_hz: int | None) -> Listener[Done]:
    """`listener`, which then hears all sounds at `sample_rate_hz` at most; None: as they are."""
    return listener if sample_rate_hz is None else _Narrowed(listener, sample_rate_hz)


class _Narrowed:
    """Hears the mean of the channels, resampled; what has no higher rate stays as it is. All else is the listener's."""

    def __init__(self, listener: Listener[Any], sample_rate_hz: int) -> None:
        self.sample_rate_hz = sample_rate_hz
        self.batch, self.parallel, self._hear = listener.batch, listener.parallel, listener.hear
        self.scores, self.prediction, self.tag_long = listener.scores, listener.prediction, listener.tag_long

    def hear(self, source: Sound, name: str = "") -> Heard:
        sound = reader.stream(source, name)
        if sound.rate > self.sample_rate_hz:
            blocks = (block[None] for block in reader.mono_blocks(sound, self.sample_rate_hz))
            sound = reader.Stream(self.sample_rate_hz, sound.source, blocks)
        return self._hear(sound)
