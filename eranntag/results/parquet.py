"""A folder of parquet files that another run can go on with: each holds some thousand rows, and is written whole or not at all.

The first line of `.eranntag.journal` there says what the run is, every other one names a part that is written, and its rows.
"""

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

from eranntag.errors import EranntagError, UsageError
from eranntag.files import atomic
from eranntag.results import schema
from eranntag.results.journal import Source, append, check_same, parsed, remaining, to_line
from eranntag.results.resumable_folder import NAME, held

ROWS = 20_000  # of a part at most
ENTRIES = 200_000  # `rows.entries` of a part, or a row more: they take the memory
BATCH_ROWS = 128  # of a part that are read at once, or fewer where they are large:
BATCH_BYTES = 1 << 22
SECONDS = 300.0  # of results are what a kill may cost


def check() -> None:
    """UsageError without pyarrow."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise UsageError("parquet needs pyarrow: pip install 'eranntag[parquet]'") from None


@contextmanager
def opened(path: Path, resume: bool = False, overwrite: bool = False) -> Iterator["Parts"]:
    """The Parts in the folder `path`, made if need be, and held until the block ends, however that is.

    Raises UsageError for rows that must not be replaced unasked, EranntagError where another process writes.
    """
    check()
    with held(path) as lines:
        run = Parts(path, lines)
        run.check(resume, overwrite)
        yield run


class Parts:
    """What is written into `path`. First `begin`, then `write` each row, then `finish`."""

    def __init__(self, path: Path, lines: FileIO) -> None:
        self.path, self._lines = path, lines
        self._settings: dict[str, Any] = {}
        self._written: dict[str, int] = {}  # part -> its rows
        self._done: Counter[int] = Counter()  # hashes of names, of which there may be millions
        self._rows: list[dict[str, Any]] = []
        self._entries, self._size, self._since = 0, 0, time.monotonic()
        self._old: list[str] = []  # parts that `begin` removes
        self._recover()

    @property
    def records(self) -> int:
        """That are written."""
        return sum(self._written.values())

    def _recover(self) -> None:
        with open(self.path / NAME, "rb") as lines:
            for line in lines:
                match parsed(line):
                    case dict(settings) if not self._size:
                        self._settings = settings
                    case [str(name), int(count)] if self._size:
                        self._written[name] = count
                    case _:  # torn, and so is what comes after it
                        return
                self._size += len(line)

    def check(self, resume: bool, overwrite: bool) -> None:
        """Raises UsageError as `opened` says; else it is known whether there is something to go on with."""
        others = sorted(path.name for path in self.path.glob("*.parquet") if path.name not in self._written)
        killed = [_part(len(self._written))] if self._settings else []  # between a part and its line
        if others not in ([], killed) and not overwrite:
            raise UsageError(f"{self.path}: {others[0]} there is of another run; use another --output, or --overwrite")
        if self._written and not (resume or overwrite):
            found = f"{self.path} holds {self.records} results of an earlier run"
            raise UsageError(f"{found}: --resume goes on with them, --overwrite begins anew")
        if overwrite and not resume:
            self._old = [*self._written, *others]
            self._written.clear()

    def begin(self, settings: Mapping[str, Any]) -> None:
        """From the start; or where the earlier run stopped, which must have had the same `settings` (UsageError)."""
        if self._written:
            check_same(self.path / NAME, self._settings, settings, "use another --output, or --overwrite")
            for name in self._written:
                self._done.update(map(hash, sources(self.path / name)))
        else:
            self._size = 0
        with self._writing(self.path / NAME):
            for name in self._old:
                (self.path / name).unlink(missing_ok=True)
            self._lines.truncate(self._size)
            self._lines.seek(self._size)
            if not self._size:
                append(self._lines, to_line(settings))

    def left(self, sources: Iterable[Source]) -> Iterator[Source]:
        """Those that are not written yet; a name is left out as often as it was written."""
        return remaining(sources, self._done, os.fsencode)

    def write(self, row: dict[str, Any]) -> None:
        """A row of `eranntag.results.schema`; it is on the disk when its part is full, or five minutes old."""
        self._rows.append(row)
        self._entries += schema.entries(row)
        if len(self._rows) >= ROWS or self._entries >= ENTRIES or time.monotonic() > self._since + SECONDS:
            self.finish()

    def finish(self) -> None:
        """Writes what is not written yet."""
        if self._rows:
            name = _part(len(self._written))
            with self._writing(self.path / name):
                save(self._rows, self.path / name)
                append(self._lines, to_line([name, len(self._rows)]))
                os.fsync(self._lines.fileno())
            self._written[name], self._rows, self._entries = len(self._rows), [], 0
        self._since = time.monotonic()

    @contextmanager
    def _writing(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            kept = f"; --resume goes on behind {self.records} results" if self.records else ""
            raise EranntagError(f"{path}: cannot be written ({error.strerror or error}){kept}") from error


def _part(number: int) -> str:
    return f"part-{number:05d}.parquet"


def save(found: list[dict[str, Any]], path: Path) -> None:
    """Rows of one kind as a parquet file, atomically."""
    import pyarrow
    import pyarrow.parquet

    with atomic.replace(path) as temporary:
        pyarrow.parquet.write_table(
            pyarrow.Table.from_pylist(found, schema.schema(schema.kind(found[0]))), temporary, compression="zstd"
        )


def sources(path: Path) -> Iterator[bytes]:
    """Whose the rows of a part are. EranntagError for a file that is none."""
    for row in read(path, ["source_bytes"]):
        yield row["source_bytes"]


def read(path: Path, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a part, a few at a time. EranntagError for a file that is none."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            if not pyarrow.types.is_binary(file.schema_arrow.field("source_bytes").type):
                raise ValueError("its column source_bytes is of another kind")
            groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
            largest = max((group.total_byte_size // max(1, group.num_rows) for group in groups), default=0)
            for batch in file.iter_batches(max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, largest))), columns=columns):
                yield from batch.to_pylist()
    except (OSError, KeyError, ValueError) as error:  # pyarrow's own are of these
        why = str(error).strip("'").partition("\n")[0]
        raise EranntagError(f"{path}: not a part of --format parquet ({why}); leave it out, or --overwrite it") from None
