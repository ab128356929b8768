"""Merging the documents of several runs, such as those of the shards of an archive.

A document is what predict, detect and embed write as JSON, JSON lines, CSV or parquet. Its records stay unchanged; only their
sources, checkpoints and schemas are compared.
"""

import csv
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from eranntag.errors import EranntagError, UsageError
from eranntag.results import formats, parquet, schema as rows
from eranntag.results.journal import FOLDER_JOURNAL, parse_line

FORMS = ("jsonl", "json", "csv", "parquet")
MAX_LINE = 1 << 28  # characters: events of some hundred hours
About = tuple[Any, ...]  # what all records must have in common: schema, checkpoint, tags or events


@dataclass(frozen=True)
class Record:
    """The record of `source`: its `content` is the text in a document, or the row of a table."""

    source: str
    content: Any
    about: About


@dataclass
class MergeReport:
    """The number of records `taken`, and of those `left_out` as an earlier document has the same; names whose records `differ`
    between two documents; what is `wrong` with documents, a line each."""

    taken: int = 0
    left_out: int = 0
    differ: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    _seen: dict[int, tuple[int, int]] = field(default_factory=dict)  # hash of a name -> its document, CRC-32 of the record

    def has(self, source: str) -> bool:
        return hash(source) in self._seen


def merge(documents: Iterable[Path], form: str, write: Callable[[Record], None]) -> MergeReport:
    """Pass the records of all `documents` to `write`, in their order. Of a sound that is in two of them the first is taken.

    Defects of a document, such as an interrupted run, are in the report; its whole records are taken. Raises UsageError for
    documents of different checkpoints, schemas or commands.
    """
    report, first = MergeReport(), None
    for number, path in enumerate(documents):
        if (why := unfinished(path)) is not None:
            report.wrong.append(f"{path}: {why}")
        try:
            for record in read_records(path, form):
                first = first or (record.about, path)
                if record.about != first[0]:
                    theirs, ours = (", ".join(map(str, about)) for about in (record.about, first[0]))
                    raise UsageError(f"{path}: is of {theirs}; {first[1]} of {ours}; merge those of one command and checkpoint")
                _take(record, number, report, write)
        except UsageError:
            raise
        except EranntagError as error:
            report.wrong.append(str(error))
    return report


def _take(record: Record, number: int, report: MergeReport, write: Callable[[Record], None]) -> None:
    known = (number, zlib.crc32(repr(record.content).encode()))
    before = report._seen.setdefault(hash(record.source), known)
    if before[0] == number:  # a name that was listed twice
        report.taken += 1
        write(record)
    elif before[1] == known[1]:
        report.left_out += 1
    else:
        report.differ.append(record.source)


def form_of(path: Path) -> str | None:
    """Return the one of FORMS that a document has; None without a document or content. Raises UsageError for other files."""
    if path.is_dir():
        if (path / FOLDER_JOURNAL).exists() or any(path.glob("*.parquet")):
            return "parquet"
        raise UsageError(f"{path}: a folder without parts of --format parquet")
    if not path.exists():
        return None
    if not path.is_file():
        raise UsageError(f"{path}: not a regular file; merge documents of predict, detect or embed")
    with open(path, "rb") as file:
        head = file.read(64)
    if not head:
        return None
    if head.startswith(formats.BEGINNINGS["csv"]):
        return "csv"
    if head.startswith(formats.BEGINNINGS["json"]):
        return "json" if b'"results": [' in head.splitlines()[0] else "jsonl"
    raise UsageError(f"{path}: not a document of predict, detect or embed as {', '.join(FORMS)}")


def unfinished(path: Path) -> str | None:
    """Return why a document is not the whole result of its run; None if it is."""
    again = "run its command again with --resume, then merge again"
    if any(path.with_name(path.name + suffix).exists() for suffix in (".journal", ".partial")):
        return f"its run was interrupted, or goes on; {again}"
    return None if path.exists() else f"no such document; {again.replace(' with --resume', '')}"


def read_records(path: Path, form: str) -> Iterator[Record]:
    """Yield the records of a document in `form`. Raises EranntagError for one that is torn."""
    if not path.exists():
        return
    if form == "parquet":
        for part in sorted(path.glob("*.parquet")):
            for row in parquet.read_rows(part):
                if not (kind := rows.kind(row)):
                    raise EranntagError(f"{part}: has no column of {', '.join(rows.KINDS)}; leave it out")
                yield Record(os.fsdecode(row["source_bytes"]), row, (row.get("schema"), row.get("checkpoint"), kind))
        return
    yield from {"jsonl": _jsonl, "json": _json, "csv": _csv}[form](read_lines(path), path)


def read_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a document, with their ends. Raises EranntagError for one that is too long."""
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        while line := file.readline(MAX_LINE):
            if len(line) == MAX_LINE:
                raise EranntagError(f"{path}: has a line of {MAX_LINE} characters or more, as no document has; leave it out")
            yield line


def _jsonl(file: Iterable[str], path: Path) -> Iterator[Record]:
    for number, line in enumerate(file, 1):
        yield _record(line, line, f"{path}: line {number}", None)


def _json(file: Iterable[str], path: Path) -> Iterator[Record]:
    lines = iter(file)
    schema = next(lines).partition(": ")[2].partition(",")[0]
    for number, line in enumerate(lines, 2):
        if line.startswith("]"):
            if line != '], "complete": true}\n':
                raise EranntagError(f"{path}: its run was interrupted; run its command again with --resume, then merge again")
            return
        text = line.rstrip(",\n")
        yield _record(text + "\n", text, f"{path}: line {number}", schema)
    raise EranntagError(f"{path}: its end is missing; run its command again")


def _record(line: str, content: str, where: str, schema: Any) -> Record:
    match parse_line(line.encode("utf-8", "surrogateescape")):
        case {"source": str(source), "checkpoint": str(checkpoint)} as found:
            if kind := rows.kind(found):
                return Record(source, content, (found.get("schema", schema), checkpoint, kind))
    raise EranntagError(f"{where} is not a whole record; run its command again")


def _csv(lines: Iterable[str], path: Path) -> Iterator[Record]:
    """Yield a record for the consecutive rows of each sound."""
    rows = _csv_rows(lines, path)
    header = next(rows).cells
    for source, group in groupby(rows, key=lambda row: row.cells[0]):
        text = ""
        for row in group:
            if len(row.cells) != len(header) or not row.text.endswith("\n"):
                raise EranntagError(f"{path}: line {row.line} is not a whole row; run its command again")
            text += row.text
        yield Record(formats.unguarded(source), text, (*header, row.cells[-1]))


class _Row(NamedTuple):
    cells: list[str]
    text: str  # the lines of the row: a cell may contain line breaks
    line: int


def _csv_rows(lines: Iterable[str], path: Path) -> Iterator[_Row]:
    """Yield the rows, of which the last may be torn; one that is torn in its first cell raises EranntagError."""
    text: list[str] = []

    def recorded() -> Iterator[str]:
        for line in lines:
            text.append(line)
            yield line

    reader = csv.reader(recorded())
    try:
        for cells in reader:
            if len(cells) < 2:
                raise EranntagError(f"{path}: line {reader.line_num} is not a whole row; run its command again")
            yield _Row(cells, "".join(text), reader.line_num)
            text.clear()
    except csv.Error as error:
        raise EranntagError(f"{path}: line {reader.line_num}: {error}; run its command again") from None


def beginning(form: str, path: Path) -> str:
    """Return the text before the records of a document, as in that of `path`."""
    if form != "csv":
        return f'{{"schema": {formats.SCHEMA}, "results": [' if form == "json" else ""
    with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        return file.readline(MAX_LINE)
