"""Limits of files that others wrote: a file may never end, a name may be a path, a number may have a million digits.

The limits are far above what is useful, and low enough that a refused file takes no more memory than a weight file would.
"""

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from typing import Any

from eranntag.errors import CheckpointError
from eranntag.files import bounded

MAX_FILE = 2 << 30  # bytes of a weight file; the largest network of the papers takes 0.11 GB
MAX_REGISTRY = 1 << 20  # bytes of a registry
MAX_DEPTH = 16  # of objects and lists in each other
MAX_NAME = 200  # characters of a checkpoint's name


def open_regular_file(path: str | os.PathLike[str], remedy: str, most: int = MAX_FILE) -> tuple[BufferedReader, int]:
    """Return the open file and its size in bytes.

    Raises FileNotFoundError, and CheckpointError, which ends in `remedy`, for other files than regular ones up to `most` bytes.
    """
    with _translate_errors(path, remedy):
        return bounded.open_regular_file(path, most)


def read_bytes(path: str | os.PathLike[str], remedy: str, most: int) -> bytes:
    """Return the content of a regular file of at most `most` bytes, also if it grows meanwhile. Raises as
    `open_regular_file`."""
    with _translate_errors(path, remedy), bounded.open_regular_file(path, most)[0] as file:
        return file.read(most)


@contextmanager
def _translate_errors(path: str | os.PathLike[str], remedy: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CheckpointError(f"{os.fspath(path)}: cannot be read ({error.strerror or error}); {remedy}") from None


def name_error(name: str) -> str:
    """Return what is wrong with the name of a checkpoint, "" if nothing is: it becomes part of file names and of messages."""
    if not name or len(name) > MAX_NAME:
        return f"must have 1 to {MAX_NAME} characters, not {len(name)}"
    if not name.isprintable() or re.search(r"[/\\]", name) or name.startswith((".", "-", "hf:")):
        return f"must be printable, without / or \\ and not begin with . or - or hf:, not {short_repr(name)}"
    return ""


def value_error(value: Any) -> str:
    """Return what is wrong with parsed JSON or TOML, "" if nothing is.

    Refused are deep nesting, integers beyond 64 bits, and texts that are not Unicode (half of a surrogate pair).
    """
    level = [value]
    for _ in range(MAX_DEPTH):
        for item in level:
            if isinstance(item, int) and not -(2**63) <= item < 2**63:
                return "a whole number is beyond 64 bits"
            if isinstance(item, str) and not _is_unicode(item):
                return f"a text is not Unicode: {short_repr(item)}"
        level = [child for item in level if isinstance(item, dict | list) for child in _children(item)]
        if not level:
            return ""
    return f"nested more than {MAX_DEPTH} deep"


def _children(item: dict[Any, Any] | list[Any]) -> list[Any]:
    return [*item.keys(), *item.values()] if isinstance(item, dict) else item


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_finite_number(value: Any) -> bool:
    """Return whether `value` is a finite number, and neither True nor False."""
    return type(value) is int or (isinstance(value, float) and math.isfinite(value))


def short_repr(value: Any) -> str:
    """Return the repr of a value for a message, in at most 60 characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of too many digits, nested too deeply
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
