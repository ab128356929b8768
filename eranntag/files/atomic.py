"""Atomic, durable writes: a file is written completely, or not at all."""

import errno
import glob
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eranntag.errors import DataError, WriteError

NAME_BYTES = 80  # of a file's name in that of its temporary file: names may have 255
TEMPORARY_NAME = re.compile(r"\..*\.[0-9a-f]{16}\.part", re.DOTALL)
CANNOT_SYNC = (errno.EACCES, errno.EINVAL)  # a folder without read permission, a file system that syncs no folders


@contextmanager
def replace(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the same folder, which becomes `path` if the block succeeds and is removed if not.

    File and folder are synced, so that after a power cut `path` holds the old content or the new, never a part. Symbolic
    links are followed; of a file with several hard links only this one gets the new content. Raises WriteError where the
    system refuses, also if a library wraps that error, and for a `path` that is not a regular file.
    """
    path = Path(os.path.realpath(path))  # follow links, as open() would
    temporary = path.with_name(f".{truncated_name(path.name)}.{secrets.token_hex(8)}.part")
    with translate_write_errors(path):
        permissions = _permissions(path)
        try:
            mode = 0o666 if permissions is None else permissions
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
            if permissions is None:
                permissions = stat.S_IMODE(temporary.stat().st_mode)  # those that the umask leaves
            yield temporary
            os.chmod(temporary, permissions)  # at the end: the writer may have created the file again
            fsync(temporary)
            os.replace(temporary, path)
            fsync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    write_bytes(path, text.encode())


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    with replace(path) as temporary:
        temporary.write_bytes(content)


def fsync(path: Path) -> None:
    """Block until a file's content, or a folder's list of names, is on the disk."""
    if os.name == "nt":  # cannot sync folders, nor files that are open for reading only
        return
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in CANNOT_SYNC:
            raise


def remove_temporary_files(folder: Path, name: str = "") -> None:
    """Remove what a killed process left of `replace` in `folder`, of the file `name` or of all; only for its one writer."""
    for path in folder.glob(f".{glob.escape(truncated_name(name))}.*.part" if name else ".*.part"):
        if TEMPORARY_NAME.fullmatch(path.name):
            path.unlink(missing_ok=True)


def truncated_name(name: str) -> str:
    """Return at most NAME_BYTES of a file's name, to be part of a longer one."""
    return os.fsencode(name)[:NAME_BYTES].decode(errors="ignore")


@contextmanager
def translate_write_errors(path: Path) -> Iterator[None]:
    """Raise WriteError for a system error of writing `path` in this block; errors of other files and connections pass."""
    try:
        yield
    except (WriteError, ConnectionError):
        raise
    except Exception as error:
        number = _errno(error)
        if number is None or (isinstance(error, OSError) and not _concerns(error, path)):
            raise
        raise WriteError(number, os.strerror(number), str(path)) from error


@contextmanager
def translate_dataset_write_errors(path: Path, items: str) -> Iterator[None]:
    """Raise DataError for an OSError in this block; its message says that finished `items` of the data set are kept."""
    try:
        yield
    except OSError as error:
        refusal = f"{error.filename or path}: cannot be written ({error.strerror or error})"
        raise DataError(f"{refusal}; finished {items} are kept, and the same command goes on after them") from error


def _errno(error: Exception) -> int | None:
    """The system's error number, also of libraries in Rust, which have it in the text."""
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"\(os error (\d+)\)$", str(error))
    return int(found[1]) if found else None


def _concerns(error: OSError, path: Path) -> bool:
    """An open file's error has no name; temporary files and folders lie beside `path`."""
    return error.filename is None or path.parent in (Path(error.filename), *Path(error.filename).parents)


def _permissions(path: Path) -> int | None:
    """Return those of the file that will be replaced, None without one. Raises WriteError for a folder or a device."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise WriteError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise WriteError(errno.EINVAL, "Not a regular file", str(path))
    return stat.S_IMODE(mode)
