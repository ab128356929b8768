"""Ogg pages (RFC 3533): completeness, checksums, and the logical streams of a chained file.

libsndfile reads only the first stream of a chain, as radio stations send them, and silently drops damaged pages.
"""

import zlib
from collections.abc import Iterator
from itertools import pairwise

from eranntag.audio._byte_range import ByteRange
from eranntag.errors import AudioError

_HEADER_BYTES = 27
_MAX_PAGE_BYTES = 27 + 255 + 255 * 255
_FIRST_PAGE = 2  # flags
_LAST_PAGE = 4
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def chained_streams(file: ByteRange, name: str) -> list[ByteRange]:
    """Return the streams of a chained Ogg file in order; the file itself for other formats.

    An Ogg header has no length: only the last page's flag shows that a file is complete. Raises AudioError without it,
    and for damaged pages.
    """
    if file.read_at(0, 4) != b"OggS":
        return [file]
    starts: list[int] = []
    end = 0
    flags = _LAST_PAGE
    for end, page in _pages(file, name):
        if page[5] & _FIRST_PAGE and not flags & _FIRST_PAGE:  # several first pages belong to multiplexed streams
            starts.append(end - len(page))
        flags = page[5]
    if not flags & _LAST_PAGE:
        remedy = "ffmpeg -i FILE -c copy NEW.ogg keeps what is there"
        raise AudioError(f"{name}: cut short: its last Ogg page is missing; {remedy}")
    return [file.subrange(start, stop - start) for start, stop in pairwise([0, *starts[1:], end])]


def _pages(file: ByteRange, name: str) -> Iterator[tuple[int, bytes]]:
    """Yield the end of each page and the page, up to any other content after the last page."""
    offset = 0
    is_last = False
    while (header := file.read_at(offset, _HEADER_BYTES + 255))[:4] == b"OggS":
        segments = header[26] if len(header) >= _HEADER_BYTES else 0
        size = _HEADER_BYTES + segments + sum(header[_HEADER_BYTES : _HEADER_BYTES + segments])
        page = file.read_at(offset, size)
        if len(page) < size:
            raise AudioError(f"{name}: cut short: its last Ogg page is missing")
        if ogg_crc32(page[:22] + bytes(4) + page[26:]) != int.from_bytes(page[22:26], "little"):
            raise AudioError(f"{name}: damaged (an Ogg page at byte {offset} has another checksum)")
        offset += size
        is_last = bool(page[5] & _LAST_PAGE)
        yield offset, page
    if not is_last and b"OggS" in file.read_at(offset, _MAX_PAGE_BYTES):
        raise AudioError(f"{name}: damaged (no Ogg page at byte {offset})")


def ogg_crc32(content: bytes) -> int:
    """Return Ogg's CRC-32: zlib's polynomial with the bits in reverse order, without the initial and final inversion."""
    crc = zlib.crc32(content.translate(_REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{crc:032b}"[::-1], 2)
