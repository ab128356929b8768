"""Decoding with libsndfile."""

import re
from collections.abc import Iterator

import numpy as np
import soundfile

from eranntag.audio._blocks import max_block_samples
from eranntag.audio._byte_range import ByteRange
from eranntag.errors import AudioError
from eranntag.types import Clip

_UNKNOWN_LENGTH = 1 << 62  # libsndfile reports an unknown length as a huge one
_LENGTH_IN_LOG = {"AVR": "Frames", "MPC2K": "Frames", "MAT4": "Cols", "MAT5": "Cols", "WVE": "Data length"}


def decode_blocks(file: ByteRange, sound: soundfile.SoundFile, name: str) -> Iterator[Clip]:
    """Yield an empty clip (for the sample rate), then blocks of at most `max_block_samples`.

    Raises AudioError for damage, and at the end if samples are missing.
    """
    with sound:
        _check_log(sound, name)
        limit = _header_length(file, sound) or _UNKNOWN_LENGTH
        block_samples = max_block_samples(sound.channels)
        samples = 0
        sound.seekable = lambda: False  # else soundfile seeks after reading, which FLAC of unknown length cannot
        yield Clip(np.zeros((sound.channels, 0), np.float32), sound.samplerate, name)
        try:  # sound.blocks() yields uninitialized memory after a short read
            while len(block := sound.read(min(block_samples, limit - samples), "float32", always_2d=True)):
                samples += len(block)
                yield Clip(block.T, sound.samplerate, name)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{name}: damaged ({error.error_string.strip().rstrip('.')})") from None
        expected = limit
        if limit == _UNKNOWN_LENGTH and _length_is_known(file, sound.format):
            expected = sound.frames
        if samples < expected < _UNKNOWN_LENGTH:
            raise AudioError(f"{name}: cut short: {samples} of {expected} samples can be decoded")


def _check_log(sound: soundfile.SoundFile, name: str) -> None:
    """Raise AudioError for truncated files of old formats; libsndfile only logs that they are truncated."""
    log = sound.extra_info
    frames = re.search(r"^Frames\s*: (\d+)", log, re.MULTILINE) if sound.format == "SDS" else None
    if (sound.format in ("MAT4", "VOC") and "truncated" in log) or (frames and int(frames[1]) < sound.frames):
        raise AudioError(f"{name}: cut short")


def _header_length(file: ByteRange, sound: soundfile.SoundFile) -> int:
    """Return the samples per channel in the headers of old formats, which libsndfile does not enforce; 0 for others."""
    if sound.format == "NIST":
        position = file.tell()
        counts = re.findall(rb"sample_count -i (\d+)", file.read_at(0, 1024))
        file.seek(position)
    elif sound.format in _LENGTH_IN_LOG:
        counts = re.findall(rf"{_LENGTH_IN_LOG[sound.format]}\s*:? (-?\d+)", sound.extra_info)
    else:
        return 0
    return int(counts[-1]) % (1 << 32) if counts else 0  # a negative one is a large unsigned one


def _length_is_known(file: ByteRange, format_name: str) -> bool:
    """MP3 has its length in a tag of the first frame; without one libsndfile estimates it from the bit rate."""
    if format_name != "MP3":
        return True
    first_frame = file.read_at(0, 200)
    return any(tag in first_frame for tag in (b"Xing", b"Info", b"VBRI"))
