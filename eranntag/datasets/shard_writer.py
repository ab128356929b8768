"""A shard, and the manifest of all, written."""

import csv
import hashlib
import json
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from eranntag.datasets.shards import COLUMNS, MANIFEST, sha256
from eranntag.files import atomic
from eranntag.types import Example

BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True)
class Entry:
    """A clip on its way into a shard: `content` is its encoded sound, or empty with the reason in `failure`. `source` is its
    name in the data set, `key` its name in the shard, without a dot: WebDataset takes what follows the first as the kind."""

    key: str
    source: str
    example: Example
    content: bytes
    failure: str = ""


@dataclass(frozen=True)
class Shard:
    """A finished tar file: its `rows` of the manifest, and `failed`, [source, reason] of clips that cannot be decoded."""

    name: str
    bytes: int
    sha256: str
    rows: list[list[Any]]
    failed: list[list[str]]

    @property
    def clips(self) -> int:
        """How many of the data set's clips it has dealt with."""
        return len(self.rows) + len(self.failed)


def write(folder: Path, name: str, codec: str, labels: Sequence[str], limit_bytes: int, entries: Iterable[Entry]) -> Shard:
    """Write the shard `name` from the first of `entries`; the clip with which it reaches `limit_bytes` is its last.

    OSError where it cannot be written; then nothing of it is there.
    """
    rows: list[list[Any]] = []
    failed: list[list[str]] = []
    with atomic.replace(folder / name) as temporary, open(temporary, "wb") as file:
        tar = Tar(file)
        for entry in entries:
            if entry.failure:
                failed.append([entry.source, entry.failure])
            else:
                offset = tar.add(f"{entry.key}.{codec}", entry.content)
                tar.add(f"{entry.key}.json", _member(entry, labels))
                rows.append([name, offset, len(entry.content), *_cells(entry)])
            if tar.bytes >= limit_bytes:
                break
        tar.end()
    return Shard(name, tar.bytes, tar.sha256.hexdigest(), rows, failed)


def write_manifest(folder: Path, rows: Iterable[list[Any]]) -> str:
    """The rows of all shards as one table; returns its SHA-256."""
    with atomic.replace(folder / MANIFEST) as temporary:
        with open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            table = csv.writer(file)  # its lines end with CR LF, so that names with either are quoted
            table.writerow(COLUMNS)
            table.writerows(rows)
        return sha256(temporary)


class Tar:
    """A USTAR file that is written with its SHA-256 and the offset of each member."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.bytes, self.sha256 = file, 0, hashlib.sha256()

    def add(self, name: str, content: bytes) -> int:
        """Returns the offset of `content` in the file."""
        info = tarfile.TarInfo(name)  # its time is 0: the same clips make the same bytes
        info.size = len(content)
        self._write(info.tobuf(tarfile.USTAR_FORMAT))
        offset = self.bytes
        self._write(content + bytes(-len(content) % BLOCK))
        return offset

    def end(self) -> None:
        self._write(bytes(2 * BLOCK))

    def _write(self, content: bytes) -> None:
        self.file.write(content)
        self.sha256.update(content)
        self.bytes += len(content)


def _member(entry: Entry, labels: Sequence[str]) -> bytes:
    example = entry.example
    fields = {"fold": example.fold, "split": example.split, "group": example.group, "name": entry.source}
    return json.dumps({"labels": [labels[target] for target in example.targets], **fields}).encode()


def _cells(entry: Entry) -> tuple[str, ...]:
    example = entry.example
    fold = "" if example.fold is None else str(example.fold)
    return entry.key, " ".join(map(str, example.targets)), fold, example.split, example.group, entry.source
