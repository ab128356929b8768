"""The content of an audio file -> its samples, block by block. Used by `audio` alone; `inference` uses its constants.

libsndfile (through soundfile) reads wav, aiff, flac, ogg, opus, mp3, w64, rf64, caf and more; PyAV (the extra `av`) reads
m4a, aac, wma, webm and the sound of videos. Both silently decode what is left of a truncated file, so that the file's own
structure is checked first.
"""

from collections.abc import Iterator

import numpy as np
import soundfile

from eranntag.audio import _duration, _ogg, _pyav, _riff, _soundfile
from eranntag.audio._blocks import BLOCK_SAMPLES
from eranntag.audio._byte_range import ByteRange
from eranntag.errors import AudioError
from eranntag.types import Clip

__all__ = [
    "AV_EXTENSIONS",
    "BLOCK_SAMPLES",
    "EXTENSIONS",
    "SAMPLE_RATES_HZ",
    "ByteRange",
    "decode",
    "may_be_audio",
    "require_valid_samples",
]

EXTENSIONS = frozenset(
    "aif aifc aiff au avr caf flac htk ircam mat mat4 mat5 mp1 mp2 mp3 mpc2k nist oga ogg opus paf pvf rf64 sds sf snd svx voc "
    "w64 wav wave wavex wve xi".split()
)
AV_EXTENSIONS = _pyav.EXTENSIONS
SAMPLE_RATES_HZ = (100, 3_072_000)  # others are damage, and resampling them would take unbounded memory
LONG_METADATA_MAGIC = (b"RIFF", b"RF64", b"FORM", b"riff", b"caff", b"fLaC", b"OggS", b"ID3", b"\x1aE\xdf\xa3")  # pictures
INDEX_AT_END_TYPES = (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip")  # at byte 4 of MP4 and QuickTime
MAX_AMPLITUDE = 2.0**32  # the largest that a file of 32-bit integers can mean; the square of 1e30 is infinite


def decode(file: ByteRange, name: str) -> Iterator[Clip]:
    """Yield consecutive clips of at most BLOCK_SAMPLES, or little more, with one sample rate and number of channels.

    Raises AudioError for files that are not audio, at once; for some damage and for a missing end where it occurs.
    """
    try:
        yield from _checked(_decode(file, name), name)
    except AudioError:
        if file.failure is None:
            raise
    if file.failure is not None:
        raise AudioError(f"{name}: cannot be read ({file.failure.strerror or file.failure})")


def may_be_audio(head: bytes) -> bool:
    """Return whether a file with this beginning may be audio, without the rest of it."""
    if head[4:8] in INDEX_AT_END_TYPES or head.startswith(LONG_METADATA_MAGIC):
        return True
    try:
        with soundfile.SoundFile(ByteRange.of_bytes(head)):
            return True
    except soundfile.LibsndfileError:
        return _pyav.may_be_audio(ByteRange.of_bytes(head))


def _decode(file: ByteRange, name: str) -> Iterator[Clip]:
    if not file.size:
        raise AudioError(f"{name}: empty file")
    file = _riff.check_chunks(_duration.skip_id3(file, name), name)
    _duration.check_frames(file, name)
    for stream in _ogg.chained_streams(file, name):
        stream.seek(0)
        try:
            sound = soundfile.SoundFile(stream)
        except soundfile.LibsndfileError as error:
            file.seek(0)
            yield from _pyav.decode_blocks(file, name, reason=error.error_string)
            return  # PyAV reads all streams of the chain
        yield from _soundfile.decode_blocks(stream, sound, name)


def _checked(clips: Iterator[Clip], name: str) -> Iterator[Clip]:
    first: tuple[int, int] | None = None
    empty = True
    lowest, highest = SAMPLE_RATES_HZ
    for clip in clips:
        layout = clip.sample_rate, len(clip.waveform)
        if first is None:
            first = layout
            if not lowest <= clip.sample_rate <= highest:
                claim = f"the header claims {clip.sample_rate} Hz"
                raise AudioError(f"{name}: {claim}; {lowest} to {highest} Hz can be read")
        if not clip.waveform.shape[1]:
            continue
        if layout != first:
            raise AudioError(f"{name}: changes its rate or channels midway; write it again as one WAV or FLAC file")
        require_valid_samples(clip.waveform, name)
        empty = False
        yield clip
    if empty:
        raise AudioError(f"{name}: holds no samples")


def require_valid_samples(waveform: np.ndarray, name: str) -> None:
    """Raise AudioError for samples (not empty) that are not finite, or beyond MAX_AMPLITUDE."""
    highest = waveform.max()
    lowest = waveform.min()
    if not (np.isfinite(highest) and np.isfinite(lowest)):
        raise AudioError(f"{name}: has NaN or infinite samples")
    if max(highest, -lowest) > MAX_AMPLITUDE:
        raise AudioError(f"{name}: has samples of {max(highest, -lowest):.0e}, where 1 is full scale; scale it")
