"""A Markdown page with a part that `eranntag bench` writes, between two markers; the rest is not changed."""

import os
from pathlib import Path

from eranntag.errors import DataError, UsageError
from eranntag.files import atomic, bounded

START, END = "<!-- eranntag bench -->", "<!-- end -->"
MOST_BYTES = 1 << 24


def check(path: Path) -> None:
    """Raise UsageError, before an hour of measuring, unless `path` is a page that can be written, with both markers or none."""
    if path.suffix != ".md":  # `--write train`, say
        raise UsageError(f"--write {path}: must be a Markdown page, with a name that ends in .md")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UsageError(f"--write {path}: must be a file in a folder that exists")
    if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise UsageError(f"--write {path}: may not be written")
    replaced(_text(path), "", path)


def write(path: Path, part: str) -> None:
    """Put `part` between the markers, which are added at the end of a page that has none."""
    atomic.write_text(path, replaced(_text(path), part, path))


def replaced(text: str, part: str, path: Path) -> str:
    """Return `text` with `part` between its markers. Raises UsageError for a page with only the first marker."""
    before, marker, rest = text.partition(START)
    if not marker:
        gap = "\n" if text else ""
        return f"{text.rstrip()}\n{gap}{START}\n{part.strip()}\n{END}\n".lstrip()
    _, end, after = rest.partition(END)
    if not end:
        raise UsageError(f"--write {path}: {START} is there, but no {END} after it")
    return f"{before}{START}\n{part.strip()}\n{END}{after}"


def _text(path: Path) -> str:
    try:
        return bounded.read_text(path, max_bytes=MOST_BYTES) if path.exists() else ""
    except DataError as error:
        raise UsageError(f"--write {error}") from None
