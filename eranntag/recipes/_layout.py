"""What several layouts share: the sound files below a folder, and the usual names of the parts of a data set."""

import os
from collections.abc import Iterator

from eranntag.audio import reader
from eranntag.files.walk import files_below, has_extension

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
    """Whether a file's name has the extension of a sound file and is not hidden."""
    return has_extension(name, reader.EXTENSIONS)


def sounds(folder: str | os.PathLike[str]) -> Iterator[str]:
    """Every sound file below `folder`, in a stable order, by the rule of `files_below`."""
    return files_below(folder, reader.EXTENSIONS)


def by_stem(folder: str | os.PathLike[str]) -> dict[str, str]:
    """File name without its extension -> path, of every sound file below `folder`; the first of several of one name."""
    files: dict[str, str] = {}
    for path in sounds(folder):
        files.setdefault(os.path.splitext(os.path.basename(path))[0], path)
    return files
