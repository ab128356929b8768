"""Completeness of chunked containers: the lengths in their headers, compared with the file's size.

libsndfile quietly shortens WAV, AIFF, W64, RF64, CAF, AU and SVX files whose header promises more; FFmpeg does so with MP4,
QuickTime, Matroska, WebM and AVI.
"""

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from eranntag.audio._byte_range import ByteRange
from eranntag.errors import AudioError

MAX_CHUNKS = 1 << 20
_UNKNOWN_SIZES = (0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)  # and near values: sox, ffmpeg and arecord write them into pipes
_HUGE = 1 << 62  # an unknown size; those of 64 bits are larger
_SEGMENT, _CLUSTER = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"


@dataclass(frozen=True)
class _Layout:
    """Chunks from `first` on, each an id of `id_bytes` and a size; those with `audio_ids` must be complete."""

    first: int
    audio_ids: tuple[bytes, ...]
    size_format: str = "<I"
    id_bytes: int = 4
    align: int = 2
    inclusive: bool = False  # the size includes the chunk's header
    size_first: bool = False
    slack: int = 0  # bytes that may be missing
    single: bool = True  # only the first chunk of audio counts: anything may follow it
    trim: bool = False  # libsndfile would decode what follows it

    def parse(self, head: bytes) -> tuple[bytes, int, int]:
        """Return the id, the length including the header, _HUGE if it is unknown, and the length of the header."""
        size_bytes = struct.calcsize(self.size_format)
        header_bytes = self.id_bytes + size_bytes
        id_start = size_bytes if self.size_first else 0
        chunk_id = head[id_start : id_start + self.id_bytes]
        size = struct.unpack_from(self.size_format, head, 0 if self.size_first else self.id_bytes)[0]
        if self.size_first and size == 1:  # MP4's large size
            header_bytes = 16
            size = struct.unpack_from(">Q", head, 8)[0]
        elif size_bytes == 4:
            size = _or_huge(size)
        return chunk_id, size if self.inclusive else header_bytes + size, header_bytes


_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
_LAYOUTS = (  # by a pattern of the file's beginning
    (rb"(RIFF|RF64|BW64)....WAVE", _Layout(12, (b"data",))),
    (rb"RIFX....WAVE", _Layout(12, (b"data",), ">I")),
    (rb"RIFF....AVI ", _Layout(0, (b"RIFF",), slack=64, single=False)),
    (rb"FORM....AIF[FC]", _Layout(12, (b"SSND",), ">I")),
    (rb"FORM....(8SVX|16SV)", _Layout(12, (b"BODY",), ">I", trim=True)),
    (rb"riff\x2e\x91\xcf\x11", _Layout(40, (_W64_DATA,), "<Q", 16, 8, inclusive=True, trim=True)),
    (rb"caff", _Layout(8, (b"data",), ">Q", align=1)),
    (
        rb"....(ftyp|moov|mdat|free|wide|skip)",
        _Layout(0, (b"mdat", b"moov", b"moof"), ">I", align=1, inclusive=True, size_first=True, single=False),
    ),
)


def check_chunks(file: ByteRange, name: str) -> ByteRange:
    """Return the file, without trailing bytes that libsndfile would decode as audio.

    Raises AudioError if a chunk of audio is incomplete, and for a WAV header that contradicts itself.
    """
    head = file.read_at(0, 32)
    trim = False
    layout = next((layout for pattern, layout in _LAYOUTS if re.match(pattern, head, re.DOTALL)), None)
    chunks: Iterable[tuple[int, int]] = ()
    if layout is not None:
        chunks = _audio_chunks(file, layout, name)
        trim = layout.trim
    elif head[:4] in (b".snd", b"dns.") and len(head) >= 12:
        offset, size = struct.unpack(">II" if head[:1] == b"." else "<II", head[4:12])
        chunks = [(offset, _or_huge(size))]
    elif head[:4] == b"\x1aE\xdf\xa3":
        chunks = _matroska_elements(file, name)
    end = file.size
    for start, size in chunks:
        if file.size < start + size < _HUGE:
            available = max(file.size - start, 0)
            raise AudioError(f"{name}: cut short: the header promises {size} bytes, {available} are there")
        end = start + size
    return file.subrange(0, end) if trim and end < file.size else file


def _audio_chunks(file: ByteRange, layout: _Layout, name: str) -> Iterator[tuple[int, int]]:
    """Yield the start and the size of the content of each chunk of audio."""
    offset = layout.first
    ds64_size = 0
    for _ in range(MAX_CHUNKS):
        head = file.read_at(offset, max(layout.id_bytes + 8, 16))
        if len(head) < layout.id_bytes + struct.calcsize(layout.size_format):
            return
        chunk_id, length, header_bytes = layout.parse(head.ljust(16, b"\0"))
        content = offset + header_bytes
        if chunk_id == b"ds64":
            ds64_size = int.from_bytes(file.read_at(content + 8, 8), "little")
        elif chunk_id == b"fmt " and layout.first == 12:
            _check_format(file.read_at(content, 16), layout.size_format[0], name)
        elif chunk_id in layout.audio_ids:
            if length >= _HUGE and ds64_size:
                length = header_bytes + ds64_size
            yield content, length - header_bytes - layout.slack
            if layout.single:
                return
        if length < header_bytes or length >= _HUGE:  # 0: up to the end
            return
        offset += -(-length // layout.align) * layout.align
    raise AudioError(f"{name}: has over {MAX_CHUNKS} chunks; write it again, as WAV or FLAC")


def _check_format(content: bytes, order: str, name: str) -> None:
    """Raise AudioError for PCM with more bits than a sample's bytes hold, which libsndfile would decode as noise."""
    if len(content) < 16:
        return
    tag, channels, _, _, frame_bytes, bits = struct.unpack(f"{order}HHIIHH", content)
    if tag == 1 and frame_bytes and channels and frame_bytes % channels == 0 and bits > 8 * (frame_bytes // channels):
        raise AudioError(f"{name}: the header contradicts itself: {bits} bits in {frame_bytes // channels} bytes")


def _matroska_elements(file: ByteRange, name: str) -> Iterator[tuple[int, int]]:
    """Yield the start and the size of the segment's content (RFC 8794, RFC 9559).

    A live recording's segment has no size: then those of each element in it and in its clusters.
    """
    offset = 0
    for _ in range(MAX_CHUNKS):
        head = file.read_at(offset, 16)
        if len(head) < 2 or not head[0]:
            return
        id_bytes = 9 - head[0].bit_length()
        size, width = _vint(head[id_bytes:])
        content = offset + id_bytes + width
        unknown = size == (1 << 7 * width) - 1
        if head[:4] == _SEGMENT and not unknown:
            yield content, size
            return
        if head[:id_bytes] in (_SEGMENT, _CLUSTER):
            offset = content
        elif unknown:
            return
        else:
            yield content, size
            offset = content + size
    raise AudioError(f"{name}: has over {MAX_CHUNKS} elements; write it again, as WAV or FLAC")


def _vint(content: bytes) -> tuple[int, int]:
    """Return a number of variable length, and its length in bytes."""
    width = 9 - content[0].bit_length() if content and content[0] else 8
    return int.from_bytes(content[:width], "big") & ((1 << 7 * width) - 1), width


def _or_huge(size: int) -> int:
    """Return a size of 32 bits, or _HUGE for one of the values that stand for an unknown size."""
    return _HUGE if any(abs(size - unknown) <= 0x1000 for unknown in _UNKNOWN_SIZES) else size
