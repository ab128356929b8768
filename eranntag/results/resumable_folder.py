"""A folder of files, one for each sound, that another run can resume.

An entry of its journal is a file that is written and its source; or a file without a source, which this run or an earlier one
created, so that it may be replaced.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eranntag.files import atomic
from eranntag.results import journal as journals
from eranntag.results.journal import Journal, Source, translate_write_errors


class ResumableFolder:
    """The folder `path`. First `begin`, then `write` for each sound."""

    def __init__(self, path: Path, journal: Journal, resume: bool, overwrite: bool) -> None:
        self.path = path
        self._journal = journal
        self._overwrite = overwrite
        self._written: dict[str, str] = {}  # file -> its source
        self._replaceable: set[str] = set()  # files of this run or an earlier one
        journal.read(self._accept)
        if not resume:
            self._written.clear()
        self.records = len(self._written)

    @classmethod
    @contextmanager
    def open(cls, path: Path, resume: bool = False, overwrite: bool = False) -> Iterator["ResumableFolder"]:
        """Yield the locked ResumableFolder `path`, created if necessary. Raises EranntagError where another process writes.

        Files in it that no run wrote are replaced with `overwrite` alone.
        """
        with journals.open_in_folder(path) as journal:
            yield cls(path, journal, resume, overwrite)

    def _accept(self, entry: Any) -> bool:
        match entry:
            case [str(name), str() | None as source]:
                self._replaceable.add(name)
                if source is not None:
                    self._written[name] = source
                return True
        return False

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Start, or continue the earlier run, which must have had the same `settings` (UsageError)."""
        if self._written:
            self._journal.check_settings(settings, "use another --output-dir, or leave out --resume")
        with translate_write_errors(self._journal.path, "--resume continues with the others"):
            if self._written:
                self._journal.truncate(self._journal.end)
            else:
                self._journal.truncate(0)
                self._journal.append(settings, *([name, None] for name in sorted(self._replaceable)))
        for name in self._replaceable - self._written.keys():  # where a kill may have come before the file
            atomic.remove_temporary_files(self.path, name)

    def remaining(self, sources: Iterable[Source]) -> Iterator[Source]:
        """Yield the sources whose file was not written yet, or does not exist any more."""
        done = {source: name for name, source in self._written.items()}
        for source in sources:
            if not isinstance(source, str) or source not in done or not (self.path / done[source]).exists():
                yield source

    def write(self, name: str, source: str, content: bytes) -> str:
        """Write the file `name`, whole or not at all, and return ""; else return the reason in a line.

        Of two sounds whose files have one name the second is refused.
        """
        path = self.path / name
        if (first := self._written.get(name, source)) != source:
            return f"{path} holds the result of {first}; use another --output-dir"
        if path.exists() and os.path.exists(source) and os.path.samefile(path, source):
            return "its file in --output-dir would be itself"
        if name not in self._replaceable and not self._overwrite and os.path.lexists(path):
            return f"{path} is there, and of no earlier run; use another --output-dir, or --overwrite"
        with translate_write_errors(path, "--resume continues with the others"):
            if name not in self._replaceable:  # first: after a kill between the file and its entry it may be replaced
                self._journal.append([name, None])
                self._journal.sync()
                self._replaceable.add(name)
            with atomic.replace(path) as temporary:
                temporary.write_bytes(content)
            if name not in self._written:
                self._journal.append([name, source])
        self._written[name] = source
        return ""
