"""A folder of files, one for each sound, that another run can go on with.

The first line of `.eranntag.journal` there says what the run is, every other one names a file that is written and whose it is;
or a file, and nobody, that this run or one before it made, so that it may be replaced.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any, TypeVar

from eranntag.errors import EranntagError
from eranntag.files import atomic, lock
from eranntag.results.journal import append, check_same, parsed, to_line

NAME = ".eranntag.journal"  # ends as no file of events does

Source = TypeVar("Source")


@contextmanager
def opened(path: Path, resume: bool = False, overwrite: bool = False) -> Iterator["Folder"]:
    """The Folder `path`, made if need be, and held until the block ends. EranntagError where another process writes.

    Files in it that no run wrote are replaced with `overwrite` alone.
    """
    with held(path) as lines:
        yield Folder(path, lines, resume, overwrite)


@contextmanager
def held(path: Path) -> Iterator[FileIO]:
    """The journal in the folder `path`, both made if need be, held until the block ends; one that stays empty is removed."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EranntagError(f"{path}: cannot be made ({error.strerror}); name a folder that can be written") from None
    with lock.open_locked(path / NAME) as lines:
        try:
            yield lines
        finally:
            if os.name != "nt" and not os.fstat(lines.fileno()).st_size:  # the run never began
                (path / NAME).unlink(missing_ok=True)


class Folder:
    """What is written into `path`. First `begin`, then `write` for each sound."""

    def __init__(self, path: Path, lines: FileIO, resume: bool, overwrite: bool) -> None:
        self.path, self._lines, self._overwrite = path, lines, overwrite
        self._settings: dict[str, Any] = {}
        self._written: dict[str, str] = {}  # file -> whose it is
        self._ours: set[str] = set()  # files that may be replaced
        self._size = 0
        self._recover()
        if not resume:
            self._written.clear()
        self.records = len(self._written)

    def _recover(self) -> None:
        with open(self.path / NAME, "rb") as lines:
            for line in lines:
                match parsed(line):
                    case dict(settings) if not self._size:
                        self._settings = settings
                    case [str(name), str() | None as source] if self._size:
                        self._ours.add(name)
                        if source is not None:
                            self._written[name] = source
                    case _:  # torn, and so is what comes after it
                        return
                self._size += len(line)

    def begin(self, settings: Mapping[str, Any]) -> None:
        """From the start; or where the earlier run stopped, which must have had the same `settings` (UsageError)."""
        if self._written:
            check_same(self.path / NAME, self._settings, settings, "use another --output-dir, or leave out --resume")
        else:
            self._size = 0
        with self._writing(self.path / NAME):
            self._lines.truncate(self._size)
            self._lines.seek(self._size)
            if not self._size:
                append(self._lines, b"".join([to_line(settings), *(to_line([name, None]) for name in sorted(self._ours))]))
        for name in self._ours - self._written.keys():  # where a kill may have come before its file
            atomic.remove_temporary_files(self.path, name)

    def left(self, sources: Iterable[Source]) -> Iterator[Source]:
        """Those whose file was not written yet, or is gone."""
        done = {source: name for name, source in self._written.items()}
        for source in sources:
            if not isinstance(source, str) or source not in done or not (self.path / done[source]).exists():
                yield source

    def write(self, name: str, source: str, content: bytes) -> str:
        """The file `name`, whole or not at all; else why not, in a line. Of two sounds of one name the second is refused."""
        path = self.path / name
        if (first := self._written.get(name, source)) != source:
            return f"{path} holds the result of {first}; use another --output-dir"
        if path.exists() and os.path.exists(source) and os.path.samefile(path, source):
            return "its file in --output-dir would be itself"
        if name not in self._ours and not self._overwrite and os.path.lexists(path):
            return f"{path} is there, and of no earlier run; use another --output-dir, or --overwrite"
        with self._writing(path):
            if name not in self._ours:  # a kill between the file and its line must not make it somebody else's
                append(self._lines, to_line([name, None]))
                os.fsync(self._lines.fileno())
                self._ours.add(name)
            with atomic.replace(path) as temporary:
                temporary.write_bytes(content)
            if name not in self._written:
                append(self._lines, to_line([name, source]))
        self._written[name] = source
        return ""

    @contextmanager
    def _writing(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise EranntagError(f"{path}: cannot be written ({error.strerror}); --resume goes on with the others") from error
