"""Bounded reads: whole files, if they are regular and of a size that fits into memory."""

import csv
import errno
import json
import os
import stat
from io import BufferedReader
from typing import Any

from eranntag.errors import DataError

MAX_BYTES = 1 << 30  # AudioSet's largest table has 0.1 GB, the manifest of all its clips 0.2 GB
MAX_JSON_BYTES = 1 << 28  # a pack names the clips that are left out, of two million
PARSE_ERRORS = (  # what parsing a damaged file can raise
    AttributeError,
    KeyError,
    IndexError,
    TypeError,
    ValueError,
    OverflowError,
    RecursionError,
    csv.Error,
)
KINDS = {  # of files that are not regular
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


def open_regular_file(path: str | os.PathLike[str], max_bytes: int) -> tuple[BufferedReader, int]:
    """Open a regular file of at most `max_bytes` and return it with its size.

    Raises OSError for everything else: a pipe could block, a device never end.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError as error:  # a zero byte in the name
        raise OSError(errno.EINVAL, str(error)) from None
    status = os.fstat(handle)
    flaw = next((kind for test, kind in KINDS.items() if test(status.st_mode)), "")
    if not flaw and status.st_size > max_bytes:
        flaw = f"{status.st_size} bytes, and at most {max_bytes} are read"
    if flaw:
        os.close(handle)
        raise OSError(errno.EINVAL, flaw)
    return os.fdopen(handle, "rb"), status.st_size


def read_bytes(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> bytes:
    """Return a file's content, at most `max_bytes` even if it grows meanwhile. Raises DataError."""
    try:
        with open_regular_file(path, max_bytes)[0] as file:
            return file.read(max_bytes)
    except OSError as error:
        raise DataError(f"{os.fspath(path)}: cannot be read ({error.strerror or error}); name a file that can") from None


def read_text(path: str | os.PathLike[str], errors: str = "strict", max_bytes: int = MAX_BYTES) -> str:
    """Return a UTF-8 file's text without a byte order mark, line ends unchanged. Raises DataError, for other encodings too."""
    try:
        return read_bytes(path, max_bytes).decode("utf-8-sig", errors)
    except UnicodeDecodeError as error:
        raise DataError(f"{os.fspath(path)}: cannot be read as text in UTF-8 ({error}); save it as such") from None


def read_json_object(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the JSON object in a file. Raises DataError if there is none."""
    try:
        content = json.loads(read_bytes(path, MAX_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{os.fspath(path)}: is not JSON ({error}); it is damaged, or another program's") from None
    if not isinstance(content, dict):
        raise DataError(f"{os.fspath(path)}: is not a JSON object; it is damaged, or another program's")
    return content
