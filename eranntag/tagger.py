"""Tagger: a checkpoint that is ready to hear. What it has in common however it is executed; `engine` has the ways.

No torch here, so that a light engine starts at once.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, BinaryIO

import numpy as np

from eranntag import audio, features, streaming
from eranntag.errors import EranntagError
from eranntag.streaming import Geometry
from eranntag.types import Checkpoint, Clip, Packed, Prediction

WINDOW_SECONDS = 60  # of a long sound that cannot be computed exactly in blocks

Sound = Clip | str | os.PathLike[str] | Packed | BinaryIO


def _softmax(logits: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # infinite logits give NaN, which `prediction` reports
        powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    small = np.exp(-np.abs(logits))  # never overflows
    return np.where(logits < 0, small, 1) / (1 + small)


ACTIVATIONS = {"softmax": _softmax, "sigmoid": _sigmoid}


@dataclass(frozen=True)
class Heard:
    """A sound that was read: `prepared` for the network; or, of a long one, `blocks` (samples,) of mono sound at the
    front-end's rate, which are read as they are needed. `seconds()` of the sound were read so far."""

    source: str
    seconds: Callable[[], float]
    prepared: np.ndarray | None = None
    blocks: Iterator[np.ndarray] | None = None


class Tagger(ABC):
    """`prepare`, `scores` and `tag` are what predict, evaluate and bench use; an engine writes `logits`.

    `frontend` is the front-end's Config. `engine`, `dtype` and `device` name how it runs, `notes` say why. `parallel` calls of
    `scores` may run side by side, and `batch` clips at once are what it likes. `exact()` is the same engine in float32,
    for what a dtype that was not asked for cannot hold.
    """

    engine = ""
    batch = 1

    def __init__(
        self,
        checkpoint: Checkpoint,
        frontend: Any,
        geometry: Geometry,
        dtype: str = "float32",
        device: str = "cpu",
        parallel: int = 1,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.checkpoint, self.frontend, self.geometry = checkpoint, frontend, geometry
        self.dtype, self.device, self.parallel, self.notes = dtype, device, parallel, notes
        self.exact: Callable[[], Tagger] | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        return self.checkpoint.labels

    def waveform(self, clip: Clip) -> np.ndarray:
        """Mono, resampled, zeros up to whole seconds: (samples,) float32. Depends on nothing but the clip."""
        waveform = audio.mono(clip, self.frontend.sample_rate_hz)
        padded = self.frontend.padded_samples(len(waveform), self.geometry.frame_multiple)
        return np.pad(waveform, (0, padded - len(waveform)))

    def prepare(self, clip: Clip) -> np.ndarray:
        """The clip as `logits` takes it: its waveform, or the image too where the engine has threads compute that ahead."""
        return self.waveform(clip)

    @abstractmethod
    def logits(self, prepared: np.ndarray) -> np.ndarray:
        """(batch, ...) of prepared clips of one shape -> (batch, classes) float32."""

    def columns(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(1, 1, rows, frames) float32 -> mean and maximum of each column of the feature map: twice (1, channels, columns).

        This and `classify` are there where `geometry.context_frames` is.
        """
        raise NotImplementedError

    def classify(self, pooled: np.ndarray) -> np.ndarray:
        """(1, channels), the mean of the means plus the maximum of the maxima -> logits (1, classes) float32."""
        raise NotImplementedError

    def scores(self, prepared: np.ndarray) -> np.ndarray:
        """(batch, ...) of prepared clips of one shape -> probabilities (batch, classes) float32; NaN where there are none."""
        scores = self._probabilities(self.logits(prepared))
        lost = np.isnan(scores).any(1)
        if lost.any() and self.exact is not None:
            scores[lost] = self.exact().scores(prepared[lost])
        return scores

    def _probabilities(self, logits: np.ndarray) -> np.ndarray:
        """(batch, classes); a row with a logit that is not finite is all NaN, as a sigmoid would make 1 of infinity."""
        scores = ACTIVATIONS[self.checkpoint.activation](logits)
        scores[~np.isfinite(logits).all(1)] = np.nan
        return scores

    def hear(self, source: Sound, name: str = "") -> Heard:
        """Read a clip, file, clip of a shard or open stream; of what is longer than a block only the beginning.

        `name` replaces a stream's in messages. Raises AudioError when it cannot be read.
        """
        if isinstance(source, Clip):
            sound = audio.Stream(source.sample_rate, source.source, iter([source.waveform]))
        else:
            sound = audio.stream(source, name)
        limit = self.longest_seconds * sound.rate
        beginning: list[np.ndarray] = []
        samples = 0

        def counted() -> Iterator[np.ndarray]:
            nonlocal samples
            for block in sound.blocks:
                samples += block.shape[1]
                yield block

        blocks = counted()
        for block in blocks:
            beginning.append(block)
            if samples > limit:
                whole = audio.Stream(sound.rate, sound.source, chain(beginning, blocks))
                return self._long(whole, lambda: samples / sound.rate)
        clip = Clip(np.concatenate(beginning, 1), sound.rate, sound.source)
        seconds = clip.seconds  # not the clip: its samples are no longer needed
        return Heard(clip.source, lambda: seconds, self.prepare(clip))

    def _long(self, sound: audio.Stream, seconds: Callable[[], float]) -> Heard:
        """What `tag_long` takes of a sound that is longer than `longest_seconds`."""
        return Heard(sound.source, seconds, blocks=audio.mono_blocks(sound, self.frontend.sample_rate_hz))

    @property
    def longest_seconds(self) -> float:
        """What is longer is computed in blocks, so that memory is bounded; see `tag_long`."""
        if self._frames is None:
            return WINDOW_SECONDS
        return self.geometry.block_frames / self.frontend.frames_per_second

    @cached_property
    def _frames(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """How pieces of a long sound become images, if the family can take these in pieces."""
        if self.geometry.context_frames is None:
            return None
        return features.framer(self.checkpoint.frontend_family, self.frontend)

    def tag(self, source: Sound, name: str = "") -> Prediction:
        """Tag one clip, file or open stream, of any length. Raises AudioError when it cannot be read."""
        heard = self.hear(source, name)
        if heard.prepared is None:
            return self.tag_long(heard)
        return self.prediction(self.scores(heard.prepared[None])[0], heard.seconds(), heard.source)

    def tag_long(self, heard: Heard) -> Prediction:
        """The rest of a long sound is read and computed block by block.

        The result is that of one pass (`eranntag.streaming`) if front-end and family see only so far; a learned front-end or
        squeeze-and-excitation does not. Then it is the mean of the probabilities of windows, by their length.
        """
        assert heard.blocks is not None
        if self._frames is not None:
            pooled = streaming.pooled(heard.blocks, self.frontend, self._frames, self.geometry, self.columns)
            scores = self._probabilities(self.classify(pooled))[0]
        else:
            scores = self._of_windows(heard.blocks)
        return self.prediction(scores, heard.seconds(), heard.source)

    def _of_windows(self, blocks: Iterator[np.ndarray]) -> np.ndarray:
        total, samples, rate = np.zeros(len(self.labels)), 0, self.frontend.sample_rate_hz
        for window in streaming.windows(blocks, WINDOW_SECONDS * rate):
            prepared = self.prepare(Clip(window[None], rate))
            total += self.scores(prepared[None])[0] * len(window)
            samples += len(window)
        return (total / samples).astype(np.float32)

    def prediction(self, scores: np.ndarray, seconds: float, source: str) -> Prediction:
        """A row of `scores` as a Prediction; EranntagError when the network gave no finite numbers."""
        if not np.isfinite(scores).all():
            remedy = "; try --dtype float32" if self.dtype != "float32" else ""
            raise EranntagError(f"{source}: the scores are not finite in {self.dtype}{remedy}")
        return Prediction(self.labels, scores, seconds, source, self.checkpoint.name)
