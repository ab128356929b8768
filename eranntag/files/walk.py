"""Files below a folder: one rule for every command that is given a folder."""

import os
from collections.abc import Callable, Container, Iterator


def files_below(
    folder: str | os.PathLike[str], extensions: Container[str], on_error: Callable[[OSError], object] | None = None
) -> Iterator[str]:
    """Paths of the files below `folder` with one of `extensions` (in lower case, without the dot), in a stable order.

    Hidden files and folders are skipped. Links to folders are followed, but each folder is visited once. `on_error` is called
    with the error of a folder that cannot be read.
    """
    visited: set[str] = set()  # links may lead back up
    for base, folders, files in os.walk(folder, onerror=on_error, followlinks=True):
        real = os.path.realpath(base)
        folders[:] = [] if real in visited else sorted(name for name in folders if not name.startswith("."))
        if real not in visited:
            yield from (os.path.join(base, name) for name in sorted(files) if has_extension(name, extensions))
        visited.add(real)


def has_extension(name: str, extensions: Container[str]) -> bool:
    """Whether a file's name has one of `extensions` and is not hidden (as macOS's `._x.wav` are)."""
    return os.path.splitext(name)[1][1:].lower() in extensions and not name.startswith(".")
