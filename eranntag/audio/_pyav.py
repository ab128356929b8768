"""Decoding with PyAV, of formats that libsndfile does not support. PyAV is an extra and imported only here."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from eranntag.audio._blocks import max_block_samples
from eranntag.audio._byte_range import ByteRange
from eranntag.errors import AudioError
from eranntag.types import Clip

EXTENSIONS = frozenset(
    "3g2 3gp aac ac3 amr ape asf avi eac3 flv loas m4a m4b m4v mka mkv mov mp4 mpc mpeg mpg mts nut oma shn tak ts "
    "tta webm wma wmv wv".split()
)
# FFmpeg supports others, some of which are lists of other files and addresses, which it would open
FORMATS = (
    "aac ac3 aiff amr amrnb amrwb ape asf au avi caf eac3 flac flv loas matroska mov mp3 mpeg mpegts mpc mpc8 nut ogg oma rm "
    "shn tak tta w64 wav webm wv webm_dash_manifest mp4 m4a 3gp 3g2 mj2"
).split()
OPTIONS = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "none", "enable_drefs": "0"}
TOLERATED_SECONDS = 1.0  # missing at the end: codecs round, and add and drop blocks
TOLERATED_SHARE = 0.98  # of the length in the header


def decode_blocks(file: ByteRange, name: str, reason: str) -> Iterator[Clip]:
    """Yield an empty clip (for the sample rate), then blocks of `max_block_samples` or little more.

    `reason` is libsndfile's error. Raises AudioError for damage, and at the end if samples are missing.
    """
    reason = reason.strip().rstrip(".")
    try:
        import av
    except ImportError:
        if Path(name).suffix.lower().lstrip(".") in EXTENSIONS:
            raise AudioError(f"{name}: this format needs PyAV: pip install 'eranntag[av]'") from None
        raise AudioError(f"{name}: not a readable audio file ({reason})") from None
    samples = 0
    problem = "not a readable audio file"
    try:
        with av.open(file, options=OPTIONS) as container:
            if not container.streams.audio:
                raise AudioError(f"{name}: has no audio stream")
            stream = container.streams.audio[0]
            reason = ""
            if stream.codec_context is None:
                raise AudioError(f"{name}: not a readable audio file (unknown codec)")
            rate = stream.codec_context.sample_rate
            yield Clip(np.zeros((stream.codec_context.channels, 0), np.float32), rate, name)
            for block in _joined(_parts(av, container, stream, name)):
                samples += block.shape[1]
                problem = "damaged"
                yield Clip(block, rate, name)
            _check_length(container, stream, samples / rate, name)
    except (av.error.FFmpegError, ValueError, OverflowError) as error:
        reason = reason or getattr(error, "strerror", None) or str(error)
        raise AudioError(f"{name}: {problem} ({reason})") from None


def may_be_audio(head: ByteRange) -> bool:
    """Return whether a file with this beginning has an audio stream that can be read."""
    try:
        import av
    except ImportError:
        return False
    try:
        with av.open(head, options=OPTIONS) as container:
            return bool(container.streams.audio)
    except (av.error.FFmpegError, ValueError, OverflowError):
        return False


def _parts(av: Any, container: Any, stream: Any, name: str) -> Iterator[np.ndarray]:
    """(channels, samples) float32, some 1000 samples each."""
    resampler = av.AudioResampler(format="fltp", rate=stream.codec_context.sample_rate)
    first = None
    for packet in container.demux(stream):
        if packet.is_corrupt and container.format.name != "caf":  # set for a part of a packet, and for the end of any CAF
            raise AudioError(f"{name}: cut short or damaged")
        for frame in packet.decode():
            kind = frame.sample_rate, frame.layout.nb_channels
            first = first or kind
            if kind != first:
                raise AudioError(f"{name}: changes its rate or channels midway; write it again as one WAV or FLAC file")
            yield from (part.to_ndarray() for part in resampler.resample(frame))
    if first:
        yield from (part.to_ndarray() for part in resampler.resample(None))  # flush


def _check_length(container: Any, stream: Any, seconds: float, name: str) -> None:
    """Raise AudioError for less than the container's length; for other formats FFmpeg only estimates the length."""
    expected = 0.0
    if container.format.name.startswith("mov") and stream.duration:
        expected = float(stream.duration * stream.time_base)
    elif container.format.name.startswith(("matroska", "flv", "asf")) and not container.streams.video and container.duration:
        expected = container.duration / 1_000_000
    if seconds < expected - TOLERATED_SECONDS and seconds < expected * TOLERATED_SHARE:
        raise AudioError(f"{name}: cut short: {seconds:.1f} of {expected:.1f} seconds can be decoded")


def _joined(parts: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the parts joined to blocks of `max_block_samples` or little more."""
    pending: list[np.ndarray] = []
    samples = 0
    for part in parts:
        pending.append(part)
        samples += part.shape[1]
        if samples >= max_block_samples(len(part)):
            yield np.concatenate(pending, 1)
            pending = []
            samples = 0
    if samples:
        yield np.concatenate(pending, 1)
