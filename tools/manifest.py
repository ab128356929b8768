"""The table of sources, free_audio.csv, and the table of pieces, manifest.csv."""

import csv
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from eranntag.files.atomic import replace

TABLE = Path(__file__).with_name("free_audio.csv")


@dataclass(frozen=True)
class Source:
    """A row of the table: a Debian package, or a name of SYNTHESIZERS, or esc50."""

    name: str
    kind: str
    minutes: float
    split: str


@dataclass(frozen=True)
class Row:
    """A row of manifest.csv: `path` below audio/, `file` and `onset` in the source."""

    path: str
    source: str
    version: str
    file: str
    onset: float
    seconds: float
    licence: str
    kind: str
    split: str


def table(path: Path = TABLE) -> list[Source]:
    """The sources, those of the test split first."""
    with path.open(newline="", encoding="utf-8") as file:
        sources = [Source(row["name"], row["kind"], float(row["minutes"]), row["split"]) for row in csv.DictReader(file)]
    return sorted(sources, key=lambda source: source.split != "test")


def write(folder: Path, rows: Iterable[Row]) -> None:
    with replace(folder / "manifest.csv") as path, path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in fields(Row))
        writer.writerows(astuple(row) for row in rows)


def read(folder: Path) -> list[Row]:
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return [Row(**{**row, "onset": float(row["onset"]), "seconds": float(row["seconds"])}) for row in csv.DictReader(file)]
