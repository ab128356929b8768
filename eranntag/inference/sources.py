"""The arguments of a command -> the files to tag, one after the other: files, folders, patterns and lists of files."""

import codecs
import glob
import heapq
import io
import os
import queue
import threading
from collections.abc import Iterable, Iterator

from eranntag.errors import EranntagError
from eranntag.files.walk import files_below
from eranntag.types import Failure

STDIN = "-"
EMPTY = "no input: the list of files is empty"
FILE_BYTES = 1 << 16  # opening a file costs as much as reading this much
MAX_NAME_BYTES = 1 << 20  # no system has such names
PAUSE_SECONDS = 0.01  # how long a list of names may delay the results that are ready


def expand(paths: Iterable[str | None], extensions: frozenset[str], patterns: bool = True) -> Iterator[str | Failure | None]:
    """The files that `paths` name: a file or `-` itself, for a folder the sound files below it, for a pattern its matches.

    Lazy, in a stable order. A path that does not exist is returned too: the reader reports it. A folder or pattern without any
    sound file is a Failure. Without `patterns` names are only names, also `-`. None, no name yet, is returned as it is.
    """
    for path in paths:
        if path is None:
            yield None
            continue
        if path == STDIN and not patterns:
            path = os.path.join(os.curdir, path)
        if path != STDIN and os.path.isdir(path):
            yield from _some(_walk(path, extensions), Failure(path, "no sound files in this folder"))
        elif patterns and path != STDIN and glob.has_magic(path) and not os.path.lexists(path):
            matches = sorted(glob.glob(path, recursive=True))
            yield from _some(expand(matches, extensions, patterns=False), Failure(path, "no file matches this pattern"))
        else:
            yield path


def listed(file: io.BufferedIOBase | io.RawIOBase) -> Iterator[str]:
    """The names in a list of files, one per line, or separated by NUL as `find -print0` writes them, each as it arrives.

    Raises EranntagError for what is no such list.
    """
    pending, separator = b"", None
    read = getattr(file, "read1", file.read)  # what has arrived; the `read` of a raw file returns no more either
    begun = False
    while chunk := read(1 << 16):
        pending += chunk
        if not begun and len(pending) >= len(codecs.BOM_UTF8):  # as editors on Windows write it
            pending, begun = pending.removeprefix(codecs.BOM_UTF8), True
        if separator is None:
            separator = b"\0" if b"\0" in pending else b"\n" if b"\n" in pending else None
        if separator is not None:
            *names, pending = pending.split(separator)
            yield from _decoded(names, separator)
        if len(pending) > MAX_NAME_BYTES:
            raise EranntagError(f"the list of files has a name of more than {MAX_NAME_BYTES} bytes; write one name a line")
    yield from _decoded([pending], separator)


def share(sources: Iterable[str | Failure | None], index: int, count: int) -> list[str | Failure]:
    """The `index`-th (from 1) of `count` shares of `sources`, in their order; together they are all, each in one share.

    Shares have nearly the same bytes to read, whatever the order of the sources; all are listed first. A share depends on the
    names and sizes of all files, so these must be the same for every share. Raises EranntagError if there are none at all.
    """
    known = [source for source in sources if source is not None]
    if not known:
        raise EranntagError(EMPTY)
    names = [source.source if isinstance(source, Failure) else source for source in known]
    work = [_bytes(source) for source in known]
    shares = [(0, number) for number in range(1, count + 1)]  # a heap: what each has so far
    own = []
    for at in sorted(range(len(known)), key=lambda at: (-work[at], names[at])):  # the largest first: what is left evens it out
        so_far, number = shares[0]
        heapq.heapreplace(shares, (so_far + work[at], number))
        if number == index:
            own.append(at)
    return [known[at] for at in sorted(own)]


def _bytes(source: str | Failure) -> int:
    try:
        return FILE_BYTES + (0 if isinstance(source, Failure) or source == STDIN else os.stat(source).st_size)
    except (OSError, ValueError):  # the reader reports it
        return FILE_BYTES


def as_they_come(names: Iterable[str]) -> Iterator[str | None]:
    """`names` as a thread reads them; None while there is none yet, so that the consumer can do something else meanwhile."""
    arrived: queue.Queue[str | BaseException | None] = queue.Queue(1024)

    def read() -> None:
        try:
            for name in names:
                arrived.put(name)
            arrived.put(None)
        except BaseException as error:
            arrived.put(error)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            name = arrived.get(timeout=PAUSE_SECONDS)
        except queue.Empty:
            yield None
            continue
        if isinstance(name, BaseException):
            raise name
        if name is None:
            return
        yield name


def _decoded(names: Iterable[bytes], separator: bytes | None) -> Iterator[str]:
    for name in names:
        if name := name if separator == b"\0" else name.rstrip(b"\r"):
            yield os.fsdecode(name)


def _walk(folder: str, extensions: frozenset[str]) -> Iterator[str | Failure]:
    unreadable: list[OSError] = []
    yield from files_below(folder, extensions, unreadable.append)
    for error in unreadable:
        yield Failure(os.fspath(error.filename), f"this folder cannot be read ({error.strerror})")


def _some(names: Iterable[str | Failure | None], otherwise: Failure) -> Iterator[str | Failure | None]:
    empty = True
    for name in names:
        empty = False
        yield name
    if empty:
        yield otherwise
