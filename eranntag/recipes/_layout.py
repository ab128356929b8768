"""What several layouts share: which sound files lie below a folder, and how people name the parts of their data."""

import os
from collections.abc import Iterator

from eranntag.audio import reader

PARTS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}


def is_sound(name: str) -> bool:
    """Neither hidden (as macOS's `._x.wav` are) nor with an ending that sound files do not have."""
    return os.path.splitext(name)[1][1:].lower() in reader.EXTENSIONS and not name.startswith(".")


def sounds(folder: str | os.PathLike[str]) -> Iterator[str]:
    """Every sound file below `folder`, in a stable order, through linked folders too; hidden ones are skipped."""
    seen = set()  # links may lead back up
    for base, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(base)
        folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
        if real not in seen:
            yield from (os.path.join(base, name) for name in sorted(files) if is_sound(name))
        seen.add(real)


def by_stem(folder: str | os.PathLike[str]) -> dict[str, str]:
    """File name without its ending -> path, of every sound file below `folder`; the first of several of one name."""
    files: dict[str, str] = {}
    for path in sounds(folder):
        files.setdefault(os.path.splitext(os.path.basename(path))[0], path)
    return files
