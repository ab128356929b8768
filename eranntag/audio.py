"""The only reader of audio files: file -> Clip, and Clip -> the mono waveform at the rate that a model wants.

libsndfile (through soundfile) reads wav, aiff, flac, ogg, opus, mp3, w64, rf64, caf and more; PyAV (the extra `av`) reads
m4a, aac, wma, webm and the sound of videos.
"""

import io
import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from eranntag.errors import AudioError, DataError
from eranntag.types import Clip, Packed

EXTENSIONS = frozenset(
    "aif aifc aiff au avr caf flac htk ircam mat mp1 mp2 mp3 mpc2k nist oga ogg opus paf pvf rf64 sds sf snd svx voc "
    "w64 wav wave wavex wve xi".split()
)
AV_EXTENSIONS = frozenset("3gp aac ac3 amr avi flv m4a m4b mka mkv mov mp4 mpeg mpg mts webm wma wmv".split())
SOUNDS = EXTENSIONS | AV_EXTENSIONS
FULL_SCALE = 32768  # 1.0 in a 16-bit file
RATES_HZ = (100, 3_072_000)  # a header outside claims nonsense, and resampling it would take unbounded memory


def read(source: str | os.PathLike[str] | Packed | BinaryIO, name: str = "") -> Clip:
    """Decode a whole file, a clip of a shard, or an open binary stream, to float32 (channels, samples) at its own rate.

    `name` replaces the path in errors and in `Clip.source`. Raises AudioError for whatever is not sound: absent, not a
    regular file, empty, another format, cut short, NaN or infinite samples, an impossible rate.
    """
    if isinstance(source, Packed):
        return _decode(io.BytesIO(_packed(source)), name or str(source))
    if isinstance(source, (str, os.PathLike)):
        name = name or os.fspath(source)
        _check_regular(source, name)
        with open(os.open(source, os.O_RDONLY), "rb") as file:  # nameless: soundfile would take x.raw as headerless
            return _decode(file, name)
    name = name or "-"
    return _decode(io.BytesIO(source.read()), name)  # libsndfile needs to seek


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


def _packed(source: Packed) -> bytes:
    _check_regular(source.archive, str(source))
    if os.path.getsize(source.archive) < source.offset + source.size:
        raise AudioError(f"{source}: the shard is cut short")
    with open(source.archive, "rb") as file:
        file.seek(source.offset)
        return file.read(source.size)


def mono(clip: Clip, sample_rate_hz: int) -> np.ndarray:
    """The mean of the channels, resampled with soxr (HQ): (samples,) float32."""
    waveform = clip.waveform[0] if len(clip.waveform) == 1 else clip.waveform.mean(0, dtype=np.float32)
    if clip.sample_rate != sample_rate_hz:
        waveform = soxr.resample(waveform, clip.sample_rate, sample_rate_hz, quality="HQ")
    return np.ascontiguousarray(waveform, dtype=np.float32)


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


def _decode(file: BinaryIO, name: str) -> Clip:
    if not file.read(1):
        raise AudioError(f"{name}: empty file")
    file.seek(0)
    try:
        sound = soundfile.SoundFile(file)
    except soundfile.LibsndfileError as error:
        file.seek(0)
        waveform, rate = _decode_av(file, name, reason=error.error_string)
    else:
        with sound:
            waveform, rate = _decode_sndfile(file, sound, name)
    if waveform.shape[1] == 0:
        raise AudioError(f"{name}: holds no samples")
    if not (np.isfinite(waveform.max()) and np.isfinite(waveform.min())):
        raise AudioError(f"{name}: has NaN or infinite samples")
    return Clip(waveform, rate, name)


def _decode_sndfile(file: BinaryIO, sound: soundfile.SoundFile, name: str) -> tuple[np.ndarray, int]:
    _check_rate(sound.samplerate, name)
    _check_length(sound, name)
    _check_ogg_end(file, sound.format, name)
    sound.seekable = lambda: False  # else soundfile seeks after reading, which FLAC of unknown length cannot
    blocks = []  # sound.blocks() yields uninitialised memory after a short read
    try:
        while len(block := sound.read(1 << 18, dtype="float32", always_2d=True)):
            blocks.append(block.T)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{name}: damaged ({error.error_string.strip().rstrip('.')})") from None
    promised, rate = sound.frames, sound.samplerate
    waveform = np.concatenate(blocks, 1) if blocks else np.zeros((1, 0), np.float32)
    # an unknown length is reported as a huge one
    if waveform.shape[1] < promised < 1 << 62 and _length_is_known(file, sound.format):
        raise AudioError(f"{name}: cut short: {waveform.shape[1]} of {promised} samples can be decoded")
    return waveform, rate


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


def _decode_av(file: BinaryIO, name: str, reason: str) -> tuple[np.ndarray, int]:
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
            blocks = [part.to_ndarray() for frame in container.decode(stream) for part in resampler.resample(frame)]
            blocks += [part.to_ndarray() for part in resampler.resample(None)]
    except (av.error.FFmpegError, ValueError) as error:
        text = getattr(error, "strerror", None) or str(error)
        raise AudioError(f"{name}: not a readable audio file ({text})") from None
    return (np.concatenate(blocks, 1) if blocks else np.zeros((1, 0), np.float32)), rate
