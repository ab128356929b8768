"""What libsndfile reads."""

import re
from collections.abc import Iterator

import numpy as np
import soundfile

from eranntag.audio._blocks import most_samples
from eranntag.audio._byte_range import Part
from eranntag.errors import AudioError
from eranntag.types import Clip

_UNKNOWN_LENGTH = 1 << 62  # it reports an unknown one as a huge one
_IN_LOG = {"AVR": "Frames", "MPC2K": "Frames", "MAT4": "Cols", "MAT5": "Cols", "WVE": "Data length"}


def clips(file: Part, sound: soundfile.SoundFile, name: str) -> Iterator[Clip]:
    """Blocks of at most `most_samples`. AudioError for damage, and for an end that is missing."""
    with sound:
        _check_log(sound, name)
        most, in_header, samples = most_samples(sound.channels), _in_header(file, sound), 0
        sound.seekable = lambda: False  # else soundfile seeks after reading, which FLAC of unknown length cannot
        yield Clip(np.zeros((sound.channels, 0), np.float32), sound.samplerate, name)  # for its rate
        try:  # sound.blocks() yields uninitialised memory after a short read
            while len(block := sound.read(min(most, (in_header or _UNKNOWN_LENGTH) - samples), "float32", always_2d=True)):
                samples += len(block)
                yield Clip(block.T, sound.samplerate, name)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{name}: damaged ({error.error_string.strip().rstrip('.')})") from None
        promised = in_header or (sound.frames if _length_is_known(file, sound.format) else 0)
        if samples < promised < _UNKNOWN_LENGTH:
            raise AudioError(f"{name}: cut short: {samples} of {promised} samples can be decoded")


def _check_log(sound: soundfile.SoundFile, name: str) -> None:
    """Of some old formats libsndfile notices that they are cut, reads on, and only notes it."""
    log = sound.extra_info
    there = re.search(r"^Frames\s*: (\d+)", log, re.MULTILINE) if sound.format == "SDS" else None
    if (sound.format in ("MAT4", "VOC") and "truncated" in log) or (there and int(there[1]) < sound.frames):
        raise AudioError(f"{name}: cut short")


def _in_header(file: Part, sound: soundfile.SoundFile) -> int:
    """How many samples a channel the headers of old formats promise, which libsndfile does not compare with what is there, nor
    ends there; 0 of others."""
    if sound.format == "NIST":
        at = file.tell()
        counts = re.findall(rb"sample_count -i (\d+)", file.at(0, 1024))
        file.seek(at)
    elif sound.format in _IN_LOG:
        counts = re.findall(rf"{_IN_LOG[sound.format]}\s*:? (-?\d+)", sound.extra_info)
    else:
        return 0
    return int(counts[-1]) % (1 << 32) if counts else 0  # a negative one is large


def _length_is_known(file: Part, form: str) -> bool:
    """MP3 tells its length in a tag of its first frame; without one libsndfile guesses it from the bit rate."""
    if form != "MP3":
        return True
    frame = file.at(0, 200)
    return any(tag in frame for tag in (b"Xing", b"Info", b"VBRI"))
