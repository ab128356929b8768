"""A folder of parquet files that another run can resume: each holds some thousand rows, and is written whole or not at all.

An entry of its journal is a part that is written and the number of its rows.
"""

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eranntag.errors import EranntagError, UsageError
from eranntag.files import atomic
from eranntag.results import journal as journals, schema
from eranntag.results.journal import Journal, Source, translate_write_errors, without_done

MAX_ROWS = 20_000  # of a part
MAX_SIZE = 200_000  # sum of `schema.row_size` of a part, which limits the memory
MAX_SECONDS = 300.0  # of results are what a kill may cost
BATCH_ROWS = 128  # of a part that are read at once, or fewer where they are large:
BATCH_BYTES = 1 << 22


def check_installed() -> None:
    """Raise UsageError without pyarrow."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise UsageError("parquet needs pyarrow: pip install 'eranntag[parquet]'") from None


class ParquetFolder:
    """The parts in the folder `path`. First `begin`, then `write` each row, then `finish`."""

    def __init__(self, path: Path, journal: Journal) -> None:
        self.path = path
        self._journal = journal
        self._written: dict[str, int] = {}  # part -> its number of rows
        self._obsolete: list[str] = []  # parts that `begin` removes
        self._done: Counter[int] = Counter()  # hashes of names; there may be millions
        self._rows: list[dict[str, Any]] = []
        self._size = 0
        self._since = time.monotonic()
        journal.read(self._accept)

    @classmethod
    @contextmanager
    def open(cls, path: Path, resume: bool = False, overwrite: bool = False) -> Iterator["ParquetFolder"]:
        """Yield the locked ParquetFolder `path`, created if necessary.

        Raises UsageError for rows that would be replaced without `overwrite`, EranntagError where another process writes.
        """
        check_installed()
        with journals.open_in_folder(path) as journal:
            run = cls(path, journal)
            run._start_or_continue(resume, overwrite)
            yield run

    @property
    def records(self) -> int:
        """The number of rows that are written."""
        return sum(self._written.values())

    def _accept(self, entry: Any) -> bool:
        match entry:
            case [str(name), int(count)]:
                self._written[name] = count
                return True
        return False

    def _start_or_continue(self, resume: bool, overwrite: bool) -> None:
        others = sorted(path.name for path in self.path.glob("*.parquet") if path.name not in self._written)
        without_entry = [_part(len(self._written))] if self._journal.settings else []  # a kill came before its entry
        if others not in ([], without_entry) and not overwrite:
            raise UsageError(f"{self.path}: {others[0]} there is of another run; use another --output, or --overwrite")
        if self._written and not (resume or overwrite):
            found = f"{self.path} holds {self.records} results of an earlier run"
            raise UsageError(f"{found}: --resume continues it, --overwrite replaces it")
        if overwrite and not resume:
            self._obsolete = [*self._written, *others]
            self._written.clear()

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Start, or continue the earlier run, which must have had the same `settings` (UsageError)."""
        if self._written:
            self._journal.check_settings(settings, "use another --output, or --overwrite")
            for name in self._written:
                self._done.update(hash(row["source_bytes"]) for row in read_rows(self.path / name, ["source_bytes"]))
        with self._translate_write_errors(self._journal.path):
            for name in self._obsolete:
                (self.path / name).unlink(missing_ok=True)
            if self._written:
                self._journal.truncate(self._journal.end)
            else:
                self._journal.truncate(0)
                self._journal.append(settings)

    def remaining(self, sources: Iterable[Source]) -> Iterator[Source]:
        """Yield the sources that are not written yet; each written row excludes one of its name."""
        return without_done(sources, self._done, os.fsencode)

    def write(self, row: dict[str, Any]) -> None:
        """Add a row of `eranntag.results.schema`; it is on the disk when its part is full, or five minutes old."""
        self._rows.append(row)
        self._size += schema.row_size(row)
        if len(self._rows) >= MAX_ROWS or self._size >= MAX_SIZE or time.monotonic() > self._since + MAX_SECONDS:
            self.finish()

    def finish(self) -> None:
        """Write the rows that are not written yet as a part."""
        if self._rows:
            name = _part(len(self._written))
            with self._translate_write_errors(self.path / name):
                save_part(self._rows, self.path / name)
                self._journal.append([name, len(self._rows)])
                self._journal.sync()
            self._written[name] = len(self._rows)
            self._rows = []
            self._size = 0
        self._since = time.monotonic()

    @contextmanager
    def _translate_write_errors(self, path: Path) -> Iterator[None]:
        with translate_write_errors(path, f"--resume continues behind {self.records} results" if self.records else ""):
            yield


def _part(number: int) -> str:
    return f"part-{number:05d}.parquet"


def save_part(rows: list[dict[str, Any]], path: Path) -> None:
    """Write rows of one kind as a parquet file, atomically."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist(rows, schema.arrow_schema(schema.kind(rows[0])))
    with atomic.replace(path) as temporary:
        pyarrow.parquet.write_table(table, temporary, compression="zstd")


def read_rows(path: Path, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows of a part, reading a few at a time. Raises EranntagError for another file."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            if not pyarrow.types.is_binary(file.schema_arrow.field("source_bytes").type):
                raise ValueError("its column source_bytes is of another kind")
            groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
            largest_row = max((group.total_byte_size // max(1, group.num_rows) for group in groups), default=0)
            batch_rows = max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, largest_row)))
            for batch in file.iter_batches(batch_rows, columns=columns):
                yield from batch.to_pylist()
    except (OSError, KeyError, ValueError) as error:  # pyarrow's own are of these
        why = str(error).strip("'").partition("\n")[0]
        raise EranntagError(f"{path}: not a part of --format parquet ({why}); leave it out, or --overwrite it") from None
