"""The one way to read a file as a whole: an ordinary one, of a size that fits into memory."""

import os
import stat

from eranntag.errors import DataError

MOST_BYTES = 1 << 30  # AudioSet's largest table has 0.1 GB, the manifest of all its clips 0.2 GB


def read(path: str | os.PathLike[str], most: int = MOST_BYTES) -> bytes:
    """The content. DataError where there is no file, for what is no ordinary one (a pipe would be waited for, a device read
    for ever), and for more than `most` bytes."""
    try:
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise DataError(f"{os.fspath(path)}: is no ordinary file; save its content in one, and name that")
            content = file.read(most + 1) if status.st_size <= most else b""
    except IsADirectoryError:
        raise DataError(f"{os.fspath(path)}: is a folder; name a file in it") from None
    except OSError as error:
        raise DataError(f"{os.fspath(path)}: cannot be read ({error.strerror or error})") from None
    if max(status.st_size, len(content)) > most:
        raise DataError(f"{os.fspath(path)}: has more than {most} bytes, too many for a file of its kind; name another")
    return content


def text(path: str | os.PathLike[str], errors: str = "strict", most: int = MOST_BYTES) -> str:
    """The content in UTF-8, with or without a byte order mark, its line ends as they are; DataError for other text too."""
    try:
        return read(path, most).decode("utf-8-sig", errors)
    except UnicodeDecodeError as error:
        raise DataError(f"{os.fspath(path)}: cannot be read as text in UTF-8 ({error}); save it as such") from None
