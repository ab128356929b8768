"""Exact results for audio of any length in bounded memory.

The network pools its last feature map over time by the mean plus the maximum of its columns, and a column sees only so many
frames to either side of its own. So the image may be cut into pieces of whole columns, each computed with that many around it:

    mean = (sum of the pieces' sums) / columns        maximum = maximum of the pieces' maxima

which are those of one pass: the zeros that the layers put around a piece reach its columns only where the sound itself begins
or ends. Each step takes from the one before it what it needs and holds no more:

    sound (samples,) -> `_Signal`, padded as for one pass -> `_images` (rows, frames) -> `_pieces` (1, 1, rows, frames)
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from eranntag.prefetch import prefetch_map

Frames = Callable[[np.ndarray], np.ndarray]
Columns = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Geometry:
    """How the columns of a network's last feature map lie on the frames of its image.

    A column stands for `frame_multiple` frames and sees `context_frames` to either side of them; None when the network does
    not pool plainly over time, so that its image cannot be cut. `block_frames`: what it computes at once in bounded memory.
    Where it cannot be cut, long audio is computed in independent windows of `window_seconds`, whose probabilities are
    combined by `aggregate`, "mean" or "max". `clip_gate`: events are looked for only in a clip, or window, whose own
    probability is high enough.
    """

    frame_multiple: int
    context_frames: int | None = None
    block_frames: int = 0
    aggregate: str = "mean"
    clip_gate: bool = False
    window_seconds: int = 60

    @property
    def margin_frames(self) -> int:
        """The context in whole columns, so that the strides of the layers fall on the same frames as in one pass."""
        assert self.context_frames is not None
        return -(-self.context_frames // self.frame_multiple) * self.frame_multiple


def columns_of(
    blocks: Iterable[np.ndarray], config: Any, frames: Frames, geometry: Geometry, columns: Columns
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The columns of a whole sound, piece by piece: each the mean and the maximum, twice (1, channels, columns).

    `blocks` (samples,) are mono at the rate of `config`, the front-end's; `frames(signal)` its image (rows, frames);
    `columns(images)` the mean and the maximum of each column. The network computes a piece while the next one is read: with it
    there are three in memory.
    """
    signal = _Signal(blocks, config, geometry.frame_multiple)
    pieces = _pieces(_images(signal, config, frames), geometry)
    return prefetch_map(lambda piece: _own(columns(piece.image), piece, geometry.frame_multiple), pieces, 1)


def pooled(blocks: Iterable[np.ndarray], config: Any, frames: Frames, geometry: Geometry, columns: Columns) -> np.ndarray:
    """What global pooling makes of a whole sound, of which `columns_of` has the pieces: (1, channels) float32."""
    total, highest, count = np.zeros((1, 1)), np.full((1, 1), -np.inf, np.float32), 0
    for means, maxima in columns_of(blocks, config, frames, geometry, columns):
        total = total + means.sum(-1, dtype=np.float64)  # (1, channels)
        highest = np.maximum(highest, maxima.max(-1))
        count += means.shape[-1]
    return (total / count + highest).astype(np.float32)


def windows(blocks: Iterable[np.ndarray], samples: int) -> Iterator[np.ndarray]:
    """Blocks (samples,) of any length, one at least -> `samples` each; the last is what is left, empty only if they are."""
    held: list[np.ndarray] = []
    length = 0
    for block in blocks:
        held.append(block)
        length += len(block)
        if length > samples:
            whole = np.concatenate(held)
            while len(whole) > samples:
                yield whole[:samples]
                whole = whole[samples:]
            held, length = [whole], len(whole)
    yield np.concatenate(held)


def centered(blocks: Iterable[np.ndarray], samples: int, step: float) -> Iterator[np.ndarray]:
    """Blocks (samples,) of any length -> windows of `samples`, one for each `step` samples of the sound, whose middle is the
    step's middle; zeros where the sound has not begun or is over."""
    held = np.zeros(samples // 2, np.float32)
    first = -len(held)  # the sample of the sound where `held` begins
    samples_read = 0
    count = 0  # of windows

    def begin() -> int:
        return round((count + 0.5) * step) - samples // 2

    for block in blocks:
        held = np.concatenate([held, block])
        samples_read += len(block)
        while begin() + samples <= samples_read:
            yield held[begin() - first :][:samples]
            count += 1
        past = min(begin() - first, len(held))
        held, first = held[past:], first + past
    held = np.concatenate([held, np.zeros(samples + round(step), np.float32)])
    while count * step < samples_read - 0.5:  # whose rounding is no frame
        yield held[begin() - first :][:samples]
        count += 1


class _Signal:
    """What the front-end frames of a sound: zeros behind it, then half a window reflected at both ends; blocks (samples,)."""

    def __init__(self, blocks: Iterable[np.ndarray], config: Any, frame_multiple: int) -> None:
        self.blocks, self.config, self.frame_multiple, self.samples = blocks, config, frame_multiple, 0

    def __iter__(self) -> Iterator[np.ndarray]:
        half = self.config.window_samples // 2
        kept = half + 1 + self.config.frames_per_second * self.config.hop_samples  # what the end may reflect or cut off
        blocks = self._with_zeros()
        held = next(blocks)
        while len(held) <= half:
            held = np.concatenate([held, next(blocks)])
        yield held[half:0:-1]
        for block in blocks:
            held = np.concatenate([held, block])
            yield held[:-kept]
            held = held[-kept:]
        end = np.concatenate([held, held[-2 : -half - 2 : -1]])
        yield end[: len(end) - self._excess()]

    def _with_zeros(self) -> Iterator[np.ndarray]:
        for block in self.blocks:
            self.samples += len(block)
            yield block
        yield np.zeros(self._padded() - self.samples, np.float32)

    def _padded(self) -> int:
        return int(self.config.padded_samples(self.samples, self.frame_multiple))

    def _excess(self) -> int:
        """Samples behind the last frame that counts: less than a second of frames, and less than a hop."""
        config, padded = self.config, self._padded()
        framed = (config.frames(padded) - 1) * config.hop_samples + config.window_samples
        return int(padded + config.window_samples // 2 * 2 - framed)


def _images(signal: Iterable[np.ndarray], config: Any, frames: Frames) -> Iterator[np.ndarray]:
    """(rows, frames) of each block, with what the windows need of the one before."""
    held = np.zeros(0, np.float32)
    for samples in signal:
        held = np.concatenate([held, samples])
        if len(held) >= config.window_samples:
            image = frames(held)
            yield image
            held = held[image.shape[1] * config.hop_samples :]


@dataclass(frozen=True)
class _Piece:
    """`image` (1, 1, rows, frames), of which `own` frames from `first` are the piece; the others are its context."""

    image: np.ndarray
    first: int
    own: int


def _pieces(images: Iterable[np.ndarray], geometry: Geometry) -> Iterator[_Piece]:
    """`block_frames` each; the last takes what is left: at least the context of one block, at most the two together."""
    block, margin = geometry.block_frames, geometry.margin_frames
    held: list[np.ndarray] = []
    first = length = 0  # of the held frames: where the next piece begins, and their number
    for image in images:
        held.append(image)
        length += image.shape[1]
        while length > (needed := first + block + margin):
            whole = np.concatenate(held, 1)
            yield _Piece(np.ascontiguousarray(whole[None, None, :, :needed]), first, block)
            first, passed = min(first + block, margin), max(first + block - margin, 0)
            held, length = [whole[:, passed:].copy()], length - passed
    yield _Piece(np.concatenate(held, 1)[None, None], first, length - first)


def _own(columns: tuple[np.ndarray, np.ndarray], piece: _Piece, frame_multiple: int) -> tuple[np.ndarray, np.ndarray]:
    """The columns of the piece without those of its context."""
    own = slice(piece.first // frame_multiple, (piece.first + piece.own) // frame_multiple)
    return columns[0][..., own], columns[1][..., own]
