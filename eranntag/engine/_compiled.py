"""Compiled networks on disk: one file each, written whole, read by mapping it into memory.

A line of JSON (`facts`, the sizes of the parts, their CRC-32), zeros up to the next multiple of ALIGNMENT, then the parts,
each from such a multiple on. A file that is damaged in any way counts as absent.
"""

import json
import os
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from eranntag import atomic, cache

ALIGNMENT = 4096
KEPT_BYTES = 4 << 30  # of all compiled networks; those that were not used for longest go


def folder() -> Path:
    return cache.folder() / "compiled"


def read(path: Path) -> tuple[dict[str, Any], list[np.ndarray]] | None:
    """The facts and the parts as bytes, or None."""
    try:
        with open(path, "rb") as file:
            head = json.loads(file.readline(1 << 20))
        parts, at = [], ALIGNMENT * head["pages"]
        for size, crc in head["parts"]:
            part = np.memmap(path, np.uint8, "c", at, (size,))
            if zlib.crc32(part) != crc:
                return None
            parts.append(part)
            at += -(-size // ALIGNMENT) * ALIGNMENT
        with suppress(OSError):  # a cache may be there to be read alone
            os.utime(path)
        return head["facts"], parts
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def write(path: Path, facts: dict[str, Any], parts: Sequence[bytes]) -> str:
    """Keep them; "" or why that is not possible, which only costs the time to compile again."""
    head = {"facts": facts, "parts": [(len(part), zlib.crc32(part)) for part in parts], "pages": 1}
    head["pages"] = 1 + (len(json.dumps(head)) + 8) // ALIGNMENT
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_room(path.parent, KEPT_BYTES - sum(map(len, parts)))
        with atomic.replace(path) as temporary, open(temporary, "wb") as file:
            file.write(json.dumps(head).encode() + b"\n")
            at = ALIGNMENT * head["pages"]
            for part in parts:
                file.seek(at)
                file.write(part)
                at += -(-len(part) // ALIGNMENT) * ALIGNMENT
            file.truncate(at)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _make_room(place: Path, allowed: int) -> None:
    entries = sorted(((stat.st_mtime, stat.st_size, path) for path, stat in _files(place)), reverse=True)
    for used, size, path in entries:
        allowed -= size
        if allowed < 0 and used < time.time() - 60:  # not what another process has just written
            path.unlink(missing_ok=True)


def _files(place: Path) -> list[tuple[Path, os.stat_result]]:
    found = []
    for path in place.glob("*.ov"):
        try:
            found.append((path, path.stat()))
        except OSError:  # another process was faster
            continue
    return found
