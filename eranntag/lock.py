"""One folder has one writer."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eranntag.errors import EranntagError

try:
    import fcntl
except ImportError:  # Windows: no lock
    fcntl = None  # type: ignore[assignment]


NAME = ".lock"  # it stays: another process may be waiting to open it


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make `folder` and hold it until the block ends, or the process does. EranntagError when another process has it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / NAME, os.O_RDWR | os.O_CREAT)  # NFS locks only what is open for writing
    except OSError as error:
        raise EranntagError(f"{folder}: cannot be written ({error.strerror})") from None
    try:
        try:
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EranntagError(f"{folder}: another process is writing there; wait for it, or choose another folder") from None
        except OSError:
            pass  # some network file systems have no locks
        yield
    finally:
        os.close(handle)
