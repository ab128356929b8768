"""The one way to read a file as a whole: an ordinary one, of a size that fits into memory."""

import csv
import errno
import json
import os
import stat
from io import BufferedReader
from typing import Any

from eranntag.errors import DataError

MOST_BYTES = 1 << 30  # AudioSet's largest table has 0.1 GB, the manifest of all its clips 0.2 GB
MOST_JSON_BYTES = 1 << 28  # a pack names the clips that are left out, of two million
WHAT_A_BAD_FILE_RAISES = (  # where its content is taken apart
    AttributeError,
    KeyError,
    IndexError,
    TypeError,
    ValueError,
    OverflowError,
    RecursionError,
    csv.Error,
)
KINDS = {  # of what is no ordinary file
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


def opened(path: str | os.PathLike[str], most: int) -> tuple[BufferedReader, int]:
    """An ordinary file of at most `most` bytes, and its size. OSError for whatever else the path leads to: a pipe would be
    waited for, a device read for ever."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError as error:  # a zero byte in the name
        raise OSError(errno.EINVAL, str(error)) from None
    about = os.fstat(handle)
    wrong = next((what for test, what in KINDS.items() if test(about.st_mode)), "")
    if not wrong and about.st_size > most:
        wrong = f"{about.st_size} bytes, and at most {most} are read"
    if wrong:
        os.close(handle)
        raise OSError(errno.EINVAL, wrong)
    return os.fdopen(handle, "rb"), about.st_size


def read(path: str | os.PathLike[str], most: int = MOST_BYTES) -> bytes:
    """The content, also of a file that grows meanwhile. DataError where `opened` has an OSError."""
    try:
        with opened(path, most)[0] as file:
            return file.read(most)
    except OSError as error:
        raise DataError(f"{os.fspath(path)}: cannot be read ({error.strerror or error}); name a file that can") from None


def text(path: str | os.PathLike[str], errors: str = "strict", most: int = MOST_BYTES) -> str:
    """The content in UTF-8, with or without a byte order mark, its line ends as they are; DataError for other text too."""
    try:
        return read(path, most).decode("utf-8-sig", errors)
    except UnicodeDecodeError as error:
        raise DataError(f"{os.fspath(path)}: cannot be read as text in UTF-8 ({error}); save it as such") from None


def json_object(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The JSON object in a file; DataError when there is none."""
    try:
        content = json.loads(read(path, MOST_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{os.fspath(path)}: is not JSON ({error}); it is damaged, or another program's") from None
    if not isinstance(content, dict):
        raise DataError(f"{os.fspath(path)}: is not a JSON object; it is damaged, or another program's")
    return content
