"""The only reader of audio files: file -> Clip or Stream of blocks, and these -> mono sound at the rate that a model wants."""

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO

import numpy as np
import soxr

from eranntag.audio import decode
from eranntag.errors import AudioError, DataError
from eranntag.types import Clip, Packed

SOUNDS = decode.EXTENSIONS | decode.AV_EXTENSIONS
FULL_SCALE = 32768  # 1.0 in a 16-bit file
QUALITY = "HQ"  # of soxr
SPOOLED_BYTES = 1 << 24  # of a pipe, kept in memory; what is longer goes to a temporary file
PIPED_BYTES = 1 << 32  # at most of a pipe, as of a WAV file
PROBED_BYTES = 1 << 20  # must show that a pipe has sound

Source = str | os.PathLike[str] | Packed | BinaryIO


@dataclass(frozen=True)
class Stream:
    """Sound while it is decoded: `rate` in Hz, `blocks` (channels, samples) float32; damage raises AudioError."""

    rate: int
    source: str
    blocks: Iterator[np.ndarray]


def stream(source: Source, name: str = "") -> Stream:
    """A file, a clip of a shard, or an open binary stream, whose blocks are decoded as they are asked for.

    `name` replaces the path in errors and in `Stream.source`. Raises AudioError for whatever is not sound: absent, not a
    regular file, empty, another format, an impossible rate; its blocks do for NaN or infinite samples, damage, a missing end,
    where they come to it. The file is closed after the last block, an error, or when nobody holds the blocks any more.
    """
    clips = _clips(source, name)
    first = next(clips)
    return Stream(first.sample_rate, first.source, (clip.waveform for clip in chain([first], clips)))


def read(source: Source, name: str = "") -> Clip:
    """All of `stream` as one Clip: float32 (channels, samples) at its own rate, or AudioError."""
    sound = stream(source, name)
    return Clip(np.concatenate(list(sound.blocks), 1), sound.rate, sound.source)


def mono(clip: Clip, sample_rate_hz: int) -> np.ndarray:
    """The mean of the channels, resampled with soxr (HQ): (samples,) float32."""
    waveform = _mean(clip.waveform)
    if clip.sample_rate != sample_rate_hz:
        waveform = soxr.resample(waveform, clip.sample_rate, sample_rate_hz, quality=QUALITY)
    return np.ascontiguousarray(waveform, dtype=np.float32)


def mono_blocks(sound: Stream, sample_rate_hz: int) -> Iterator[np.ndarray]:
    """What `mono` makes of the whole, in blocks (samples,) of moderate size, whatever those of `sound` are; none is empty."""
    step = decode.BLOCK_SAMPLES * min(sound.rate, sample_rate_hz) // sample_rate_hz  # resampled, they are no more
    parts: Iterator[np.ndarray] = (
        _mean(block[:, at : at + step]) for block in sound.blocks for at in range(0, block.shape[1], step)
    )
    if sound.rate != sample_rate_hz:
        parts = _resampled(parts, soxr.ResampleStream(sound.rate, sample_rate_hz, 1, dtype="float32", quality=QUALITY))
    return (np.ascontiguousarray(part) for part in parts if len(part))


def _resampled(parts: Iterator[np.ndarray], resampler: soxr.ResampleStream) -> Iterator[np.ndarray]:
    for part in parts:
        yield resampler.resample_chunk(part)
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _mean(waveform: np.ndarray) -> np.ndarray:
    """(channels, samples) -> (samples,)"""
    return waveform[0] if len(waveform) == 1 else waveform.mean(0, dtype=np.float32)


def to_int16(waveform: np.ndarray) -> np.ndarray:
    """What a 16-bit file holds of float samples: those that were read from one come back exactly."""
    return np.round(waveform * FULL_SCALE).clip(-FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def read_int16(source: str | Packed, sample_rate_hz: int) -> np.ndarray:
    """A clip as training hears it: mono, (samples,) int16. 16-bit mono sound at that rate stays as it is."""
    return to_int16(mono(read(source), sample_rate_hz))


def check_folder(source: str | Packed) -> None:
    """DataError if the clip's whole folder has gone: then a disk has, and the clip is not to blame."""
    folder = os.path.dirname(source.archive if isinstance(source, Packed) else source) or os.curdir
    if not os.path.isdir(folder):
        raise DataError(f"{folder}: has gone; with it back, the same command goes on")


def _clips(source: Source, name: str) -> Iterator[Clip]:
    with _opened(source, name) as (file, called):
        yield from decode.decoded(file, called)


@contextmanager
def _opened(source: Source, name: str) -> Iterator[tuple[decode.Part, str]]:
    """The source as a file that can seek, as libsndfile needs, and what it is called."""
    if isinstance(source, Packed):
        name = name or str(source)
        with _file(source.archive, name) as file:
            part = decode.Part(file)
            if part.size < source.offset + source.size:
                raise AudioError(f"{source}: the shard is cut short")
            yield part.within(source.offset, source.size), name
    elif isinstance(source, (str, os.PathLike)):
        name = name or os.fspath(source)
        with _file(source, name) as file:
            yield decode.Part(file), name
    else:
        name = name or "-"
        with tempfile.SpooledTemporaryFile(SPOOLED_BYTES) as spooled:
            try:
                _copy(source, spooled, name)
            except OSError as error:
                raise AudioError(f"{name}: cannot be copied to {tempfile.gettempdir()} ({error.strerror or error})") from None
            yield decode.Part(spooled), name


def _copy(source: BinaryIO, target: BinaryIO, name: str) -> None:
    """All of it, unless it turns out to be no sound, or never to end."""
    left = PIPED_BYTES
    while content := source.read(PROBED_BYTES):
        if left == PIPED_BYTES and len(content) == PROBED_BYTES and not decode.may_be_sound(content):
            raise AudioError(f"{name}: not a readable audio file (by its first {PROBED_BYTES} bytes)")
        if len(content) > left:
            raise AudioError(f"{name}: longer than {PIPED_BYTES} bytes; write it to a file and name that")
        left -= target.write(content)


def _file(path: str | os.PathLike[str], name: str) -> BinaryIO:
    """By its number, as soundfile would take x.raw as headerless. What has become a pipe meanwhile is not waited for."""
    _check_regular(path, name)
    try:
        return open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb")
    except OSError as error:
        raise AudioError(f"{name}: {error.strerror or error}") from None


def _check_regular(path: str | os.PathLike[str], name: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        reason = "a link to a file that does not exist" if os.path.islink(path) else "no such file"
        raise AudioError(f"{name}: {reason}") from None
    except (OSError, ValueError) as error:
        raise AudioError(f"{name}: {getattr(error, 'strerror', None) or error}") from None
    if stat.S_ISDIR(mode):
        raise AudioError(f"{name}: a folder, not a file")
    if not stat.S_ISREG(mode):
        raise AudioError(f"{name}: not a regular file; pipe its content to `-` instead")
    if not os.access(path, os.R_OK):
        raise AudioError(f"{name}: permission denied")
