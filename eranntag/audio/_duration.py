"""Sound without a container, frame after frame: MPEG audio (MP3 and its kin), ADTS (AAC), AC-3, AMR.

None says how long it is; but each of its frames does, and the last one must be there whole. What is cut between two frames
cannot be told from what ends there, unless a tag in MP3's first frame counts them.
"""

import re
import struct
from collections.abc import Callable

from eranntag.audio._byte_range import Part
from eranntag.errors import AudioError

Length = Callable[[bytes], int]

HEADER_BYTES = 8  # that every `length` needs, or less
READ_BYTES = 1 << 20
_TAGS = (b"TAG", b"APET", b"LYRI", b"ID3", b"3DI", b"\0")  # what may be behind the last frame

_LAYER_1 = (range(32, 449, 32), (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256))
_LAYER_2 = (
    (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
_LAYER_3 = ((32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320), _LAYER_2[1])  # fmt: skip
_AC3 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
_AMR = (13, 14, 16, 18, 20, 21, 27, 32, 6, 6, 6, 6, 1, 1, 1, 1)
_AMR_WB = (18, 24, 33, 37, 41, 47, 51, 59, 61, 6, 6, 6, 1, 1, 1, 1)


def behind_tags(part: Part, name: str) -> Part:
    """The file without ID3v2 tags before it: libsndfile ends a WAV file behind one too early."""
    begin = _skip_tags(part, 0)
    if begin and begin >= part.size:
        raise AudioError(f"{name}: cut short: there is only a tag, or a part of one")
    return part.within(begin, part.size - begin) if begin else part


def _skip_tags(part: Part, at: int) -> int:
    """Their size is four bytes of seven bits."""
    while (head := part.at(at, 10))[:3] == b"ID3" and len(head) == 10:
        footer = 10 if head[5] & 0x10 else 0
        at += 10 + footer + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
    return at


def check(part: Part, name: str) -> None:
    """AudioError for a last frame that is incomplete, for other frames than were counted, for frames of another rate, and for a
    first one alone, behind which there is something else."""
    head = part.at(0, HEADER_BYTES)
    if head.startswith(b"#!AMR"):
        wide = head.startswith(b"#!AMR-WB")
        lengths = _AMR_WB if wide else _AMR
        _check(part, name, 9 if wide else 6, lambda header: lengths[header[0] >> 3 & 15])
    elif head.startswith(b"\xf0\x7e"):
        _check_dump(part, name)
    else:
        length = next((length for length in (_mpeg, _adts, _ac3) if length(head)), None)
        if length is not None:
            _check(part, name, 0, length)


def _check(part: Part, name: str, begin: int, length: Length) -> None:
    count, at = _walked(part, name, begin, length)
    rest = part.at(at, HEADER_BYTES)
    if at > part.size or (0 < len(rest) < HEADER_BYTES and rest[0] == part.at(begin, 1)[0]):
        raise AudioError(f"{name}: cut short: its last frame is incomplete")
    ended = not rest or rest.startswith(_TAGS)
    if count < 2 and not ended:
        raise AudioError(f"{name}: not a readable audio file (one frame and then something else)")
    promised = _counted(part.at(begin, 200))
    if ended and count < promised:
        raise AudioError(f"{name}: cut short: {count} of {promised} frames are there")
    if promised and count > promised + 2:  # the one that counts them, and what encoders forget
        raise AudioError(
            f"{name}: {count} frames are there, and {promised} are counted in the first; write it again as one file"
        )


def _walked(part: Part, name: str, at: int, length: Length) -> tuple[int, int]:
    """How many frames follow each other, and where the last of them ends, or would."""
    count, base, held, kind = 0, at, b"", None
    while at < part.size:
        if at + HEADER_BYTES > base + len(held):
            base, held = at, part.at(at, READ_BYTES)
        header = held[at - base : at - base + HEADER_BYTES].ljust(HEADER_BYTES, b"\0")
        size = length(header)
        if not size:
            if header[:3] != b"ID3":
                break
            at = _skip_tags(part, at)  # between two files in one
            continue
        if length is _mpeg and (its := (header[1] & 0x1E, header[2] & 0x0C, header[3] >= 0xC0)) != kind:
            if kind and _mpeg(part.at(at + size, HEADER_BYTES)):
                raise AudioError(f"{name}: changes its rate or channels midway; write it again as one WAV or FLAC file")
            if kind:
                break
            kind = its
        count, at = count + 1, at + size
    return count, at


def _check_dump(part: Part, name: str) -> None:
    """Of MIDI's sample dump, of whose damaged packets libsndfile writes to standard output."""
    count, at = _walked(part, name, 21, lambda header: 127 if header[:2] == b"\xf0\x7e" and header[3] == 2 else 0)
    if not count or at < part.size:
        raise AudioError(f"{name}: damaged (no packet at byte {at})")


def _counted(frame: bytes) -> int:
    """The number of frames in a tag of LAME's or Xing's in MP3's first frame; 0 without one."""
    tag = re.search(rb"(Xing|Info)\0\0\0([\1\3\5\7\t\v\r\17])(....)", frame, re.DOTALL)
    return struct.unpack(">I", tag[3])[0] if tag else 0


def _mpeg(header: bytes) -> int:
    """Bytes of a frame of MPEG audio (ISO 11172-3, 13818-3, and version 2.5); 0 of what is none, or of a free format."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return 0
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)  # version 0 is 2.5, 2 is 2, 3 is 1
    rate, rates = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or layer == 4 or rate in (0, 15) or rates == 3:
        return 0
    bits = (_LAYER_1, _LAYER_2, _LAYER_3)[layer - 1][version != 3][rate - 1] * 1000
    hz = (44100, 48000, 32000)[rates] // {3: 1, 2: 2, 0: 4}[version]
    padding = header[2] >> 1 & 1
    if layer == 1:
        return (12 * bits // hz + padding) * 4
    return (72 if layer == 3 and version != 3 else 144) * bits // hz + padding


def _adts(header: bytes) -> int:
    """Bytes of a frame of AAC (ISO 14496-3, 1.A.3)."""
    if len(header) < 7 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0 or header[2] >> 2 & 15 > 12:
        return 0
    size = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    return size if size >= 7 else 0


def _ac3(header: bytes) -> int:
    """Bytes of a frame of AC-3 or E-AC-3 (ETSI TS 102 366)."""
    if len(header) < 6 or header[:2] != b"\x0b\x77":
        return 0
    if header[5] >> 3 > 10:  # E-AC-3
        return 2 * (((header[2] & 7) << 8 | header[3]) + 1)
    rate, code = header[4] >> 6, header[4] & 63
    if rate == 3 or code >= 2 * len(_AC3):
        return 0
    bits = _AC3[code >> 1]
    return 2 * (2 * bits, bits * 960 // 441 + code % 2, 3 * bits)[rate]
