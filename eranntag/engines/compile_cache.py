"""Compiled networks on disk: one file each, written whole, read by mapping it into memory.

A line of JSON (the CRC-32 of the text that follows in it: `facts`, the sizes of the parts, their CRC-32), zeros up to a
multiple of ALIGNMENT, then the parts, each from such a multiple on. A file that is damaged in any way counts as absent.
"""

import json
import os
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from eranntag.files import atomic, cache

ALIGNMENT = 4096
KEPT_BYTES = 4 << 30  # of all compiled networks; those that were not used for longest go
UNFINISHED_SECONDS = 3600  # after which what a writer left is nobody's any more


def folder() -> Path:
    return cache.folder() / "compiled"


def read(path: Path, which: slice = slice(None)) -> tuple[dict[str, Any], list[np.ndarray]] | None:
    """The facts and those parts as bytes, or None."""
    try:
        if _strangers(path.parent) or not path.is_file():
            return None
        with open(path, "rb") as file:
            crc, text = json.loads(file.readline(1 << 20))
        if zlib.crc32(text.encode()) != crc:
            return None
        head = json.loads(text)
        places = list(_places(head["first"], [size for size, _ in head["parts"]]))[which]
        parts = [_part(path, at, size) for at, size in places]
        if any(zlib.crc32(part) != crc for part, (_, crc) in zip(parts, head["parts"][which], strict=True)):
            return None
        with suppress(OSError):  # a cache may be there to be read alone
            os.utime(path)
        return head["facts"], parts
    except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def write(path: Path, facts: dict[str, Any], parts: Sequence[bytes]) -> str:
    """Keep them; "" or why that is not possible, which only costs the time to compile again."""
    about = {"facts": facts, "parts": [(len(part), zlib.crc32(part)) for part in parts]}
    first = (1 + (len(json.dumps(about)) * 2 + 100) // ALIGNMENT) * ALIGNMENT  # JSON in JSON has some more quotes
    text = json.dumps({**about, "first": first})
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _strangers(path.parent):
            return f"{path.parent} could be written by others"
        _make_room(path.parent, KEPT_BYTES - sum(map(len, parts)))
        with atomic.replace(path) as temporary, open(temporary, "wb") as file:
            file.write(json.dumps([zlib.crc32(text.encode()), text]).encode() + b"\n")
            for part, (at, size) in zip(parts, _places(first, list(map(len, parts))), strict=True):
                file.seek(at)
                file.write(part)
                file.truncate(at + -(-size // ALIGNMENT) * ALIGNMENT)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _places(first: int, sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    at = first
    for size in sizes:
        yield at, size
        at += -(-size // ALIGNMENT) * ALIGNMENT


def _part(path: Path, at: int, size: int) -> np.ndarray:
    return np.memmap(path, np.uint8, "c", at, (size,)) if size else np.zeros(0, np.uint8)


def _strangers(place: Path) -> bool:
    """Could others have put a network there? They run as they are, unlike weights, whose SHA-256 is known."""
    if not hasattr(os, "getuid"):
        return False
    stat = place.stat()
    return stat.st_uid not in (0, os.getuid()) or bool(stat.st_mode & 0o002)


def _make_room(place: Path, allowed: int) -> None:
    now = time.time()
    for used, size, path in sorted(_files(place), reverse=True):
        unfinished = path.suffix == ".part"
        allowed -= 0 if unfinished else size
        if used < now - (UNFINISHED_SECONDS if unfinished else 60) and (unfinished or allowed < 0):  # not what is just written
            with suppress(OSError):  # another user's, or in use on Windows
                path.unlink()


def _files(place: Path) -> Iterator[tuple[float, int, Path]]:
    for path in (*place.glob("*.ov"), *place.glob(".*.part")):
        with suppress(OSError):  # another process was faster
            stat = path.stat()
            yield stat.st_mtime, stat.st_size, path
