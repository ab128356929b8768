"""The pages of Ogg (RFC 3533): whether all are there and sound, and where one sound ends and the next begins.

libsndfile reads only the first sound of a chain, as radio stations send them, and drops damaged pages in silence.
"""

import zlib
from collections.abc import Iterator
from itertools import pairwise

from eranntag.audio._byte_range import Part
from eranntag.errors import AudioError

_HEADER_BYTES, _PAGE_BYTES = 27, 27 + 255 + 255 * 255
_CONTINUED, _FIRST, _LAST = 1, 2, 4  # flags
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def links(part: Part, name: str) -> list[Part]:
    """The sounds of a chained file, one after the other; of what is no Ogg, the file itself.

    There is no length in the header: only the flag of the last page says that a file is whole. AudioError without it.
    """
    if part.at(0, 4) != b"OggS":
        return [part]
    starts, end, flags = [], 0, _LAST
    for end, page in _pages(part, name):
        if page[5] & _FIRST and not flags & _FIRST:  # several first pages are streams side by side
            starts.append(end - len(page))
        flags = page[5]
    if not flags & _LAST:
        raise AudioError(f"{name}: cut short: its last Ogg page is missing; ffmpeg -i FILE -c copy NEW.ogg keeps what is there")
    borders = [0, *starts[1:], end]
    return [part.within(start, stop - start) for start, stop in pairwise(borders)]


def _pages(part: Part, name: str) -> Iterator[tuple[int, bytes]]:
    """Where each page ends, and the page; up to whatever is behind the last."""
    at, last = 0, False
    while (head := part.at(at, _HEADER_BYTES + 255))[:4] == b"OggS":
        segments = head[26] if len(head) >= _HEADER_BYTES else 0
        size = _HEADER_BYTES + segments + sum(head[_HEADER_BYTES : _HEADER_BYTES + segments])
        page = part.at(at, size)
        if len(page) < size:
            raise AudioError(f"{name}: cut short: its last Ogg page is missing")
        if _sum(page[:22] + bytes(4) + page[26:]) != int.from_bytes(page[22:26], "little"):
            raise AudioError(f"{name}: damaged (an Ogg page at byte {at} has another checksum)")
        at, last = at + size, bool(page[5] & _LAST)
        yield at, page
    if not last and b"OggS" in part.at(at, _PAGE_BYTES):
        raise AudioError(f"{name}: damaged (no Ogg page at byte {at})")


def _sum(content: bytes) -> int:
    """CRC-32 as Ogg has it: of bits in the other order than zlib's, without its first and last step."""
    mirrored = zlib.crc32(content.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)
