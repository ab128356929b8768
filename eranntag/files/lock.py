"""One folder has one writer, and so has one file."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from eranntag.errors import EranntagError

try:
    import fcntl
except ImportError:  # Windows: no lock
    fcntl = None  # type: ignore[assignment]


OWN = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # a link is not followed, a pipe not waited for
NAME = ".lock"  # it stays: another process may be waiting to open it


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make `folder` and hold it until the block ends, or the process does. EranntagError when another process has it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o666)  # NFS locks only what is open for writing
    except OSError as error:
        raise EranntagError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from None
    try:
        if not _taken(handle):
            raise EranntagError(f"{folder}: another process is writing there; wait for it, or choose another folder")
        yield
    finally:
        os.close(handle)


@contextmanager
def file(path: Path) -> Iterator[FileIO]:
    """Open `path`, made if need be, to read and write, and hold it as `held` does a folder. Who holds it may remove it."""
    while True:
        try:
            opened = FileIO(os.open(path, OWN | os.O_CREAT, 0o666), "r+")
        except OSError as error:
            raise EranntagError(f"{path}: cannot be written ({error.strerror}); choose another place") from None
        with opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise EranntagError(f"{path}: is no ordinary file; move it away, or choose another place")
            if not _taken(opened.fileno()):
                raise EranntagError(f"{path}: another process is writing; wait for it, or choose another file")
            if _is(path, opened.fileno()):  # else who held it until now removed it after it was opened here
                yield opened
                return


def _taken(handle: int) -> bool:
    """False when another process has it."""
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # some network file systems have no locks
    return True


def _is(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False
