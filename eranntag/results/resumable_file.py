"""A document that is written record by record and can be resumed after a kill, a power cut or a full disk.

FILE.partial grows by whole records. An entry of FILE.journal is where a record of FILE.partial ends, the CRC-32 of everything
up to there, and the record's source. Both are cut behind the last record that agrees with that. At the end FILE.partial
becomes FILE. The journal is the lock, too: one output has one writer.
"""

import os
import stat
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import Enum, auto
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

from eranntag.errors import UsageError
from eranntag.files import atomic, lock
from eranntag.results.journal import Journal, Source, translate_write_errors, without_done, write_all

SYNC_SECONDS = 5  # of results are what a power cut may cost


class RunState(Enum):
    """What a run finds in the place of its output."""

    ABSENT = auto()  # neither a document nor records of an interrupted run
    FINISHED = auto()  # a document without a journal
    STARTED = auto()  # a run that was interrupted before its first record; the document is older
    INTERRUPTED = auto()  # records that agree with their journal
    CHANGED = auto()  # a document that was edited after its run was interrupted
    FOREIGN = auto()  # FILE.partial or FILE.journal belongs to something else


class Action(Enum):
    """What a run does about that."""

    START = auto()
    REPLACE = auto()  # start, if the document is empty or an earlier result in the same format
    CONTINUE = auto()
    REFUSE = auto()


# The columns: neither option, --resume, --overwrite, both.
ACTIONS = {
    RunState.ABSENT: (Action.START, Action.START, Action.START, Action.START),
    RunState.FINISHED: (Action.REPLACE, Action.REFUSE, Action.START, Action.START),
    RunState.STARTED: (Action.REPLACE, Action.REPLACE, Action.START, Action.START),
    RunState.INTERRUPTED: (Action.REFUSE, Action.CONTINUE, Action.START, Action.CONTINUE),
    RunState.CHANGED: (Action.REFUSE, Action.REFUSE, Action.START, Action.START),
    RunState.FOREIGN: (Action.REFUSE, Action.REFUSE, Action.REFUSE, Action.REFUSE),
}
REFUSALS = {  # messages
    RunState.FINISHED: "{path}: is there and finished; remove it, use another --output, or add --overwrite",
    RunState.INTERRUPTED: "{path} holds {records} results of an interrupted run: --resume continues, --overwrite starts again",
    RunState.CHANGED: "{path}: was changed since its run was interrupted; use another --output, or --overwrite",
    RunState.FOREIGN: "{path}: is of no interrupted run of {name}; move it away, or use another --output",
}


class _Mark(NamedTuple):
    """The end of the last whole record: bytes of FILE.partial and their CRC-32, bytes of FILE.journal, number of records."""

    end: int = 0
    crc: int = 0
    journal_end: int = 0
    records: int = 0


class ResumableFile:
    """The document `path`. First `begin`, then `write` each record, then `finish`."""

    def __init__(self, path: Path, journal: Journal) -> None:
        self.path = path
        self.partial = path.with_name(path.name + ".partial")
        self._journal = journal
        self._mark = _Mark()
        self._done: Counter[int] = Counter()  # hashes of names; there may be millions
        self._file: FileIO | None = None
        self._synced = time.monotonic()
        self._finished = False
        self.state, self._found = self._read_state()

    @classmethod
    @contextmanager
    def open(
        cls, output: Path, beginning: bytes = b"", resume: bool = False, overwrite: bool = False
    ) -> Iterator["ResumableFile"]:
        """Yield the locked ResumableFile of `output`.

        `beginning` is how earlier documents of the same format begin; without one only an empty file is replaced. Raises
        UsageError where ACTIONS refuses, EranntagError where another process writes.
        """
        path = Path(os.path.realpath(output))  # links are written through, as open() would
        journal = path.with_name(path.name + ".journal")
        with lock.open_locked(journal) as file:
            run = cls(path, Journal(journal, file))
            try:
                run._start_or_continue(ACTIONS[run.state][resume + 2 * overwrite], beginning)
                yield run
            finally:
                run._close()

    @property
    def records(self) -> int:
        """The number of records that are written."""
        return self._mark.records

    @property
    def is_empty(self) -> bool:
        """Whether not even the document's first bytes are written."""
        return not self._mark.end

    def _read_state(self) -> tuple[RunState, Path]:
        """Return the state of the output and the file that it is about."""
        if os.path.lexists(self.partial) and not _is_regular(self.partial):
            return RunState.FOREIGN, self.partial
        base = self.partial if self.partial.exists() else self.path
        changed = self._read_records(base)
        for path, foreign in ((self._journal.path, self._journal.is_foreign), (self.partial, not self._journal.settings)):
            if os.path.lexists(path) and (not _is_regular(path) or (path.stat().st_size and foreign)):
                return RunState.FOREIGN, path
        if changed and base == self.path and self.path.exists():
            return RunState.CHANGED, self.path
        if self.records:
            return RunState.INTERRUPTED, base
        if not self.path.exists():
            return RunState.ABSENT, self.path
        return RunState.STARTED if self._journal.settings else RunState.FINISHED, self.path

    def _read_records(self, base: Path) -> bool:
        """Move the mark behind the last record of `base` that agrees with the journal; return whether a later one does not."""
        disagrees = False
        with open(base if base.exists() else os.devnull, "rb") as file:
            size = os.fstat(file.fileno()).st_size

            def accept(entry: Any) -> bool:
                nonlocal disagrees
                match entry:
                    case [int(end), int(crc), (str() | None) as source]:
                        pass
                    case _:
                        return False
                if not self._mark.end <= end <= size or zlib.crc32(file.read(end - self._mark.end), self._mark.crc) != crc:
                    disagrees = True
                    return False
                self._mark = _Mark(end, crc, 0, self.records + (source is not None))
                if source is not None:
                    self._done[hash(source)] += 1
                return True

            self._journal.read(accept)
        self._mark = self._mark._replace(journal_end=self._journal.end)
        return disagrees

    def _start_or_continue(self, action: Action, beginning: bytes) -> None:
        if action is Action.REFUSE:
            refusal = REFUSALS[self.state]
            raise UsageError(refusal.format(path=self._found, name=self.path.name, records=self.records))
        if action is Action.REPLACE and not _begins_with(self.path, beginning):
            raise UsageError(f"{self.path}: is not an earlier result in this format; --overwrite replaces it")
        if action is not Action.CONTINUE:
            self.discard()

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Start, or continue the earlier run, which must have had the same `settings` (UsageError)."""
        if self.records:
            self._journal.check_settings(settings, "use another --output, or --overwrite")
            if not self.partial.exists():
                os.replace(self.path, self.partial)
        with self._translate_write_errors():
            self._file = FileIO(os.open(self.partial, lock.OPEN_FLAGS | os.O_CREAT, 0o666), "r+")
            self._truncate()
            atomic.fsync(self.path.parent)
            if not self._journal.end:
                self._journal.append(settings)
                self._mark = _Mark(journal_end=self._journal.end)
                self._sync()

    def remaining(self, sources: Iterable[Source]) -> Iterator[Source]:
        """Yield the sources that are not written yet; each written record excludes one of its name."""
        return without_done(sources, self._done)

    def write(self, text: bytes, source: str | None = None) -> None:
        """Write the record of `source`, or without one what comes before all records."""
        end, crc = self._mark.end + len(text), zlib.crc32(text, self._mark.crc)
        with self._translate_write_errors():
            write_all(self._opened, text)
            self._journal.append([end, crc, source])
            self._mark = _Mark(end, crc, self._journal.end, self.records + (source is not None))
            if time.monotonic() > self._synced + SYNC_SECONDS:
                self._sync()

    def finish(self, text: bytes, complete: bool) -> None:
        """Write the document's last bytes and rename it to FILE; unless it is `complete`, the journal stays for --resume."""
        with self._translate_write_errors():
            self._truncate()  # an interruption may have come in the middle of a record
            write_all(self._opened, text)
            self._sync()
            if self.path.exists():
                os.chmod(self.partial, self.path.stat().st_mode & 0o777)
            self._opened.close()
            os.replace(self.partial, self.path)
            atomic.fsync(self.path.parent)
        self._finished = True
        if complete:
            self._remove_journal()

    def discard(self) -> None:
        """Forget the records; a run that ends now leaves nothing to resume."""
        self._mark = _Mark()
        self._journal.end = 0
        self._done.clear()

    def _close(self) -> None:
        """Leave what another run can resume, if there is anything."""
        if self._file is None:  # this run never began
            if not os.fstat(self._journal.file.fileno()).st_size:
                self._remove_journal()
            return
        if self._finished:
            return
        with suppress(OSError, ValueError):  # a full disk; a closed file
            self._truncate()
        self._file.close()
        if not self.records:
            self.partial.unlink(missing_ok=True)
            self._remove_journal()

    @property
    def _opened(self) -> FileIO:
        assert self._file is not None, "begin() opens it"
        return self._file

    def _truncate(self) -> None:
        """Cut both files behind the last whole record."""
        self._opened.truncate(self._mark.end)
        self._opened.seek(self._mark.end)
        self._journal.truncate(self._mark.journal_end)

    def _sync(self) -> None:
        """Sync the records before the entries that refer to them."""
        os.fsync(self._opened.fileno())
        self._journal.sync()
        self._synced = time.monotonic()

    def _remove_journal(self) -> None:
        if os.name == "nt":  # cannot remove an open file
            self._journal.file.close()
        self._journal.path.unlink(missing_ok=True)

    @contextmanager
    def _translate_write_errors(self) -> Iterator[None]:
        kept = f"--resume continues behind its {self.records} results" if self.records else ""
        with translate_write_errors(self.partial, kept):
            yield


def _is_regular(path: Path) -> bool:
    """Return whether `path` is a regular file with one name: no link to a file of someone else."""
    status = path.lstat()
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1


def _begins_with(path: Path, beginning: bytes) -> bool:
    """Return whether the file is empty or begins with `beginning`, which is not empty."""
    with open(path, "rb") as file:
        head = file.read(max(1, len(beginning)))
    return not head or (bool(beginning) and head == beginning)
