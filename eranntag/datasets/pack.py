"""Dataset -> shards (shards/), resumable at any moment; and how fast a data set can be read for training.

A shard is finished when its tar file and, after that, the table beside it are written, each whole or not at all. It holds the
clips that follow those of the shard before, until it is full; so the finished shards alone fix where packing continues.
"""

import hashlib
import io
import json
import os
import re
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import soundfile

from eranntag.audio import reader
from eranntag.datasets import shard_writer, shards
from eranntag.datasets.shard_writer import Entry, Shard
from eranntag.errors import AudioError, DataError, error_reason
from eranntag.files import atomic, bounded
from eranntag.prefetch import prefetch_map
from eranntag.types import Dataset, Example, ShardEntry

RATE_HZ = 44100  # of every ERANN front-end; others resample


@dataclass(frozen=True)
class Plan:
    """What goes into a pack; `clips_sha256` stands for the names and labels of its `clips` clips."""

    recipe: str
    labels: tuple[str, ...]
    folds: tuple[int, ...]
    activation: str
    metric: str
    codec: str
    shard_bytes: int
    clips: int
    clips_sha256: str
    sample_rate_hz: int = RATE_HZ
    format: int = shards.FORMAT


def pack(dataset: Dataset, folder: Path, codec: str, shard_bytes: int, workers: int) -> Iterator[tuple[Shard, bool]]:
    """Pack the clips into `folder`, as mono 16-bit sound at 44.1 kHz: each finished shard, and whether it was there before.

    Clips that cannot be decoded are left out and listed. DataError when the folder holds something else, when no clip can be
    decoded, when the disk is full or the data gone; the same call then continues.
    """
    sources = _sources(dataset.examples)
    plan = _plan(dataset, sources, codec, shard_bytes)
    with atomic.translate_dataset_write_errors(folder, "shards"):
        _begin(folder, plan, dataset.examples)
    done: list[Shard] = []
    first = 0
    while first < len(sources):
        name = f"shard-{len(done):06d}.tar"
        shard = _finished(folder, name, first)
        there = shard is not None
        if shard is None:
            with (
                atomic.translate_dataset_write_errors(folder / name, "shards"),
                closing(_entries(dataset.examples, sources, first, codec, workers)) as entries,
            ):
                shard = shard_writer.write(folder, name, codec, plan.labels, shard_bytes, entries)
                atomic.write_text(_table(folder / name), json.dumps({"first": first, "shard": asdict(shard)}))
        first += shard.clips
        yield shard, there
        done.append(replace(shard, rows=[]))  # two million of them are for the disk
    with atomic.translate_dataset_write_errors(folder, "shards"):
        _finish(folder, plan, done, dataset.missing)


# The plan


def _sources(examples: Sequence[Example]) -> list[str]:
    """Each clip's name: its path below the folder that all have in common, which does not change when that is moved."""
    paths = {place: os.path.abspath(each.path) for place, each in enumerate(examples) if isinstance(each.path, str)}
    common = os.path.commonpath({os.path.dirname(path) for path in paths.values()}) if paths else ""
    return [
        each.path.name if isinstance(each.path, ShardEntry) else paths[place][len(common) :].lstrip(os.sep)
        for place, each in enumerate(examples)
    ]


def _plan(dataset: Dataset, sources: Sequence[str], codec: str, shard_bytes: int) -> Plan:
    digest = hashlib.sha256()
    for each, source in zip(dataset.examples, sources, strict=True):
        digest.update(json.dumps([source, each.targets, each.fold, each.split, each.group]).encode())
    recipe = dataset.recipe
    protocol = (recipe.name, recipe.labels, recipe.folds, recipe.activation, recipe.metric)
    return Plan(*protocol, codec, shard_bytes, len(sources), digest.hexdigest())


def _begin(folder: Path, plan: Plan, examples: Sequence[Example]) -> None:
    """Make `folder` the place of the plan's shards, or find it so. DataError when something else is there."""
    archives = {each.path.archive for each in examples if isinstance(each.path, ShardEntry)}
    if any(Path(archive).parent.resolve() == folder.resolve() for archive in archives):
        raise DataError(f"{folder}: is the very pack that would be read; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    atomic.remove_temporary_files(folder)
    wanted = json.loads(json.dumps(asdict(plan)))
    if (folder / shards.PLAN).exists():
        found = bounded.read_json_object(folder / shards.PLAN)
        if other := [name for name, value in wanted.items() if found.get(name) != value]:
            raise DataError(f"{folder}: holds a pack with other {', '.join(other)}; choose another folder, or delete it")
    elif any(not path.name.startswith(".") for path in folder.iterdir()):
        raise DataError(f"{folder}: is not empty and holds no pack; choose another folder")
    else:
        atomic.write_text(folder / shards.PLAN, json.dumps(wanted, indent=1) + "\n")


# Shards


def _table(shard: Path) -> Path:
    """The table of a finished shard: written after the tar file, so its presence means that this is complete."""
    return shard.with_suffix(".json")


def _finished(folder: Path, name: str, first: int) -> Shard | None:
    """The shard `name` if it is there, whole, and starts with clip `first`."""
    try:
        table = bounded.read_json_object(_table(folder / name))
        shard = Shard(**table["shard"])
        return shard if table["first"] == first and (folder / name).stat().st_size == shard.bytes else None
    except (OSError, KeyError, TypeError, DataError):
        return None


def _finish(folder: Path, plan: Plan, done: Sequence[Shard], missing: tuple[str, ...]) -> None:
    """Write the manifest, and then pack.json, which makes the folder a pack. `done` are the shards without their rows."""
    failed = [failure for shard in done for failure in shard.failed]
    if len(failed) == plan.clips:
        raise DataError(f"{plan.recipe}: none of the {plan.clips} clips can be decoded")
    names = {shard.name for shard in done}
    for path in folder.glob("shard-*.*"):  # an encoder of another version may have needed more of them
        if path.with_suffix(".tar").name not in names:
            path.unlink()
    rows = chain.from_iterable(bounded.read_json_object(_table(folder / shard.name))["shard"]["rows"] for shard in done)
    results = {
        "clips": plan.clips - len(failed),
        "manifest_sha256": shard_writer.write_manifest(folder, rows),
        "missing": missing,
        "failed": failed,
        "shards": {shard.name: {"bytes": shard.bytes, "sha256": shard.sha256} for shard in done},
    }
    atomic.write_text(folder / shards.PACK, json.dumps({**asdict(plan), **results}, indent=1) + "\n")


# Clips


def _entries(examples: Sequence[Example], sources: Sequence[str], first: int, codec: str, workers: int) -> Generator[Entry]:
    """The clips from `first` on, encoded, in their order; a few are computed ahead, which bounds the memory."""

    def entry(place: int) -> Entry:
        return _entry(examples[place], sources[place], place, codec)

    return prefetch_map(entry, range(first, len(sources)), workers)


def _entry(example: Example, source: str, place: int, codec: str) -> Entry:
    stem = re.sub(r"[^A-Za-z0-9_-]", "_", Path(source).stem)[:64]
    key = f"{place:07d}-{stem}"  # the number makes it unique, also where upper and lower case are the same
    try:
        return Entry(key, source, example, _encode(reader.read_int16(example.path, RATE_HZ), codec))
    except Exception as error:  # whatever a hostile file does to a decoder, the others are packed
        reader.require_folder(example.path)
        return Entry(key, source, example, b"", error_reason(error, str(example.path)))


def _encode(waveform: np.ndarray, codec: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, waveform, RATE_HZ, "PCM_16", format=codec.upper())
    return file.getvalue()


# Speed


@dataclass(frozen=True)
class Speed:
    """How fast `workers` threads decode: `clips` clips with `audio_seconds` of sound took `seconds`; `failed` more could
    not be decoded. `distinct` is how many clips there are: beyond them, they come from the memory of the system."""

    clips: int
    audio_seconds: float
    seconds: float
    workers: int
    failed: int
    distinct: int


def speed(dataset: Dataset, seconds: float, workers: int) -> Speed:
    """Decode random clips for `seconds`, as training reads them. DataError when none can be decoded."""
    examples = dataset.examples
    rng = np.random.default_rng()  # another order each time, or the second measurement would read what is still in memory
    started = time.monotonic()

    def places() -> Iterator[int]:
        while True:
            for place in rng.permutation(len(examples)):
                if time.monotonic() - started > seconds:
                    return
                yield place

    def length(place: int) -> int:
        try:
            return len(reader.read_int16(examples[place].path, RATE_HZ))
        except AudioError:
            return 0

    lengths = list(prefetch_map(length, places(), workers))
    took = time.monotonic() - started
    if not any(lengths):
        raise DataError(f"{dataset.recipe.name}: none of the {len(lengths)} clips that were tried can be decoded")
    good = sum(length > 0 for length in lengths)
    return Speed(good, sum(lengths) / RATE_HZ, took, workers, len(lengths) - good, len(examples))
