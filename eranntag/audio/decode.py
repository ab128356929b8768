"""The content of a sound file -> its samples, block by block. Only `audio` uses it, and `arguments` its check of samples.

libsndfile (through soundfile) reads wav, aiff, flac, ogg, opus, mp3, w64, rf64, caf and more; PyAV (the extra `av`) reads
m4a, aac, wma, webm and the sound of videos. Neither is asked before the file's own structure was: both decode what is left of
a file that is cut short, and say nothing.
"""

from collections.abc import Iterator

import numpy as np
import soundfile

from eranntag.audio import _duration, _ogg, _pyav, _riff, _soundfile
from eranntag.audio._blocks import BLOCK_SAMPLES
from eranntag.audio._byte_range import Part
from eranntag.errors import AudioError
from eranntag.types import Clip

__all__ = ["AV_EXTENSIONS", "BLOCK_SAMPLES", "EXTENSIONS", "RATES_HZ", "Part", "check_samples", "decoded", "may_be_sound"]

EXTENSIONS = frozenset(
    "aif aifc aiff au avr caf flac htk ircam mat mat4 mat5 mp1 mp2 mp3 mpc2k nist oga ogg opus paf pvf rf64 sds sf snd svx voc "
    "w64 wav wave wavex wve xi".split()
)
AV_EXTENSIONS = _pyav.EXTENSIONS
RATES_HZ = (100, 3_072_000)  # a header outside claims nonsense, and resampling it would take unbounded memory
TITLES_MAY_BE_LONG = (b"RIFF", b"RF64", b"FORM", b"riff", b"caff", b"fLaC", b"OggS", b"ID3", b"\x1aE\xdf\xa3")  # pictures
LOUDEST = 2.0**32  # times full scale: the loudest that a file of 32-bit integers can mean; the square of 1e30 is infinite
INDEX_MAY_BE_BEHIND = (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip")  # at byte 4 of MP4 and QuickTime


def decoded(part: Part, name: str) -> Iterator[Clip]:
    """One or more clips, one after the other, of one rate and number of channels:
    blocks of BLOCK_SAMPLES at most, or little more.

    AudioError for whatever is not sound, as soon as that is known: some damage is told only where it is, and
    a missing end only at the end.
    """
    try:
        yield from _checked(_decoded(part, name), name)
    except AudioError:
        if part.failure is None:
            raise
    if part.failure is not None:
        raise AudioError(f"{name}: cannot be read ({part.failure.strerror or part.failure})")


def may_be_sound(head: bytes) -> bool:
    """Whether a file that begins so may be sound. It is not read to its end for this."""
    if head[4:8] in INDEX_MAY_BE_BEHIND or head.startswith(TITLES_MAY_BE_LONG):
        return True
    try:
        with soundfile.SoundFile(Part.of(head)):
            return True
    except soundfile.LibsndfileError:
        return _pyav.may_be_sound(Part.of(head))


def _decoded(part: Part, name: str) -> Iterator[Clip]:
    if not part.size:
        raise AudioError(f"{name}: empty file")
    part = _riff.whole(_duration.behind_tags(part, name), name)
    _duration.check(part, name)
    for link in _ogg.links(part, name):
        link.seek(0)
        try:
            sound = soundfile.SoundFile(link)
        except soundfile.LibsndfileError as error:
            part.seek(0)
            yield from _pyav.clips(part, name, reason=error.error_string)
            return  # PyAV reads all links
        yield from _soundfile.clips(link, sound, name)


def _checked(clips: Iterator[Clip], name: str) -> Iterator[Clip]:
    first: tuple[int, int] | None = None
    empty = True
    for clip in clips:
        kind = clip.sample_rate, len(clip.waveform)
        if first is None:
            first = kind
            if not RATES_HZ[0] <= kind[0] <= RATES_HZ[1]:
                raise AudioError(f"{name}: the header claims {kind[0]} Hz; {RATES_HZ[0]} to {RATES_HZ[1]} Hz can be read")
        if not clip.waveform.shape[1]:
            continue
        if kind != first:
            raise AudioError(f"{name}: changes its rate or channels midway; write it again as one WAV or FLAC file")
        check_samples(clip.waveform, name)
        empty = False
        yield clip
    if empty:
        raise AudioError(f"{name}: holds no samples")


def check_samples(waveform: np.ndarray, name: str) -> None:
    """Raises AudioError for samples (not empty) that are not finite, or beyond LOUDEST."""
    highest, lowest = waveform.max(), waveform.min()
    if not (np.isfinite(highest) and np.isfinite(lowest)):
        raise AudioError(f"{name}: has NaN or infinite samples")
    if max(highest, -lowest) > LOUDEST:
        raise AudioError(f"{name}: has samples of {max(highest, -lowest):.0e}, where 1 is full scale; scale it")
