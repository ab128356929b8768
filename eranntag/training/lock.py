"""One run folder has one writer."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eranntag.errors import TrainingError

try:
    import fcntl
except ImportError:  # Windows: no lock
    fcntl = None  # type: ignore[assignment]


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make `folder` and hold it until the block ends, or the process does. TrainingError when another process has it."""
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrainingError(f"{folder}: another process is training there; wait for it, or use another --out") from None
        except OSError:
            pass  # some network file systems have no locks
        yield
    finally:
        os.close(handle)
