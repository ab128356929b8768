"""The one way to write a file: whole and durable, or not at all."""

import errno
import glob
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eranntag.errors import DataError, EranntagError

REMEDIES = {
    errno.ENOSPC: "make room there, or choose another place",
    errno.EDQUOT: "make room there, or choose another place",
    errno.EFBIG: "raise the limit of a file's size (ulimit -f), or choose another place",
    errno.ENAMETOOLONG: "choose a shorter name",
}
NAME_BYTES = 80  # of a file's name in that of its temporary file: names may have 255
UNFINISHED = re.compile(r"\..*\.[0-9a-f]{16}\.part", re.DOTALL)
UNABLE = (errno.EACCES, errno.EINVAL)  # a folder that may not be listed, a file system that syncs no folders


class CannotWrite(EranntagError, OSError):
    """A file that cannot be written, and what to do. Also an OSError, for those who know more of what is lost."""

    def __str__(self) -> str:
        remedy = REMEDIES.get(self.errno or 0, "choose another place")
        return f"{self.filename}: cannot be written ({self.strerror}); {remedy}"


@contextmanager
def replace(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the same folder; when the block ends well it becomes `path`, else it is removed.

    The file and its folder are synced, so that after a power cut `path` holds the old content or the new, never a part. Links
    are written through; of a file with several names only this one gets the new content. Raises CannotWrite where the system
    does not allow it, also for what a library makes of that, and for a `path` that is no ordinary file.
    """
    path = Path(os.path.realpath(path))  # write through links, as open() would
    temporary = path.with_name(f".{shortened(path.name)}.{secrets.token_hex(8)}.part")
    with told(path):
        before = _mode(path)
        try:
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if before is None else before))
            mode = temporary.stat().st_mode if before is None else before  # by the umask, without asking for it
            yield temporary
            os.chmod(temporary, stat.S_IMODE(mode))  # at the end: a writer may have made the file anew
            sync(temporary)
            os.replace(temporary, path)
            sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """CannotWrite for what the system says of writing `path` in this block, but not of other files, nor of connections."""
    try:
        yield
    except (CannotWrite, ConnectionError):
        raise
    except Exception as error:
        number = _number(error)
        if number is None or (isinstance(error, OSError) and not _concerns(error, path)):
            raise
        raise CannotWrite(number, os.strerror(number), str(path)) from error


@contextmanager
def resumable(path: Path, what: str) -> Iterator[None]:
    """DataError for what cannot be written of a data set; the finished `what` of it are kept."""
    try:
        yield
    except OSError as error:
        refusal = f"{error.filename or path}: cannot be written ({error.strerror or error})"
        raise DataError(f"{refusal}; finished {what} are kept, and the same command goes on after them") from error


def _number(error: Exception) -> int | None:
    """The system's errno, also where a library wraps it, as Rust's do."""
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"\(os error (\d+)\)$", str(error))
    return int(found[1]) if found else None


def _concerns(error: OSError, path: Path) -> bool:
    """A name is missing where an open file fails; temporary files, and folders of them, stand beside `path`."""
    return error.filename is None or path.parent in (Path(error.filename), *Path(error.filename).parents)


def _mode(path: Path) -> int | None:
    """The permissions of the file that will be replaced; None without one. CannotWrite for a folder or a device."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise CannotWrite(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise CannotWrite(errno.EINVAL, "Not an ordinary file", str(path))
    return stat.S_IMODE(mode)


def shortened(name: str) -> str:
    """The beginning of a file's name, for one that is made of it."""
    return os.fsencode(name)[:NAME_BYTES].decode(errors="ignore")


def discard_unfinished(folder: Path, name: str = "") -> None:
    """Remove what a process that was killed left of `replace` in `folder`, of `name` or of all; for its only writer."""
    for path in folder.glob(f".{glob.escape(shortened(name))}.*.part" if name else ".*.part"):
        if UNFINISHED.fullmatch(path.name):
            path.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    write_bytes(path, text.encode())


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    with replace(path) as temporary:
        temporary.write_bytes(content)


def sync(path: Path) -> None:
    """Until a file, or what a folder lists, is on the disk."""
    if os.name == "nt":  # knows neither folders nor files that are open for reading
        return
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in UNABLE:
            raise
