"""Advisory locks, so that a folder or a file has one writer. A lock ends with its process."""

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
    fcntl = None  # type: ignore[assignment]  # a module there, None here

NAME = ".lock"  # is never removed: another process may be about to open it
OPEN_FLAGS = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # no links; a pipe does not block


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Create `folder` and lock it until the block ends. Raises EranntagError while another process holds the lock."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o666)  # NFS locks only what is open for writing
    except OSError as error:
        raise EranntagError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from None
    try:
        if not try_lock(handle):
            raise EranntagError(f"{folder}: another process is writing there; wait for it, or choose another folder")
        yield
    finally:
        os.close(handle)


@contextmanager
def open_locked(path: Path) -> Iterator[FileIO]:
    """Open or create `path` for reading and writing, locked until the block ends; the holder may remove the file.

    Raises EranntagError while another process holds the lock, and for what is not a regular file.
    """
    while True:
        try:
            file = FileIO(os.open(path, OPEN_FLAGS | os.O_CREAT, 0o666), "r+")
        except OSError as error:
            raise EranntagError(f"{path}: cannot be written ({error.strerror}); choose another place") from None
        with file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise EranntagError(f"{path}: is not a regular file; remove it, or choose another place")
            if not try_lock(file.fileno()):
                raise EranntagError(f"{path}: another process is writing; wait for it, or choose another file")
            if _is_same_file(path, file.fileno()):  # else the last holder removed it after it was opened here
                yield file
                return


def try_lock(handle: int) -> bool:
    """Lock an open file without waiting and return True; return False if another process holds the lock."""
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # some network file systems have no locks
    return True


def _is_same_file(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False
