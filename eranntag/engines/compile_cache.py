"""Compiled networks on disk: one file each, written whole, read by mapping it into memory.

A line of JSON: the CRC-32 of the text that follows in it, which is JSON again (`facts`, `first`, and by its name the size and
the CRC-32 of each part). After it come the parts, from the offset `first` on, each from a multiple of ALIGNMENT on. A file that
is damaged in any way counts as absent.
"""

import json
import os
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eranntag.files import atomic, cache

ALIGNMENT = 4096
KEPT_BYTES = 4 << 30  # of all compiled networks; those that were not used for longest are removed
WRITTEN_SECONDS = 60  # during which a network that was just written is not removed
UNFINISHED_SECONDS = 3600  # after which what a killed writer left is removed


@dataclass(frozen=True)
class Entry:
    """What a file holds: `facts` that fit into JSON, and `parts`, uint8 arrays by their names."""

    facts: dict[str, Any]
    parts: dict[str, np.ndarray]


def folder() -> Path:
    return cache.folder() / "compiled"


def read(path: Path, names: Sequence[str] | None = None) -> Entry | None:
    """The Entry of the file `path`, with the parts `names` (all, for None); None where it is absent, damaged or not trusted."""
    try:
        if _writable_by_others(path.parent) or not path.is_file():
            return None
        with open(path, "rb") as file:
            crc, text = json.loads(file.readline(1 << 20))
        if zlib.crc32(text.encode()) != crc:
            return None
        head = json.loads(text)
        sizes = {name: size for name, (size, _) in head["parts"].items()}
        parts = {}
        for name, at in _offsets(head["first"], sizes).items():
            if names is None or name in names:
                size, crc = head["parts"][name]
                parts[name] = np.memmap(path, np.uint8, "c", at, (size,)) if size else np.zeros(0, np.uint8)
                if zlib.crc32(parts[name].data) != crc:
                    return None
        with suppress(OSError):  # a cache may be read-only
            os.utime(path)
        return Entry(head["facts"], parts)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def write(path: Path, facts: dict[str, Any], parts: Mapping[str, bytes]) -> str:
    """Keep them in the file `path`; "" or why that is not possible, which only costs the time to compile again."""
    sizes = {name: len(part) for name, part in parts.items()}
    about = {"facts": facts, "parts": {name: (len(part), zlib.crc32(part)) for name, part in parts.items()}}
    first = (1 + (len(json.dumps(about)) * 2 + 100) // ALIGNMENT) * ALIGNMENT  # JSON in JSON has some more quotes
    text = json.dumps({**about, "first": first})
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _writable_by_others(path.parent):
            return f"{path.parent} could be written by others"
        _make_room(path.parent, KEPT_BYTES - sum(sizes.values()))
        with atomic.replace(path) as temporary, open(temporary, "wb") as file:
            file.write(json.dumps([zlib.crc32(text.encode()), text]).encode() + b"\n")
            for name, at in _offsets(first, sizes).items():
                file.seek(at)
                file.write(parts[name])
                file.truncate(at + _aligned(sizes[name]))
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _offsets(first: int, sizes: Mapping[str, int]) -> dict[str, int]:
    """Where each part begins, in their order."""
    offsets = {}
    at = first
    for name, size in sizes.items():
        offsets[name] = at
        at += _aligned(size)
    return offsets


def _aligned(size: int) -> int:
    """`size`, rounded up to a multiple of ALIGNMENT."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def _writable_by_others(place: Path) -> bool:
    """Whether others could have put a network there: it is executed as it is, unlike weights, whose SHA-256 is verified."""
    if not hasattr(os, "getuid"):
        return False
    stat = place.stat()
    return stat.st_uid not in (0, os.getuid()) or bool(stat.st_mode & 0o002)


def _make_room(place: Path, allowed: int) -> None:
    """Remove what killed writers left, and the least recently used networks beyond `allowed` bytes."""
    now = time.time()
    for used, size, path in sorted(_files(place), reverse=True):
        unfinished = path.suffix == ".part"
        if not unfinished:
            allowed -= size
        removable = unfinished or allowed < 0
        if removable and now - used > (UNFINISHED_SECONDS if unfinished else WRITTEN_SECONDS):
            with suppress(OSError):  # another user's, or in use on Windows
                path.unlink()


def _files(place: Path) -> Iterator[tuple[float, int, Path]]:
    for path in (*place.glob("*.ov"), *place.glob(".*.part")):
        with suppress(OSError):  # another process was faster
            stat = path.stat()
            yield stat.st_mtime, stat.st_size, path
