"""Which events in which background, of all mixtures: decided before the first is made."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eranntag.audio import reader
from eranntag.datasets.mixing.mix import Protocol, read_source
from eranntag.errors import DataError, error_reason
from eranntag.files import atomic, bounded
from eranntag.prefetch import prefetch_map
from eranntag.types import Dataset, Example, Failure, ShardEntry

PLAN = "mixing.json"
FORMAT = 1


@dataclass(frozen=True)
class Sources:
    """`events` have one class each; `backgrounds` are files, or None: computed ones (noise.py), as many as it takes."""

    events: Dataset
    backgrounds: tuple[str, ...] | None


@dataclass(frozen=True)
class Mixture:
    """`background` is a file, or the number of a computed one."""

    name: str
    fold: int
    events: tuple[Example, ...]
    background: str | int


@dataclass(frozen=True)
class Plan:
    """`seconds`: how long an event sounds in a mixture, by its path. `left_out` cannot be used."""

    protocol: Protocol
    sources: Sources
    mixtures: tuple[Mixture, ...]
    seconds: dict[str, float]
    left_out: tuple[Failure, ...]

    @property
    def events(self) -> set[str]:
        """The paths of all that is mixed into something."""
        return {str(each.path) for mixture in self.mixtures for each in mixture.events}


def decide(sources: Sources, protocol: Protocol, folder: Path, workers: int, step: Callable[[], None]) -> Plan:
    """The plan of all mixtures: every source file is read once, or its length looked up in `folder`.

    DataError when `folder` holds other mixtures, or when the sources are not enough for the protocol.
    """
    wanted = json.loads(json.dumps({"format": FORMAT, **asdict(protocol), "sources_sha256": _digest(sources)}))
    with atomic.translate_dataset_write_errors(folder, "mixtures"):
        folder.mkdir(parents=True, exist_ok=True)
        for place in (folder, *folder.glob("snr*"), *folder.glob("snr*/*/")):
            atomic.remove_temporary_files(place)
    if (folder / PLAN).exists():
        found = bounded.read_json_object(folder / PLAN)
        try:
            asked = dict(found["asked"])
            if other := [name for name, value in wanted.items() if asked.get(name) != value]:
                raise DataError(f"{folder}: holds mixtures with other {', '.join(other)}; choose another folder, or delete it")
            lengths = {path: float(seconds) for path, seconds in found["seconds"].items()}
            left_out = {path: str(why) for path, why in found["left_out"].items()}
        except bounded.PARSE_ERRORS as error:
            raise DataError(f"{folder / PLAN}: is damaged ({error!r}); delete {folder}, or choose another folder") from None
        return _decided(sources, protocol, {"seconds": lengths, "left_out": left_out})
    if any(not path.name.startswith(".") for path in folder.iterdir()):
        raise DataError(f"{folder}: is not empty and holds no mixtures; choose another folder")
    _decided(sources, protocol, {"seconds": {str(each.path): 0 for each in sources.events.examples}, "left_out": {}})  # enough?
    found = {"asked": wanted, **_read_sources(sources, protocol, workers, step)}
    decided = _decided(sources, protocol, found)
    with atomic.translate_dataset_write_errors(folder, "mixtures"):
        atomic.write_text(folder / PLAN, json.dumps(found, indent=1) + "\n")
    return decided


def _read_sources(sources: Sources, protocol: Protocol, workers: int, step: Callable[[], None]) -> dict[str, Any]:
    """What the files are, by their paths: `seconds` of each event that can be used, and why the others are `left_out`. No
    more backgrounds are read than are needed."""
    seconds: dict[str, float] = {}
    left_out: dict[str, str] = {}

    def measure(path: str | ShardEntry) -> tuple[str, int, str]:
        try:
            return str(path), len(read_source(path, protocol)), ""
        except Exception as error:  # whatever a hostile file does to a decoder, the others are used
            reader.require_folder(path)
            return str(path), 0, error_reason(error, str(path))

    with closing(prefetch_map(measure, (example.path for example in sources.events.examples), workers)) as results:
        for path, samples, why in results:
            if why:
                left_out[path] = why
            else:
                seconds[path] = min(samples, protocol.samples(protocol.event_seconds)) / protocol.sample_rate_hz
            step()
    good = 0
    with closing(prefetch_map(measure, _shuffled(sources.backgrounds or (), protocol), workers)) as results:
        while good < protocol.clips and (result := next(results, None)):
            path, _, why = result
            if why:
                left_out[path] = why
            good += not why
            step()
    return {"seconds": seconds, "left_out": left_out}


def _decided(sources: Sources, protocol: Protocol, found: dict[str, Any]) -> Plan:
    left_out = tuple(Failure(path, why) for path, why in found["left_out"].items())
    seconds = found["seconds"]
    usable = [example for example in sources.events.examples if str(example.path) in seconds]
    backgrounds = _backgrounds(sources, protocol, found["left_out"])
    width = max(4, len(str(protocol.clips_per_fold)))
    mixtures: list[Mixture] = []
    for fold, events in _folds(usable, protocol).items():
        least = len(protocol.onsets_seconds)
        if len(events) < least:
            more = f"{len(events)} of the {len(usable)} that can be used"
            raise DataError(
                f"fold {fold} has too few events: {more}, and every mixture takes {least}; add some, or lower --folds"
            )
        order = np.random.default_rng([protocol.seed, 1, fold]).permutation(len(events))
        for number, row in enumerate(np.resize(order, (protocol.clips_per_fold, least))):
            name = f"fold{fold}-{number:0{width}}"
            mixtures.append(Mixture(name, fold, tuple(events[at] for at in row), backgrounds[len(mixtures)]))
    return Plan(protocol, sources, tuple(mixtures), seconds, left_out)


def _folds(events: Sequence[Example], protocol: Protocol) -> dict[int, list[Example]]:
    """Fold from 1 -> its events: the data set's own folds, without those above the last, else the recordings in turn, shuffled.

    Where the clips of one recording are in several folds, as a few of ESC-50's are, only those in the first of these are used.
    """
    folds: dict[int, list[Example]] = {fold: [] for fold in range(1, protocol.folds + 1)}
    groups = list(dict.fromkeys(each.group or str(each.path) for each in events))
    shuffled = np.random.default_rng([protocol.seed, 0]).permutation(len(groups))
    home = {groups[at]: 1 + turn % protocol.folds for turn, at in enumerate(shuffled)}
    for each in reversed(events):
        if each.fold is not None:
            home[each.group or str(each.path)] = each.fold
    for each in events:
        fold = home[each.group or str(each.path)]
        if fold in folds and each.fold in (fold, None):
            folds[fold].append(each)
    return folds


def _shuffled(backgrounds: Sequence[str], protocol: Protocol) -> list[str]:
    return [backgrounds[at] for at in np.random.default_rng([protocol.seed, 2]).permutation(len(backgrounds))]


def _backgrounds(sources: Sources, protocol: Protocol, left_out: Mapping[str, str]) -> Sequence[str | int]:
    """One for each mixture; none is used twice."""
    if sources.backgrounds is None:
        return range(protocol.clips)
    good = [path for path in _shuffled(sources.backgrounds, protocol) if path not in left_out]
    if len(good) < protocol.clips:
        remedy = f"give more of them, --clips-per-fold {len(good) // protocol.folds}, or `synthetic` ones"
        raise DataError(f"{len(good)} backgrounds for {protocol.clips} mixtures, and none is used twice: {remedy}")
    return good[: protocol.clips]


def _digest(sources: Sources) -> str:
    """Of all paths and labels, in their order."""
    digest = hashlib.sha256(json.dumps([sources.events.recipe.labels, sources.backgrounds]).encode())
    for each in sources.events.examples:
        digest.update(json.dumps([str(each.path), each.targets, each.fold, each.group]).encode())
    return digest.hexdigest()
