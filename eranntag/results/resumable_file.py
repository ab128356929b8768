"""One document that is written as results come, and goes on after whatever ended its writer.

FILE.partial grows by whole records. The first line of FILE.journal says what the run is; every other one where a record of
FILE.partial ends, the CRC-32 of all up to there, and whose it is. What a kill, a power cut or a full disk left is cut at the
last record that is whole by that. At the end FILE.partial becomes FILE. The journal is the lock, too: one output, one writer.
`folder` does the same for a folder of files.
"""

import os
import stat
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

from eranntag.errors import EranntagError, UsageError
from eranntag.files import atomic, lock
from eranntag.results.journal import Source, append, check_same, parsed, remaining, to_line

HEAD = b'{"command": '  # of a journal: its settings
SYNC_SECONDS = 5  # of results are what a power cut may cost


class _Mark(NamedTuple):
    """Up to where both files are whole: bytes of FILE.partial and their CRC-32, bytes of FILE.journal, and records."""

    end: int = 0
    crc: int = 0
    lines: int = 0
    records: int = 0


@contextmanager
def opened(output: Path, beginning: bytes = b"", resume: bool = False, overwrite: bool = False) -> Iterator["Journal"]:
    """The Journal of `output`, held until the block ends, however that is.

    `beginning` is how earlier documents of this format begin; of a format that has none only an empty file is replaced.
    Raises UsageError for what must not be replaced, or be gone on with, unasked; EranntagError where another process writes.
    """
    path = Path(os.path.realpath(output))  # written through links, as open() would
    journal = path.with_name(path.name + ".journal")
    with lock.open_locked(journal) as lines:
        run = Journal(path, journal, lines)
        try:
            run.check(beginning, resume, overwrite)
            yield run
        finally:
            run.close()


class Journal:
    """What is written of `path`. First `begin`, then `write` each record, then `finish`."""

    def __init__(self, path: Path, journal: Path, lines: FileIO) -> None:
        self.path, self.journal, self.partial = path, journal, path.with_name(path.name + ".partial")
        self.settings: dict[str, Any] = {}  # of the run that is interrupted, if any
        self._done: Counter[int] = Counter()  # hashes of names, of which there may be millions
        self._at, self._changed, self._torn = _Mark(), False, False
        self._lines, self._finished, self._synced = lines, False, time.monotonic()
        self._file: FileIO | None = None
        self._recover()

    @property
    def records(self) -> int:
        """That are written."""
        return self._at.records

    @property
    def empty(self) -> bool:
        """Not even the document's first bytes are written."""
        return not self._at.end

    def _recover(self) -> None:
        """Finds out what is there and whole: in FILE.partial; or in FILE, where the run was interrupted in good order."""
        base = self.partial if os.path.lexists(self.partial) else self.path
        if base == self.partial and not _is_own(base):
            return
        with open(self.journal, "rb") as lines, open(base if base.exists() else os.devnull, "rb") as file:
            first, size = lines.readline(), os.fstat(file.fileno()).st_size
            settings = parsed(first)
            if not isinstance(settings, dict):
                self._torn = not first.endswith(b"\n") and (first.startswith(HEAD) or HEAD.startswith(first))
                return
            self.settings, self._at = settings, _Mark(lines=len(first))
            for line in lines:
                if (entry := _entry(line)) is None:  # torn, and so is what comes after it
                    return
                end, crc, source = entry
                whole = self._at.end <= end <= size
                if not whole or zlib.crc32(file.read(end - self._at.end), self._at.crc) != crc:
                    self._changed = base == self.path and base.exists()
                    return
                self._at = _Mark(end, crc, self._at.lines + len(line), self.records + (source is not None))
                if source is not None:
                    self._done[hash(source)] += 1

    def check(self, beginning: bytes, resume: bool, overwrite: bool) -> None:
        """Raises UsageError as `opened` says; else it is known whether there is something to go on with."""
        for path in (self.journal, self.partial):
            begun = self.settings or (path == self.journal and self._torn)
            if os.path.lexists(path) and (not _is_own(path) or (path.stat().st_size and not begun)):
                remedy = "move it away, or use another --output"
                raise UsageError(f"{path}: is of no interrupted run of {self.path.name}; {remedy}")
        if overwrite and (self._changed or not resume):
            self._forget()
            return
        if self._changed:
            raise UsageError(f"{self.path}: was changed since its run was interrupted; use another --output, or --overwrite")
        if self.records and not resume:
            found = f"{self.partial if self.partial.exists() else self.path} holds {self.records} results of an interrupted run"
            raise UsageError(f"{found}: --resume goes on with them, --overwrite begins anew")
        if self.records or overwrite or not self.path.exists():
            return
        if resume and not self.settings:
            raise UsageError(f"{self.path}: is there and finished; remove it, use another --output, or add --overwrite")
        if not _is_of(self.path, beginning):
            raise UsageError(f"{self.path}: is not an earlier result in this format; --overwrite replaces it")

    def begin(self, settings: Mapping[str, Any]) -> None:
        """From the start; or where the earlier run stopped, which must have had the same `settings` (UsageError)."""
        if self.records:
            check_same(self.journal, self.settings, settings, "use another --output, or --overwrite")
            if not self.partial.exists():
                os.replace(self.path, self.partial)
        else:
            self._forget()
        with self._writing():
            self._file = FileIO(os.open(self.partial, lock.OPEN_FLAGS | os.O_CREAT, 0o666), "r+")
            self._cut()
            atomic.fsync(self.path.parent)
            if not self._at.lines:
                line = to_line(settings)
                append(self._lines, line)
                self._at = _Mark(lines=len(line))
                self._sync()

    def left(self, sources: Iterable[Source]) -> Iterator[Source]:
        """Those that are not written yet; a name is left out as often as it was written."""
        return remaining(sources, self._done)

    def write(self, text: bytes, source: str | None = None) -> None:
        """A whole record, of `source`; without one, what comes before all records."""
        end, crc = self._at.end + len(text), zlib.crc32(text, self._at.crc)
        line = to_line([end, crc, source])
        with self._writing() as file:
            append(file, text)
            append(self._lines, line)
            self._at = _Mark(end, crc, self._at.lines + len(line), self.records + (source is not None))
            if time.monotonic() > self._synced + SYNC_SECONDS:
                self._sync()

    def finish(self, text: bytes, complete: bool) -> None:
        """The document's last bytes make it whole: FILE. Of one that is not `complete` the journal stays, to go on."""
        with self._writing() as file:
            self._cut()  # an interruption may have come in the middle of a record
            append(file, text)
            self._sync()
            if self.path.exists():
                os.chmod(self.partial, self.path.stat().st_mode & 0o777)
            file.close()
            os.replace(self.partial, self.path)
            atomic.fsync(self.path.parent)
        self._finished = True
        if complete:
            self._remove_journal()

    def close(self) -> None:
        """Leaves what another run can go on with, if there is anything."""
        if self._file is None:  # this run never began
            if not os.fstat(self._lines.fileno()).st_size:
                self._remove_journal()
            return
        if self._finished:
            return
        with suppress(OSError, ValueError):  # a disk that is full; a file that is closed
            self._cut()
        self._file.close()
        if not self.records:
            self.partial.unlink(missing_ok=True)
            self._remove_journal()

    def discard(self) -> None:
        """What is written so far, which nobody shall go on with; then `close` removes it."""
        self._forget()

    def _forget(self) -> None:
        self._at, self._changed = _Mark(), False
        self._done.clear()

    def _cut(self) -> None:
        """Both files, behind what is whole; what is written next comes there."""
        for file, size in ((self._file, self._at.end), (self._lines, self._at.lines)):
            assert file is not None
            file.truncate(size)
            file.seek(size)

    def _sync(self) -> None:
        """Records before the lines that say they are there."""
        assert self._file is not None
        os.fsync(self._file.fileno())
        os.fsync(self._lines.fileno())
        self._synced = time.monotonic()

    def _remove_journal(self) -> None:
        if os.name == "nt":  # removes nothing that is open
            self._lines.close()
        self.journal.unlink(missing_ok=True)

    @contextmanager
    def _writing(self) -> Iterator[FileIO]:
        try:
            yield self._file  # type: ignore[misc]  # `begin` opens it
        except OSError as error:
            kept = f"; --resume goes on behind its {self.records} results" if self.records else ""
            raise EranntagError(f"{self.partial}: cannot be written ({error.strerror}){kept}") from error


def _entry(line: bytes) -> tuple[int, int, str | None] | None:
    match parsed(line):
        case [int(end), int(crc), (str() | None) as source]:
            return end, crc, source
    return None


def _is_own(path: Path) -> bool:
    """An ordinary file of one name: no link to what is somebody else's."""
    status = path.lstat()
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1


def _is_of(path: Path, beginning: bytes) -> bool:
    with open(path, "rb") as file:
        head = file.read(max(1, len(beginning)))
    return not head or (bool(beginning) and head == beginning)
