"""The content of a sound file -> its samples, block by block. Only `audio` uses it.

libsndfile (through soundfile) reads wav, aiff, flac, ogg, opus, mp3, w64, rf64, caf and more; PyAV (the extra `av`) reads
m4a, aac, wma, webm and the sound of videos.
"""

import io
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from eranntag.errors import AudioError
from eranntag.types import Clip

EXTENSIONS = frozenset(
    "aif aifc aiff au avr caf flac htk ircam mat mp1 mp2 mp3 mpc2k nist oga ogg opus paf pvf rf64 sds sf snd svx voc "
    "w64 wav wave wavex wve xi".split()
)
AV_EXTENSIONS = frozenset("3gp aac ac3 amr avi flv m4a m4b mka mkv mov mp4 mpeg mpg mts webm wma wmv".split())
BLOCK_SAMPLES = 1 << 18  # of each channel
RATES_HZ = (100, 3_072_000)  # a header outside claims nonsense, and resampling it would take unbounded memory


def decoded(file: BinaryIO, name: str) -> Iterator[Clip]:
    """One or more clips, one after the other: blocks of at most BLOCK_SAMPLES or little more.

    `file` can seek and stands at its beginning. AudioError for whatever is not sound, as soon as that is known: what is missing
    at the end is told at the end.
    """
    if not file.read(1):
        raise AudioError(f"{name}: empty file")
    file.seek(0)
    try:
        sound = soundfile.SoundFile(file)
    except soundfile.LibsndfileError as error:
        file.seek(0)
        clips = _by_av(file, name, reason=error.error_string)
    else:
        clips = _by_sndfile(file, sound, name)
    empty = True
    for clip in clips:
        if not (np.isfinite(clip.waveform.max()) and np.isfinite(clip.waveform.min())):
            raise AudioError(f"{name}: has NaN or infinite samples")
        empty = False
        yield clip
    if empty:
        raise AudioError(f"{name}: holds no samples")


def _by_sndfile(file: BinaryIO, sound: soundfile.SoundFile, name: str) -> Iterator[Clip]:
    with sound:
        _check_rate(sound.samplerate, name)
        _check_length(sound, name)
        _check_ogg_end(file, sound.format, name)
        sound.seekable = lambda: False  # else soundfile seeks after reading, which FLAC of unknown length cannot
        samples = 0
        try:  # sound.blocks() yields uninitialised memory after a short read
            while len(block := sound.read(BLOCK_SAMPLES, dtype="float32", always_2d=True)):
                samples += len(block)
                yield Clip(block.T, sound.samplerate, name)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{name}: damaged ({error.error_string.strip().rstrip('.')})") from None
        # an unknown length is reported as a huge one
        if samples < sound.frames < 1 << 62 and _length_is_known(file, sound.format):
            raise AudioError(f"{name}: cut short: {samples} of {sound.frames} samples can be decoded")


def _length_is_known(file: BinaryIO, form: str) -> bool:
    """MP3 tells its length in a tag of its first frame; without one libsndfile guesses it from the bit rate."""
    if form != "MP3":
        return True
    file.seek(0)
    head, tag_bytes = file.read(10), 0
    if head[:3] == b"ID3":  # its size: four bytes of seven bits
        tag_bytes = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
    file.seek(tag_bytes)
    frame = file.read(200)
    return any(tag in frame for tag in (b"Xing", b"Info", b"VBRI"))


_PROMISE = re.compile(r"^\s*(data|SSND|Data Size|riff|Riff size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
_UNKNOWN_BYTES = (0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)  # and what is near: what sox, ffmpeg and arecord write into pipes


def _check_length(sound: soundfile.SoundFile, name: str) -> None:
    """libsndfile quietly shortens WAV, AIFF, AU, W64 and RF64 files whose header promises more; its log still tells."""
    for chunk, promised, there in _PROMISE.findall(sound.extra_info):
        slack = 64 if "iff" in chunk else 0  # the size of the whole file is often a little wrong
        unknown = any(abs(int(promised) - size) <= 0x1000 for size in _UNKNOWN_BYTES)
        if int(there) + slack < int(promised) and not unknown:
            raise AudioError(f"{name}: cut short: the header promises {promised} bytes, {there} are there")


def _check_ogg_end(file: BinaryIO, form: str, name: str) -> None:
    """An Ogg file has no length in its header: only the flag of its last page says that it is whole (RFC 3533)."""
    if form != "OGG":
        return
    at = file.tell()
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - (1 << 24)))  # the last page, and whatever tags came after it
    last = file.read().rpartition(b"OggS")[2]
    file.seek(at)
    # after "OggS": the flags at 1, the number of segments at 22, then their sizes, then they
    if len(last) < 23 or not last[1] & 4 or len(last) < 23 + last[22] + sum(last[23 : 23 + last[22]]):
        raise AudioError(f"{name}: cut short: its last Ogg page is missing")


def _check_rate(rate: int, name: str) -> None:
    if not RATES_HZ[0] <= rate <= RATES_HZ[1]:
        raise AudioError(f"{name}: the header claims {rate} Hz; {RATES_HZ[0]} to {RATES_HZ[1]} Hz can be read")


def _by_av(file: BinaryIO, name: str, reason: str) -> Iterator[Clip]:
    """What libsndfile does not know. PyAV is imported only here: it is an extra."""
    try:
        import av
    except ImportError:
        if Path(name).suffix.lower().lstrip(".") in AV_EXTENSIONS:
            raise AudioError(f"{name}: this format needs PyAV: pip install 'eranntag[av]'") from None
        raise AudioError(f"{name}: not a readable audio file ({reason.strip().rstrip('.')})") from None
    try:
        with av.open(file) as container:
            if not container.streams.audio:
                raise AudioError(f"{name}: has no audio stream")
            stream = container.streams.audio[0]
            if stream.codec_context is None:
                raise AudioError(f"{name}: not a readable audio file (unknown codec)")
            rate = stream.codec_context.sample_rate
            _check_rate(rate, name)
            resampler = av.AudioResampler(format="fltp", rate=rate)
            frames = chain(container.decode(stream), [None])  # None: what the resampler still holds
            parts = (part.to_ndarray() for frame in frames for part in resampler.resample(frame))
            for block in _joined(parts):
                yield Clip(block, rate, name)
    except (av.error.FFmpegError, ValueError) as error:
        text = getattr(error, "strerror", None) or str(error)
        raise AudioError(f"{name}: not a readable audio file ({text})") from None


def _joined(parts: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """PyAV's parts (channels, samples) have some 1000 samples."""
    held: list[np.ndarray] = []
    samples = 0
    for part in parts:
        held.append(part)
        samples += part.shape[1]
        if samples >= BLOCK_SAMPLES:
            yield np.concatenate(held, 1)
            held, samples = [], 0
    if samples:
        yield np.concatenate(held, 1)
