"""Reading audio: a file, shard entry or open binary stream -> Clip or AudioStream, and these -> mono at a sample rate."""

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import IO, BinaryIO

import numpy as np
import soxr

from eranntag.audio import decode
from eranntag.errors import AudioError, DataError
from eranntag.types import Clip, ShardEntry

EXTENSIONS = decode.EXTENSIONS | decode.AV_EXTENSIONS
FULL_SCALE = 32768  # 1.0 in a 16-bit file
QUALITY = "HQ"  # of soxr
SPOOLED_BYTES = 1 << 24  # of a pipe in memory; a longer one is copied to a temporary file
MAX_PIPE_BYTES = 1 << 32  # as of a WAV file
PROBE_BYTES = 1 << 20  # must show that a pipe has audio

Source = str | os.PathLike[str] | ShardEntry | BinaryIO


@dataclass(frozen=True)
class AudioStream:
    """Audio that is decoded lazily: `rate` in Hz, `blocks` (channels, samples) float32, which raise AudioError for damage."""

    rate: int
    source: str
    blocks: Iterator[np.ndarray]


def open_stream(source: Source | Clip | AudioStream, name: str = "") -> AudioStream:
    """Open a file, a clip of a shard or a binary stream; `name` replaces the path in errors and in `AudioStream.source`.

    A Clip becomes a stream of one block, and an AudioStream is returned as it is.
    Raises AudioError for what is not audio: absent, not a regular file, empty, another format, an impossible sample rate.
    The blocks raise it for NaN or infinite samples, damage and a missing end, where these occur. The file is closed after
    the last block, after an error, or when the blocks are garbage-collected.
    """
    if isinstance(source, AudioStream):
        return source
    if isinstance(source, Clip):
        return AudioStream(source.sample_rate, source.source, iter([source.waveform]))
    clips = _decode(source, name)
    first = next(clips)
    return AudioStream(first.sample_rate, first.source, (clip.waveform for clip in chain([first], clips)))


def read(source: Source, name: str = "") -> Clip:
    """Return all of `open_stream` as one Clip: float32 (channels, samples) at its own sample rate. Raises AudioError."""
    stream = open_stream(source, name)
    return Clip(np.concatenate(list(stream.blocks), 1), stream.rate, stream.source)


def to_mono(clip: Clip, sample_rate_hz: int) -> np.ndarray:
    """Return the mean of the channels, resampled with soxr (HQ): (samples,) float32."""
    waveform = _downmix(clip.waveform)
    if clip.sample_rate != sample_rate_hz:
        waveform = soxr.resample(waveform, clip.sample_rate, sample_rate_hz, quality=QUALITY)
    return np.ascontiguousarray(waveform, dtype=np.float32)


def mono_blocks(stream: AudioStream, sample_rate_hz: int) -> Iterator[np.ndarray]:
    """Yield the samples of `to_mono` in blocks (samples,) of moderate size, whatever the stream's; none is empty."""
    step = decode.BLOCK_SAMPLES * min(stream.rate, sample_rate_hz) // sample_rate_hz  # no more after resampling
    parts: Iterator[np.ndarray] = (
        _downmix(block[:, start : start + step]) for block in stream.blocks for start in range(0, block.shape[1], step)
    )
    if stream.rate != sample_rate_hz:
        parts = _resample(parts, soxr.ResampleStream(stream.rate, sample_rate_hz, 1, dtype="float32", quality=QUALITY))
    return (np.ascontiguousarray(part) for part in parts if len(part))


def _resample(parts: Iterator[np.ndarray], resampler: soxr.ResampleStream) -> Iterator[np.ndarray]:
    for part in parts:
        yield resampler.resample_chunk(part)
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _downmix(waveform: np.ndarray) -> np.ndarray:
    """(channels, samples) -> (samples,)"""
    mono: np.ndarray = waveform[0] if len(waveform) == 1 else waveform.mean(0, dtype=np.float32)
    return mono


def to_int16(waveform: np.ndarray) -> np.ndarray:
    """Return the 16-bit samples of a float waveform; the inverse of reading a 16-bit file."""
    return np.round(waveform * FULL_SCALE).clip(-FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def read_int16(source: str | ShardEntry, sample_rate_hz: int) -> np.ndarray:
    """Return a clip as mono (samples,) int16; a 16-bit mono file at that sample rate is unchanged. Raises AudioError."""
    return to_int16(to_mono(read(source), sample_rate_hz))


def require_folder(source: str | ShardEntry) -> None:
    """Raise DataError if the clip's whole folder is missing: then a disk was removed, and the clip is not at fault."""
    folder = os.path.dirname(source.archive if isinstance(source, ShardEntry) else source) or os.curdir
    if not os.path.isdir(folder):
        raise DataError(f"{folder}: is missing; once it is back, the same command continues")


def _decode(source: Source, name: str) -> Iterator[Clip]:
    with _open(source, name) as (file, display_name):
        yield from decode.decode(file, display_name)


@contextmanager
def _open(source: Source, name: str) -> Iterator[tuple[decode.ByteRange, str]]:
    """Yield the source as a seekable file, as libsndfile needs, and its name."""
    if isinstance(source, ShardEntry):
        name = name or str(source)
        with _open_file(source.archive, name) as file:
            archive = decode.ByteRange(file)
            if archive.size < source.offset + source.size:
                raise AudioError(f"{source}: the shard is cut short")
            yield archive.subrange(source.offset, source.size), name
    elif isinstance(source, (str, os.PathLike)):
        name = name or os.fspath(source)
        with _open_file(source, name) as file:
            yield decode.ByteRange(file), name
    else:
        name = name or "-"
        with tempfile.SpooledTemporaryFile(SPOOLED_BYTES) as spooled:
            try:
                _copy(source, spooled, name)
            except OSError as error:
                problem = f"cannot be copied to {tempfile.gettempdir()}"
                raise AudioError(f"{name}: {problem} ({error.strerror or error})") from None
            yield decode.ByteRange(spooled), name


def _copy(source: BinaryIO, target: IO[bytes], name: str) -> None:
    """Copy a stream; AudioError once it turns out not to be audio, or to be longer than MAX_PIPE_BYTES."""
    remaining = MAX_PIPE_BYTES
    while content := source.read(PROBE_BYTES):
        if remaining == MAX_PIPE_BYTES and len(content) == PROBE_BYTES and not decode.may_be_audio(content):
            raise AudioError(f"{name}: not a readable audio file (by its first {PROBE_BYTES} bytes)")
        if len(content) > remaining:
            raise AudioError(f"{name}: longer than {MAX_PIPE_BYTES} bytes; write it to a file and name that")
        remaining -= target.write(content)


def _open_file(path: str | os.PathLike[str], name: str) -> BinaryIO:
    """Open without blocking if the file has become a pipe meanwhile.

    By its descriptor: of a path soundfile would use the suffix, and take x.raw for audio without a header.
    """
    _require_regular(path, name)
    try:
        return open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb")
    except OSError as error:
        raise AudioError(f"{name}: {error.strerror or error}") from None


def _require_regular(path: str | os.PathLike[str], name: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        problem = "a link to a file that does not exist" if os.path.islink(path) else "no such file"
        raise AudioError(f"{name}: {problem}") from None
    except (OSError, ValueError) as error:
        raise AudioError(f"{name}: {getattr(error, 'strerror', None) or error}") from None
    if stat.S_ISDIR(mode):
        raise AudioError(f"{name}: a folder, not a file")
    if not stat.S_ISREG(mode):
        raise AudioError(f"{name}: not a regular file; pipe its content to `-` instead")
    if not os.access(path, os.R_OK):
        raise AudioError(f"{name}: permission denied")
