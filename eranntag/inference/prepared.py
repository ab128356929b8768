"""A sound on its way to a Tagger: what was opened, and what was read of it."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np

from eranntag.audio import reader
from eranntag.types import Clip, Packed

Sound = Clip | reader.AudioStream | str | os.PathLike[str] | Packed | BinaryIO


@dataclass(frozen=True)
class Heard:
    """A sound that was read: `prepared` for the network; or, of a long one, `blocks` (samples,) of mono sound at the
    front-end's rate, which are read as they are needed. `seconds()` of the sound were read so far."""

    source: str
    seconds: Callable[[], float]
    prepared: np.ndarray | None = None
    blocks: Iterator[np.ndarray] | None = None


def opened(source: Sound, name: str = "") -> tuple[reader.AudioStream, Callable[[], float]]:
    """A clip, file, clip of a shard, open file or AudioStream, and how many seconds of it were read so far.

    `name` replaces a stream's in messages. Raises AudioError when it cannot be read.
    """
    if isinstance(source, reader.AudioStream):
        sound = source
    elif isinstance(source, Clip):
        sound = reader.AudioStream(source.sample_rate, source.source, iter([source.waveform]))
    else:
        sound = reader.open_stream(source, name)
    rate, samples = sound.rate, 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal samples
        for block in sound.blocks:
            samples += block.shape[1]
            yield block

    return replace(sound, blocks=counted()), lambda: samples / rate


def in_blocks(source: Sound, name: str, sample_rate_hz: int) -> Heard:
    """A sound of any length as blocks of mono sound at `sample_rate_hz`. Raises AudioError as `opened` does."""
    sound, seconds = opened(source, name)
    return Heard(sound.source, seconds, blocks=reader.mono_blocks(sound, sample_rate_hz))
