"""What containers of chunks say of their own length, compared with what is there.

libsndfile quietly shortens WAV, AIFF, W64, RF64, CAF, AU and SVX files whose header promises more; FFmpeg does so with MP4,
QuickTime, Matroska, WebM and AVI.
"""

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from eranntag.audio._byte_range import Part
from eranntag.errors import AudioError

MOST = 1 << 20  # chunks
_UNKNOWN_BYTES = (0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)  # and what is near: what sox, ffmpeg and arecord write into pipes
_HUGE = 1 << 62  # unknown too where sizes have 64 bits; -1 is beyond
_SEGMENT, _CLUSTER = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"


@dataclass(frozen=True)
class _Layout:
    """Chunks from `first` on, each an id of `id_bytes` and a size; `sound` are the ids of those that must be whole."""

    first: int
    sound: tuple[bytes, ...]
    size: str = "<I"
    id_bytes: int = 4
    align: int = 2
    inclusive: bool = False  # the size is that of id, size and content
    size_first: bool = False
    slack: int = 0
    once: bool = True  # behind the sound may be anything
    ends: bool = False  # which libsndfile takes for more of it

    def header(self, head: bytes) -> tuple[bytes, int, int]:
        """Its id, its length as a whole and that of its header; of an unknown length _HUGE."""
        size_bytes = struct.calcsize(self.size)
        name, field = head[: self.id_bytes], head[self.id_bytes :]
        if self.size_first:
            field, name = head, head[size_bytes : size_bytes + self.id_bytes]
        size, begin = struct.unpack_from(self.size, field)[0], self.id_bytes + size_bytes
        if self.size_first and size == 1:  # MP4's large size
            size, begin = struct.unpack_from(">Q", head, 8)[0], 16
        elif size_bytes == 4:
            size = _known(size)
        return name, size if self.inclusive else begin + size, begin


_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
_LAYOUTS = (  # of what begins so
    (rb"(RIFF|RF64|BW64)....WAVE", _Layout(12, (b"data",))),
    (rb"RIFX....WAVE", _Layout(12, (b"data",), ">I")),
    (rb"RIFF....AVI ", _Layout(0, (b"RIFF",), slack=64, once=False)),
    (rb"FORM....AIF[FC]", _Layout(12, (b"SSND",), ">I")),
    (rb"FORM....(8SVX|16SV)", _Layout(12, (b"BODY",), ">I", ends=True)),
    (rb"riff\x2e\x91\xcf\x11", _Layout(40, (_W64_DATA,), "<Q", 16, 8, inclusive=True, ends=True)),
    (rb"caff", _Layout(8, (b"data",), ">Q", align=1)),
    (
        rb"....(ftyp|moov|mdat|free|wide|skip)",
        _Layout(0, (b"mdat", b"moov", b"moof"), ">I", align=1, inclusive=True, size_first=True, once=False),
    ),
)


def whole(part: Part, name: str) -> Part:
    """The file, without what libsndfile would take for sound behind it. AudioError for a chunk with sound that is not there
    whole, and for a header of WAV that contradicts itself."""
    head, ends = part.at(0, 32), False
    layout = next((layout for pattern, layout in _LAYOUTS if re.match(pattern, head, re.DOTALL)), None)
    chunks: Iterable[tuple[int, int]] = ()
    if layout is not None:
        chunks, ends = _sound(part, layout, name), layout.ends
    elif head[:4] in (b".snd", b"dns.") and len(head) >= 12:
        offset, size = struct.unpack(">II" if head[:1] == b"." else "<II", head[4:12])
        chunks = [(offset, _known(size))]
    elif head[:4] == b"\x1aE\xdf\xa3":
        chunks = _elements(part, name)
    end = part.size
    for begin, size in chunks:
        if part.size < begin + size < _HUGE:
            there = max(part.size - begin, 0)
            raise AudioError(f"{name}: cut short: the header promises {size} bytes, {there} are there")
        end = begin + size
    return part.within(0, end) if ends and end < part.size else part


def _sound(part: Part, layout: _Layout, name: str) -> Iterator[tuple[int, int]]:
    """Where the content of chunks with sound begins, and how long it is promised to be."""
    at, in_ds64 = layout.first, 0
    for _ in range(MOST):
        head = part.at(at, max(layout.id_bytes + 8, 16))
        if len(head) < layout.id_bytes + struct.calcsize(layout.size):
            return
        chunk, length, begin = layout.header(head.ljust(16, b"\0"))
        if chunk == b"ds64":
            in_ds64 = struct.unpack("<Q", part.at(at + begin + 8, 8).ljust(8, b"\0"))[0]
        elif chunk == b"fmt " and layout.first == 12:
            _check_format(part.at(at + begin, 16), layout.size[0], name)
        elif chunk in layout.sound:
            if length >= _HUGE and in_ds64:
                length = begin + in_ds64
            yield at + begin, length - begin - layout.slack
            if layout.once:
                return
        if length < begin or length >= _HUGE:  # 0: up to the end
            return
        at += -(-length // layout.align) * layout.align
    raise AudioError(f"{name}: has over {MOST} chunks; write it again, as WAV or FLAC")


def _check_format(content: bytes, order: str, name: str) -> None:
    """Of plain PCM: as many bits as have their place. libsndfile believes one of both numbers, and makes noise of the sound."""
    if len(content) < 16:
        return
    tag, channels, _, _, frame_bytes, bits = struct.unpack(f"{order}HHIIHH", content)
    if tag == 1 and frame_bytes and channels and frame_bytes % channels == 0 and bits > 8 * (frame_bytes // channels):
        raise AudioError(f"{name}: the header contradicts itself: {bits} bits in {frame_bytes // channels} bytes")


def _elements(part: Part, name: str) -> Iterator[tuple[int, int]]:
    """Of Matroska (RFC 8794, RFC 9559) what the segment says of itself; where it does not, being written while it was
    recorded, what each element in it and in its clusters does."""
    at = 0
    for _ in range(MOST):
        head = part.at(at, 16)
        if len(head) < 2 or not head[0]:
            return
        id_bytes = 9 - head[0].bit_length()
        size, width = _vint(head[id_bytes:])
        begin = at + id_bytes + width
        unknown = size == (1 << 7 * width) - 1
        if head[:4] == _SEGMENT and not unknown:
            yield begin, size
            return
        if head[:id_bytes] in (_SEGMENT, _CLUSTER):
            at = begin
        elif unknown:
            return
        else:
            yield begin, size
            at = begin + size
    raise AudioError(f"{name}: has over {MOST} elements; write it again, as WAV or FLAC")


def _vint(content: bytes) -> tuple[int, int]:
    """A number of variable length, and of how many bytes."""
    width = 9 - content[0].bit_length() if content and content[0] else 8
    return int.from_bytes(content[:width], "big") & ((1 << 7 * width) - 1), width


def _known(size: int) -> int:
    """Of 32 bits; _HUGE if it is what is written for an unknown one."""
    return _HUGE if any(abs(size - unknown) <= 0x1000 for unknown in _UNKNOWN_BYTES) else size
