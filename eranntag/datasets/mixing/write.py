"""The files of a plan: mixtures, and the tables that make them a data set."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import soundfile

from eranntag import __version__
from eranntag.audio import reader
from eranntag.datasets.mixing.mix import Protocol, background, mix, read_source
from eranntag.datasets.mixing.plan import FORMAT, Mixture, Plan
from eranntag.files import atomic
from eranntag.prefetch import prefetch_map

SOURCES, EVENTS, MIXTURES = "mix.json", "events.csv", "mixtures.csv"


def write(plan: Plan, folder: Path, workers: int, stems: bool, command: str) -> Iterator[str]:
    """Write every mixture that is not there yet, the name of each when it is; then the tables. The same call continues after
    an interruption. DataError when the disk is full or the sources are gone; AudioError when one can no longer be read."""
    kinds = ("audio", "stems") if stems else ("audio",)
    with atomic.translate_dataset_write_errors(folder, "mixtures"):
        for snr_db in plan.protocol.snr_db:
            for kind in kinds:
                (_place(folder, snr_db) / kind).mkdir(parents=True, exist_ok=True)

    def make(mixture: Mixture) -> str:
        wanted = ((snr_db, kind) for snr_db in plan.protocol.snr_db for kind in kinds)
        paths = {(snr_db, kind): _place(folder, snr_db) / kind / f"{mixture.name}.flac" for snr_db, kind in wanted}
        if missing := {which: path for which, path in paths.items() if not path.exists()}:
            _make(mixture, plan.protocol, missing)
        return mixture.name

    with atomic.translate_dataset_write_errors(folder, "mixtures"):
        with closing(prefetch_map(make, plan.mixtures, workers)) as names:
            yield from names
        for snr_db in plan.protocol.snr_db:
            _write_tables(plan, snr_db, _place(folder, snr_db), command)


def _place(folder: Path, snr_db: float) -> Path:
    return folder / f"snr{snr_db:g}"


def _make(mixture: Mixture, protocol: Protocol, paths: Mapping[tuple[float, str], Path]) -> None:
    for source in (*(each.path for each in mixture.events), mixture.background):
        if not isinstance(source, int):
            reader.require_folder(source)
    events = [read_source(each.path, protocol) for each in mixture.events]
    backdrop = background(mixture.background, protocol)
    onsets = [protocol.samples(onset) for onset in protocol.onsets_seconds]
    for snr_db in protocol.snr_db:
        channels = mix(events, backdrop, onsets, protocol.samples(protocol.event_seconds), snr_db)
        for kind, waveform in (("audio", channels.mean(0)), ("stems", channels.T)):
            if path := paths.get((snr_db, kind)):
                file = io.BytesIO()  # a full disk is no more than a "system error" to soundfile
                soundfile.write(file, reader.to_int16(waveform), protocol.sample_rate_hz, "PCM_16", format="FLAC")
                atomic.write_bytes(path, file.getvalue())


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
