"""The journal of a resumable output: JSON lines, first the settings of the run, then an entry for everything it wrote.

The last line may be torn by a kill, a power cut or a full disk. It is dropped, and the next entry takes its place. What an
entry holds, and whether the output agrees with it, is for each output to define: `resumable_file`, `resumable_folder` and
`parquet`.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any, Protocol, TypeVar

from eranntag.errors import EranntagError, UsageError
from eranntag.files import lock

FOLDER_JOURNAL = ".eranntag.journal"  # the name of the journal in a folder
BEGINNING = b'{"command": '  # of a journal's first line

Source = TypeVar("Source")


class ResumableOutput(Protocol):
    """What all outputs that can be resumed have in common: `begin` once, then write the results of the `remaining` sources."""

    path: Path

    @property
    def records(self) -> int: ...
    def begin(self, settings: Mapping[str, Any]) -> None: ...
    def remaining(self, sources: Iterable[Source]) -> Iterator[Source]: ...


class Journal:
    """The journal at `path`, whose locked file is `file`. `end` is the size in bytes of its valid lines."""

    def __init__(self, path: Path, file: FileIO) -> None:
        self.path = path
        self.file = file
        self.end = 0
        self.settings: dict[str, Any] = {}  # of the earlier run, if any
        self.is_foreign = False  # another program wrote it

    def read(self, accept: Callable[[Any], bool]) -> None:
        """Read the settings and pass the entries to `accept`, up to the first that is torn or not accepted."""
        with open(self.path, "rb") as lines:
            first = lines.readline()
            settings = parse_line(first)
            if not isinstance(settings, dict):
                torn = not first.endswith(b"\n") and (first.startswith(BEGINNING) or BEGINNING.startswith(first))
                self.is_foreign = not torn
                return
            self.settings = settings
            self.end = len(first)
            for line in lines:
                entry = parse_line(line)
                if entry is None or not accept(entry):
                    return
                self.end += len(line)

    def check_settings(self, settings: Mapping[str, Any], remedy: str) -> None:
        """Raise UsageError if `settings` differ from those of the earlier run."""
        check_same(self.path, self.settings, settings, remedy)

    def append(self, *entries: Any) -> None:
        """Write entries behind the valid lines."""
        content = b"".join(to_line(entry) for entry in entries)
        write_all(self.file, content)
        self.end += len(content)

    def truncate(self, end: int) -> None:
        """Remove what is behind the first `end` bytes; the next entry comes there."""
        self.end = end
        self.file.truncate(end)
        self.file.seek(end)

    def sync(self) -> None:
        os.fsync(self.file.fileno())


@contextmanager
def open_in_folder(path: Path) -> Iterator[Journal]:
    """Yield the locked journal of the folder `path`, both created if necessary; one that stays empty is removed.

    Raises EranntagError where another process writes.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EranntagError(f"{path}: cannot be made ({error.strerror}); name a folder that can be written") from None
    journal = path / FOLDER_JOURNAL
    with lock.open_locked(journal) as file:
        try:
            yield Journal(journal, file)
        finally:
            if os.name != "nt" and not os.fstat(file.fileno()).st_size:  # the run never began
                journal.unlink(missing_ok=True)


@contextmanager
def translate_write_errors(path: Path, consequence: str = "") -> Iterator[None]:
    """Turn an OSError of the block into an EranntagError about `path`, which ends in `consequence`."""
    try:
        yield
    except OSError as error:
        message = f"{path}: cannot be written ({error.strerror or error})"
        raise EranntagError(f"{message}; {consequence}" if consequence else message) from error


def check_same(journal: Path, before: Mapping[str, Any], settings: Mapping[str, Any], remedy: str) -> None:
    """Raise UsageError naming the first of `settings` that differs from `before`, those of the earlier run."""
    now = json.loads(json.dumps(settings))
    for name in {**before, **now}:
        if before.get(name) != now.get(name):
            change = f"begun with {_describe(name, before.get(name))}, now {_describe(name, now.get(name))}"
            raise UsageError(f"{journal}: {change}; {remedy}")


def _describe(name: str, value: Any) -> str:
    if value is None:
        return f"no {name}"
    return f"{name} {', '.join(map(str, value)) if isinstance(value, list) else value}"


def without_done(sources: Iterable[Source], done: Counter[int], key: Callable[[str], Any] = str) -> Iterator[Source]:
    """Yield the `sources` that are not `done`, a count of hashes of `key(name)`; each written record excludes one source."""
    for source in sources:
        if isinstance(source, str) and done.get(name := hash(key(source))):
            done[name] -= 1
        else:
            yield source


def to_line(value: Any) -> bytes:
    """Return `value` as a line of a journal: ASCII, also for names that are not UTF-8."""
    return json.dumps(value).encode() + b"\n"


def parse_line(line: bytes) -> Any:
    """Return the value of a line, None for a torn one."""
    try:
        return json.loads(line) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):
        return None


def write_all(file: FileIO, content: bytes) -> None:
    """Write all of `content`: `FileIO.write` may write a part, as on a full disk."""
    while content:
        content = content[file.write(content) :]
