"""A data set packed into tar files, for training where millions of small files would be slow: the format, read and written.

A pack is a folder:

    pack.json              what it is: the recipe, labels, folds, codec; each shard's size and SHA-256; clips left out
    manifest.csv           a row for each clip (COLUMNS); `offset` and `size` in bytes say where its sound is in the shard
    shard-000000.tar ...   uncompressed USTAR in the WebDataset layout: KEY.flac (or KEY.wav) and after it KEY.json
    shard-000000.json ...  the shard's own rows, so that an interrupted packing goes on
    plan.json              what is being packed, so that only the same goes on

The manifest is enough for training at random, with balanced classes: a clip is one read at an offset. The clips stand in the
data set's order and not shuffled, so that a shard depends on nothing but its own clips and can be made again alone.
`Example.events` are not kept.
"""

import csv
import gc
import hashlib
import io
import json
import os
import re
import sys
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from eranntag import atomic, bounded
from eranntag.errors import DataError
from eranntag.types import Dataset, Example, Failure, Packed, Recipe

FORMAT = 1
PACK, MANIFEST, PLAN = "pack.json", "manifest.csv", "plan.json"
COLUMNS = ("shard", "offset", "size", "key", "targets", "fold", "split", "group", "source")
BLOCK = tarfile.BLOCKSIZE
MOST_JSON_BYTES = 1 << 28  # pack.json names the clips that are left out, of two million
METRICS = {"softmax": ("accuracy",), "sigmoid": ("mAP", "micro_AP")}  # activation -> what a recipe measures
WHAT_A_BAD_FILE_RAISES = (AttributeError, KeyError, IndexError, TypeError, ValueError, OverflowError, RecursionError, csv.Error)


@dataclass(frozen=True)
class Entry:
    """A clip on its way into a shard: `content` is its encoded sound, or empty, and `failure` says why. `source` is its
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


# Writing


def write(folder: Path, name: str, codec: str, labels: Sequence[str], limit_bytes: int, entries: Iterable[Entry]) -> Shard:
    """Write the shard `name` from the first of `entries`; the clip with which it reaches `limit_bytes` is its last.

    OSError where it cannot be written; then nothing of it is there.
    """
    rows: list[list[Any]] = []
    failed: list[list[str]] = []
    with atomic.replace(folder / name) as temporary, open(temporary, "wb") as file:
        tar = _Tar(file)
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
        return _sha256(temporary)


class _Tar:
    """A USTAR file that knows its SHA-256 and where each member's bytes begin."""

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


# Reading


def find(data: str | None, name: str) -> Path | None:
    """The pack of the recipe `name` at `data`: that folder, or its folder `name`; None where neither is a pack.

    Raises DataError for the pack of another recipe, and for one that is not finished.
    """
    for folder in (Path(data), Path(data) / name) if data else ():
        if (folder / PACK).is_file():
            packed = load_json(folder / PACK).get("recipe")
            if packed != name:
                raise DataError(f"{folder}: is a pack of {packed!r}, not of {name!r}; `eranntag data pack {name}` makes one")
            return folder
        if folder == Path(data or "") and (folder / PLAN).is_file():
            raise DataError(f"{folder}: is an unfinished pack; `eranntag data pack` goes on with it")
    return None


def read(folder: Path, recipe: Recipe) -> Dataset:
    """The clips of the pack at `folder`, to be read from its shards; `missing` are also those that could not be decoded.

    The labels, folds, activation and metric are the pack's. Raises DataError when pack.json and the manifest do not fit.
    """
    pack = _pack(folder)
    content = bounded.read(folder / MANIFEST)
    if hashlib.sha256(content).hexdigest() != pack.get("manifest_sha256"):
        raise DataError(f"{folder / MANIFEST}: is not the one that was packed: its SHA-256 differs; pack again")
    try:
        recipe = replace(
            recipe,
            labels=tuple(map(str, pack["labels"])),
            folds=tuple(map(int, pack["folds"])),
            activation=str(pack["activation"]),
            metric=str(pack["metric"]),
        )
        missing = (*map(str, pack["missing"]), *(str(source) for source, _ in pack["failed"]))
        if recipe.metric not in METRICS.get(recipe.activation, ()):
            raise ValueError(f"{recipe.activation} and {recipe.metric}")
        sizes = {name: int(shard["bytes"]) for name, shard in pack["shards"].items()}
    except WHAT_A_BAD_FILE_RAISES as error:
        raise DataError(f"{folder / PACK}: cannot be read ({error!r}); pack again") from None
    text = io.TextIOWrapper(io.BytesIO(content), "utf-8", "surrogateescape", newline="")
    rows = csv.reader(text)
    try:
        if tuple(next(rows, ())) != COLUMNS:
            raise ValueError("other columns")
        with _uncollected():
            examples = tuple(_examples(rows, folder, sizes, len(recipe.labels)))
    except WHAT_A_BAD_FILE_RAISES as error:
        raise DataError(f"{folder / MANIFEST}: line {rows.line_num} cannot be read ({error}); pack again") from None
    if not examples:
        raise DataError(f"{folder}: the pack holds no clips; pack again")
    return Dataset(recipe, examples, missing)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the garbage collector, which would look through millions of new objects again and again (two million
    rows: 27 s of CPU time with it, 10 to 14 s without)."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _examples(rows: Iterator[list[str]], folder: Path, sizes: dict[str, int], classes: int) -> Iterator[Example]:
    """Equal cells become one object, since AudioSet has two million rows."""
    archives = {name: os.fspath(folder / name) for name in sizes}

    @cache
    def targets(text: str) -> tuple[int, ...]:
        return tuple(range(classes).index(int(number)) for number in text.split())

    for name, offset, size, _, numbers, fold, split, group, source in rows:
        start, length = int(offset), int(size)
        if not 0 <= start < start + length <= sizes[name]:
            raise ValueError(f"bytes {start} to {start + length} of {name}, which has {sizes[name]}")
        path = Packed(archives[name], start, length, source)
        yield Example(path, targets(numbers), int(fold) if fold else None, sys.intern(split), sys.intern(group))


def verify(folder: Path) -> Iterator[Failure | str]:
    """Check the manifest and every shard by SHA-256: the name of each that is good, a Failure for one that is not."""
    pack = _pack(folder)
    try:
        sums = {MANIFEST: str(pack["manifest_sha256"])}
        sums |= {name: str(shard["sha256"]) for name, shard in pack["shards"].items()}
    except WHAT_A_BAD_FILE_RAISES as error:
        raise DataError(f"{folder / PACK}: cannot be read ({error!r}); pack again") from None
    for name, wanted in sums.items():
        try:
            if (folder / name).exists() and not (folder / name).is_file():  # a pipe would be waited for
                raise OSError("no ordinary file")
            good = _sha256(folder / name) == wanted
        except OSError as error:
            yield Failure(str(folder / name), (error.strerror or str(error)).lower())
        else:
            yield name if good else Failure(str(folder / name), "its SHA-256 is not the one that was packed")


def _pack(folder: Path) -> dict[str, Any]:
    """pack.json. What it names are shards in this folder, never files elsewhere."""
    pack = load_json(folder / PACK)
    if pack.get("format") != FORMAT:
        raise DataError(f"{folder / PACK}: has the format {pack.get('format')!r}; this version reads {FORMAT}: pack again")
    shards = pack.get("shards")
    if not isinstance(shards, dict):
        raise DataError(f"{folder / PACK}: names no shards; pack again")
    for name in shards:
        if not re.fullmatch(r"shard-[0-9]{6,}\.tar", name):
            raise DataError(f"{folder / PACK}: {name!r} is no name of a shard; pack again")
    return pack


@contextmanager
def writing(path: Path, what: str) -> Iterator[None]:
    """DataError where that does not work; the finished `what` are kept."""
    try:
        yield
    except OSError as error:
        refusal = f"{error.filename or path}: cannot be written ({error.strerror or error})"
        raise DataError(f"{refusal}; finished {what} are kept, and the same command goes on after them") from error


def load_json(path: Path) -> dict[str, Any]:
    """The object in a file; DataError when there is none."""
    try:
        content = json.loads(bounded.read(path, MOST_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not JSON ({error}); it is damaged, or another program's") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: is not a JSON object; it is damaged, or another program's")
    return content


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
