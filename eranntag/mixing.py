"""Events + backgrounds -> mixtures with strong labels: the protocol of "Two-step attention pooling with an auxiliary
auto-encoder" (2APAE), Section IV-A, whose exact procedure is that of Kong et al.'s public code for weakly labelled detection.

Three events, two seconds each at most, sound one after the other in every ten-second background. Under a folder:

    mixing.json                  what is being mixed, and what every source file was found to be
    snr20/audio/fold1-0000.flac  a mixture: mono, 32 kHz, 16 bits
    snr20/stems/...              if asked for: its events and its background, each in a channel of its own
    snr20/events.csv             filename,onset,offset,label,source: the strong labels, in seconds
    snr20/mix.json               where it comes from
    snr20/mixtures.csv           filename,fold,snr_db,labels,background; it is written last and makes this a data set

and the same for every other SNR: the same events in the same backgrounds. Everything is decided by the names and labels of the
sources and the seed, so that what is left of an interrupted mixing is gone on with, and made again is the same to the byte.
"""

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from eranntag import __version__, atomic, audio, noise
from eranntag.ahead import ahead
from eranntag.errors import AudioError, DataError, reason
from eranntag.shards import load_json
from eranntag.types import Dataset, Example, Failure, Packed

PLAN, SOURCES, EVENTS, MIXTURES = "mixing.json", "mix.json", "events.csv", "mixtures.csv"
FORMAT = 1


@dataclass(frozen=True)
class Protocol:
    """What decides the mixtures, beside their sources. `trim_padding`: the zeros that a collection put behind sounds shorter
    than its clips are no part of the event, neither of its level nor of its duration."""

    snr_db: tuple[float, ...] = (0.0, 10.0, 20.0)
    clips_per_fold: int = 2000
    folds: int = 4
    seed: int = 0
    trim_padding: bool = False
    sample_rate_hz: int = 32_000
    seconds: float = 10.0
    onsets_seconds: tuple[float, ...] = (0.5, 3.0, 5.5)
    event_seconds: float = 2.0

    @property
    def clips(self) -> int:
        return self.folds * self.clips_per_fold

    def samples(self, seconds: float) -> int:
        return round(seconds * self.sample_rate_hz)


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


# The sound


def mix(
    events: Sequence[np.ndarray], background: np.ndarray, onsets: Sequence[int], most_samples: int, snr_db: float
) -> np.ndarray:
    """(2, samples), the events and the background in a channel each; the mixture is the mean of the two.

    `events` are whole files (samples,), `onsets` where each begins in `background` (samples,), in samples; none sounds for more
    than `most_samples`. The background gets an RMS of 1, each event one of 10^(SNR / 20) over its *whole file*; then both
    channels are divided by their highest peak. Raises ValueError for silence, which has no level.
    """
    track = np.zeros(len(background))
    for event, onset in zip(events, onsets, strict=True):
        part = (10 ** (snr_db / 20) / rms(event) * event)[: min(most_samples, len(track) - onset)]
        track[onset : onset + len(part)] += part
    channels = np.stack((track, background / rms(background)))
    return channels / np.abs(channels).max()


def rms(waveform: np.ndarray) -> float:
    level = float(np.sqrt(np.square(waveform, dtype=np.float64).mean()))
    if not level:
        raise ValueError("silence has no level")
    return level


def hear(path: str | Packed, protocol: Protocol) -> np.ndarray:
    """A source file, mono at the protocol's rate. AudioError also for silence."""
    waveform = audio.mono(audio.read(path), protocol.sample_rate_hz)
    if protocol.trim_padding:
        waveform = waveform[: np.flatnonzero(np.abs(waveform) * audio.FULL_SCALE >= 1).max(initial=-1) + 1]
    if not waveform.any():
        raise AudioError(f"{path}: is silent")
    return waveform.astype(np.float64)


def _background(source: str | int, protocol: Protocol) -> np.ndarray:
    """Cut to the mixture's length; a shorter one begins again."""
    samples = protocol.samples(protocol.seconds)
    if isinstance(source, int):
        return noise.background(source, protocol.seed, samples, protocol.sample_rate_hz)
    return np.resize(hear(source, protocol), samples)


# The plan


def plan(sources: Sources, protocol: Protocol, folder: Path, workers: int, step: Callable[[], None]) -> Plan:
    """Hear every source file once, or look up what was heard before in `folder`, and decide every mixture.

    DataError when `folder` holds other mixtures, or when the sources are not enough for the protocol.
    """
    wanted = json.loads(json.dumps({"format": FORMAT, **asdict(protocol), "sources_sha256": _digest(sources)}))
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for place in (folder, *folder.glob("snr*"), *folder.glob("snr*/*/")):
            atomic.discard_unfinished(place)
    if (folder / PLAN).exists():
        found = load_json(folder / PLAN)
        asked = found.get("asked", {})
        if other := [name for name, value in wanted.items() if asked.get(name) != value]:
            raise DataError(f"{folder}: holds mixtures with other {', '.join(other)}; choose another folder, or delete it")
        return _decided(sources, protocol, found)
    if any(not path.name.startswith(".") for path in folder.iterdir()):
        raise DataError(f"{folder}: is not empty and holds no mixtures; choose another folder")
    _decided(sources, protocol, {"seconds": {str(each.path): 0 for each in sources.events.examples}, "left_out": {}})  # enough?
    found = {"asked": wanted, **_heard(sources, protocol, workers, step)}
    decided = _decided(sources, protocol, found)
    with _writing(folder):
        atomic.write_text(folder / PLAN, json.dumps(found, indent=1) + "\n")
    return decided


def _heard(sources: Sources, protocol: Protocol, workers: int, step: Callable[[], None]) -> dict[str, Any]:
    """What the files are, by their paths: `seconds` of each event that can be used, and why the others are `left_out`. Of the
    backgrounds no more are heard than are needed."""
    seconds: dict[str, float] = {}
    left_out: dict[str, str] = {}

    def listen(path: str | Packed) -> tuple[str, int, str]:
        try:
            return str(path), len(hear(path, protocol)), ""
        except Exception as error:  # whatever a hostile file does to a decoder, the others go on
            audio.check_folder(path)
            return str(path), 0, reason(error, str(path))

    with closing(ahead(listen, (example.path for example in sources.events.examples), workers)) as results:
        for path, samples, why in results:
            if why:
                left_out[path] = why
            else:
                seconds[path] = min(samples, protocol.samples(protocol.event_seconds)) / protocol.sample_rate_hz
            step()
    good = 0
    with closing(ahead(listen, _shuffled(sources.backgrounds or (), protocol), workers)) as results:
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
    width, mixtures = max(4, len(str(protocol.clips_per_fold))), []
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


# The files


def write(plan: Plan, folder: Path, workers: int, stems: bool, command: str) -> Iterator[str]:
    """Write every mixture that is not there yet, the name of each when it is; then the tables. The same call goes on after
    an interruption. DataError when the disk is full or the sources are gone; AudioError when one can no longer be read."""
    kinds = ("audio", "stems") if stems else ("audio",)
    with _writing(folder):
        for snr_db in plan.protocol.snr_db:
            for kind in kinds:
                (_place(folder, snr_db) / kind).mkdir(parents=True, exist_ok=True)

    def make(mixture: Mixture) -> str:
        asked = ((snr_db, kind) for snr_db in plan.protocol.snr_db for kind in kinds)
        paths = {(snr_db, kind): _place(folder, snr_db) / kind / f"{mixture.name}.flac" for snr_db, kind in asked}
        if missing := {which: path for which, path in paths.items() if not path.exists()}:
            _make(mixture, plan.protocol, missing)
        return mixture.name

    with _writing(folder):
        with closing(ahead(make, plan.mixtures, workers)) as names:
            yield from names
        for snr_db in plan.protocol.snr_db:
            _write_tables(plan, snr_db, _place(folder, snr_db), command)


def _place(folder: Path, snr_db: float) -> Path:
    return folder / f"snr{snr_db:g}"


def _make(mixture: Mixture, protocol: Protocol, paths: Mapping[tuple[float, str], Path]) -> None:
    for source in (*(each.path for each in mixture.events), mixture.background):
        if not isinstance(source, int):
            audio.check_folder(source)
    events = [hear(each.path, protocol) for each in mixture.events]
    background = _background(mixture.background, protocol)
    onsets = [protocol.samples(onset) for onset in protocol.onsets_seconds]
    for snr_db in protocol.snr_db:
        channels = mix(events, background, onsets, protocol.samples(protocol.event_seconds), snr_db)
        for kind, waveform in (("audio", channels.mean(0)), ("stems", channels.T)):
            if path := paths.get((snr_db, kind)):
                with atomic.replace(path) as temporary:
                    soundfile.write(temporary, audio.to_int16(waveform), protocol.sample_rate_hz, "PCM_16", format="FLAC")


def _write_tables(plan: Plan, snr_db: float, place: Path, command: str) -> None:
    protocol, recipe = plan.protocol, plan.sources.events.recipe
    strong, clips = [], []
    for mixture in plan.mixtures:
        name, labels = f"{mixture.name}.flac", []
        for each, onset in zip(mixture.events, protocol.onsets_seconds, strict=True):
            labels.append(recipe.labels[each.targets[0]])
            strong.append((name, onset, round(onset + plan.seconds[str(each.path)], 6), labels[-1], Path(str(each.path)).name))
        background = mixture.background if isinstance(mixture.background, int) else Path(mixture.background).name
        clips.append((name, mixture.fold, f"{snr_db:g}", ";".join(sorted(set(labels))), background))
    _write_table(place / EVENTS, ("filename", "onset", "offset", "label", "source"), strong)
    computed = plan.sources.backgrounds is None
    origin = {
        "events": {"title": recipe.title, "licence": recipe.licence, "files": len(plan.events)},
        "backgrounds": {"title": "computed noise" if computed else "files", "files": len(plan.mixtures)},
    }
    written = {"format": FORMAT, "snr_db": snr_db, "labels": recipe.labels, "command": command, "version": __version__}
    left_out = {failure.source: failure.reason for failure in plan.left_out}
    record = {**written, **origin, "protocol": asdict(protocol), "left_out": left_out}
    atomic.write_text(place / SOURCES, json.dumps(record, indent=1) + "\n")
    _write_table(place / MIXTURES, ("filename", "fold", "snr_db", "labels", "background"), clips)


def _write_table(path: Path, header: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> None:
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows([header, *rows])
    atomic.write_text(path, lines.getvalue())


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        refusal = f"{path}: cannot be written ({error.strerror or error})"
        raise DataError(f"{refusal}; finished mixtures are kept, and the same command goes on after them") from error
