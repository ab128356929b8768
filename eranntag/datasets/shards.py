"""A data set packed into tar files, for training where millions of small files would be slow: the format, and how it is read.

A pack is a folder:

    pack.json              what it is: the recipe, labels, folds, codec; each shard's size and SHA-256; clips left out
    manifest.csv           a row for each clip (COLUMNS); `offset` and `size` in bytes say where its sound is in the shard
    shard-000000.tar ...   uncompressed USTAR in the WebDataset layout: KEY.flac (or KEY.wav) and after it KEY.json
    shard-000000.json ...  the shard's own rows, to continue an interrupted packing
    plan.json              what is being packed; only the same is continued

The manifest is enough for training at random, with balanced classes: a clip is one read at an offset. The clips stand in the
data set's order and not shuffled, so that a shard depends on nothing but its own clips and can be made again alone.
`Example.events` are not kept.
"""

import gc
import hashlib
import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from eranntag.errors import DataError
from eranntag.files import bounded
from eranntag.files.csv_rows import parse_rows
from eranntag.types import Dataset, Example, Failure, Recipe, ShardEntry

FORMAT = 1
PACK, MANIFEST, PLAN = "pack.json", "manifest.csv", "plan.json"
COLUMNS = ("shard", "offset", "size", "key", "targets", "fold", "split", "group", "source")
METRICS = {"softmax": ("accuracy",), "sigmoid": ("mAP", "micro_AP")}  # activation -> what a recipe measures


def find(data: str | None, name: str) -> Path | None:
    """The pack of the recipe `name` at `data`: that folder, or its folder `name`; None where neither is a pack.

    Raises DataError for the pack of another recipe, and for one that is not finished.
    """
    for folder in (Path(data), Path(data) / name) if data else ():
        if (folder / PACK).is_file():
            packed = bounded.read_json_object(folder / PACK).get("recipe")
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
    content = bounded.read_bytes(folder / MANIFEST)
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
    except bounded.PARSE_ERRORS as error:
        raise DataError(f"{folder / PACK}: cannot be read ({error!r}); pack again") from None
    text = io.TextIOWrapper(io.BytesIO(content), "utf-8", "surrogateescape", newline="")
    rows = parse_rows(text, folder / MANIFEST)
    if tuple(next(rows, (1, []))[1]) != COLUMNS:
        raise DataError(f"{folder / MANIFEST}: line 1 cannot be read (other columns); pack again")
    with _uncollected():
        examples = tuple(_examples(rows, folder, sizes, len(recipe.labels)))
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


def _examples(rows: Iterator[tuple[int, list[str]]], folder: Path, sizes: dict[str, int], classes: int) -> Iterator[Example]:
    """Equal cells become one object, since AudioSet has two million rows. Raises DataError."""
    archives = {name: os.fspath(folder / name) for name in sizes}

    @cache
    def targets(text: str) -> tuple[int, ...]:
        return tuple(range(classes).index(int(number)) for number in text.split())

    for line, cells in rows:
        try:
            name, offset, size, _, numbers, fold, split, group, source = cells
            start, length = int(offset), int(size)
            if not 0 <= start < start + length <= sizes[name]:
                raise ValueError(f"bytes {start} to {start + length} of {name}, which has {sizes[name]}")
            path = ShardEntry(archives[name], start, length, source)
            example = Example(path, targets(numbers), int(fold) if fold else None, sys.intern(split), sys.intern(group))
        except bounded.PARSE_ERRORS as error:
            raise DataError(f"{folder / MANIFEST}: line {line} cannot be read ({error}); pack again") from None
        yield example


def verify(folder: Path) -> Iterator[Failure | str]:
    """Check the manifest and every shard by SHA-256: the name of each that is good, a Failure for one that is not."""
    pack = _pack(folder)
    try:
        sums = {MANIFEST: str(pack["manifest_sha256"])}
        sums |= {name: str(shard["sha256"]) for name, shard in pack["shards"].items()}
    except bounded.PARSE_ERRORS as error:
        raise DataError(f"{folder / PACK}: cannot be read ({error!r}); pack again") from None
    for name, wanted in sums.items():
        try:
            if (folder / name).exists() and not (folder / name).is_file():  # a pipe would be waited for
                raise OSError("no ordinary file")
            good = sha256(folder / name) == wanted
        except OSError as error:
            yield Failure(str(folder / name), (error.strerror or str(error)).lower())
        else:
            yield name if good else Failure(str(folder / name), "its SHA-256 is not the one that was packed")


def _pack(folder: Path) -> dict[str, Any]:
    """pack.json. What it names are shards in this folder, never files elsewhere."""
    pack = bounded.read_json_object(folder / PACK)
    if pack.get("format") != FORMAT:
        raise DataError(f"{folder / PACK}: has the format {pack.get('format')!r}; this version reads {FORMAT}: pack again")
    shards = pack.get("shards")
    if not isinstance(shards, dict):
        raise DataError(f"{folder / PACK}: names no shards; pack again")
    for name in shards:
        if not re.fullmatch(r"shard-[0-9]{6,}\.tar", name):
            raise DataError(f"{folder / PACK}: {name!r} is no name of a shard; pack again")
    return pack


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
