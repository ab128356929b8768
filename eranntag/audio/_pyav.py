"""What libsndfile does not know, through PyAV. It is imported only here, and only when asked for: it is an extra."""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from eranntag.audio._blocks import most_samples
from eranntag.audio._byte_range import Part
from eranntag.errors import AudioError
from eranntag.types import Clip

EXTENSIONS = frozenset(
    "3g2 3gp aac ac3 amr ape asf avi eac3 flv loas m4a m4b m4v mka mkv mov mp4 mpc mpeg mpg mts nut oma shn tak ts "
    "tta webm wma wmv wv".split()
)
# FFmpeg knows others, some of which are lists of other files and addresses, which it would open
FORMATS = (
    "aac ac3 aiff amr amrnb amrwb ape asf au avi caf eac3 flac flv loas matroska mov mp3 mpeg mpegts mpc mpc8 nut ogg oma rm "
    "shn tak tta w64 wav webm wv webm_dash_manifest mp4 m4a 3gp 3g2 mj2"
).split()
OPTIONS = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "none", "enable_drefs": "0"}
SLACK = (1.0, 0.98)  # seconds less, or of the length, that need no telling: codecs round, and add and drop blocks


def clips(file: Part, name: str, reason: str) -> Iterator[Clip]:
    """Blocks of `most_samples` or little more. `reason` is why libsndfile refuses."""
    try:
        import av
    except ImportError:
        if Path(name).suffix.lower().lstrip(".") in EXTENSIONS:
            raise AudioError(f"{name}: this format needs PyAV: pip install 'eranntag[av]'") from None
        raise AudioError(f"{name}: not a readable audio file ({reason.strip().rstrip('.')})") from None
    samples, what, text = 0, "not a readable audio file", reason.strip().rstrip(".")
    try:
        with av.open(file, options=OPTIONS) as container:
            if not container.streams.audio:
                raise AudioError(f"{name}: has no audio stream")
            text, stream = "", container.streams.audio[0]
            if stream.codec_context is None:
                raise AudioError(f"{name}: not a readable audio file (unknown codec)")
            rate = stream.codec_context.sample_rate
            yield Clip(np.zeros((stream.codec_context.channels, 0), np.float32), rate, name)  # for its rate
            for block in _joined(_parts(av, container, stream, name)):
                samples, what = samples + block.shape[1], "damaged"
                yield Clip(block, rate, name)
            _check_length(container, stream, samples / rate, name)
    except (av.error.FFmpegError, ValueError, OverflowError) as error:
        text = text or getattr(error, "strerror", None) or str(error)
        raise AudioError(f"{name}: {what} ({text})") from None


def may_be_sound(head: Part) -> bool:
    """Whether a file that begins so has sound that can be read."""
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
    resampler, first = av.AudioResampler(format="fltp", rate=stream.codec_context.sample_rate), None
    for packet in container.demux(stream):
        if packet.is_corrupt and container.format.name != "caf":  # marked of what is there only in part; CAF's end always is
            raise AudioError(f"{name}: cut short or damaged")
        for frame in packet.decode():
            kind = frame.sample_rate, frame.layout.nb_channels
            if kind != (first := first or kind):
                raise AudioError(f"{name}: changes its rate or channels midway; write it again as one WAV or FLAC file")
            yield from (part.to_ndarray() for part in resampler.resample(frame))
    if first:
        yield from (part.to_ndarray() for part in resampler.resample(None))  # what it still holds


def _check_length(container: Any, stream: Any, seconds: float, name: str) -> None:
    """Against what the container has in writing; of other formats FFmpeg estimates the length."""
    promised = 0.0
    if container.format.name.startswith("mov") and stream.duration:
        promised = float(stream.duration * stream.time_base)
    elif container.format.name.startswith(("matroska", "flv", "asf")) and not container.streams.video and container.duration:
        promised = container.duration / 1_000_000
    if seconds < promised - SLACK[0] and seconds < promised * SLACK[1]:
        raise AudioError(f"{name}: cut short: {seconds:.1f} of {promised:.1f} seconds can be decoded")


def _joined(parts: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    held: list[np.ndarray] = []
    samples = 0
    for part in chain(parts, [None]):
        if part is not None:
            held.append(part)
            samples += part.shape[1]
        if samples >= (1 if part is None else most_samples(len(part))):
            yield np.concatenate(held, 1)
            held, samples = [], 0
