"""Audio on its way to a Tagger: a short clip is prepared at once, a long one is decoded while it is computed."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from threading import Event

import numpy as np

from eranntag.audio import reader
from eranntag.inference.sources import STDIN
from eranntag.types import Clip, ShardEntry

AudioSource = Clip | reader.AudioStream | reader.Source


@dataclass(frozen=True)
class PreparedClip:
    """A whole clip of `seconds` as the network takes it: `array` is what `Tagger.prepare` returns."""

    source: str
    seconds: float
    array: np.ndarray


@dataclass
class LongAudio:
    """Audio that is decoded block by block while it is computed, once.

    After `cancelled` is set, its blocks raise InterruptedError: a thread does not decode hours for a consumer that has stopped.
    """

    stream: reader.AudioStream
    cancelled: Event = field(default_factory=Event)
    samples: int = 0  # decoded so far, of each channel

    @property
    def source(self) -> str:
        return self.stream.source

    @property
    def seconds(self) -> float:
        """The duration that was decoded so far."""
        return self.samples / self.stream.rate

    def mono_blocks(self, sample_rate_hz: int) -> Iterator[np.ndarray]:
        """The mean of the channels, resampled, in blocks (samples,) float32."""
        stream = replace(self.stream, blocks=self._counted())
        return cancellable(reader.mono_blocks(stream, sample_rate_hz), self.cancelled)

    def _counted(self) -> Iterator[np.ndarray]:
        for block in self.stream.blocks:
            self.samples += block.shape[1]
            yield block


Prepared = PreparedClip | LongAudio


def cancellable(blocks: Iterator[np.ndarray], cancelled: Event) -> Iterator[np.ndarray]:
    """`blocks` until `cancelled` is set; InterruptedError after that."""
    for block in blocks:
        if cancelled.is_set():
            raise InterruptedError
        yield block


def source_name(source: AudioSource) -> str:
    """The name of a source in results and errors; an open file, which has none, is called as standard input is."""
    if isinstance(source, (Clip, reader.AudioStream)):
        return source.source
    return str(source) if isinstance(source, (str, os.PathLike, ShardEntry)) else STDIN
