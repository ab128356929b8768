"""The one way to write a file: whole and durable, or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replace(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the same folder; when the block ends well it becomes `path`, else it is removed.

    The file and its folder are synced, so that after a power cut `path` holds the old content or the new, never a part.
    """
    path = Path(os.path.realpath(path))  # write through links, as open() would
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:80]}.", suffix=".part")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
        os.chmod(temporary, mode)  # at the end: a writer may have made the file anew
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def discard_unfinished(folder: Path) -> None:
    """Remove what a process that was killed left of `replace` in `folder`; only for whoever alone writes there."""
    for rest in folder.glob(".*.part"):
        rest.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    with replace(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync(path: Path) -> None:
    """Until a file, or what a folder lists, is on the disk."""
    if os.name == "nt":  # knows neither folders nor files that are open for reading
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
