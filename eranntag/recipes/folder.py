"""Own data in folders: a folder for each class, named as the class.

Layout: `--data` (ERANNTAG_DATA) names a folder with

    dog/anything.wav, dog/deeper/anything.flac      one class a folder, with any sound files anywhere below it
    rain/...

or with one such tree for each part of the data, so that some clips are held out:

    train/dog/..., train/rain/...
    validation/...                                  also valid, val, dev
    test/...                                        also testing, eval, evaluation

Classes are in alphabetical order; hidden files and folders are skipped. How to train: `_custom.py`.
"""

import dataclasses
from pathlib import Path

from eranntag.errors import DataError
from eranntag.recipes import _layout
from eranntag.recipes._custom import OWN
from eranntag.types import Dataset, Example

RECIPE = dataclasses.replace(OWN, name="folder", title="Own data, a folder for each class")


def read(data: str | None = None) -> Dataset:
    """The clips of all class folders. DataError unless there are at least two classes."""
    if not data or not Path(data).is_dir():
        what = f"{data} is no folder" if data else "where is the data?"
        raise DataError(f"folder: {what}; give --data or set ERANNTAG_DATA to a folder that holds a folder for each class")
    clips = [(part, name, path) for part, classes in _parts(Path(data)) for name, paths in classes.items() for path in paths]
    labels = sorted({name for _, name, _ in clips})
    if len(labels) < 2:
        found = f"only {labels[0]!r}" if labels else "none"
        raise DataError(
            f"folder: {data} must hold at least two folders with sounds, one for each class (found: {found}), or train/, "
            "validation/, test/ with such folders; see --data, ERANNTAG_DATA"
        )
    recipe = dataclasses.replace(RECIPE, title=f"Own data: {Path(data).resolve().name}", labels=tuple(labels))
    index = {label: at for at, label in enumerate(labels)}
    return Dataset(recipe, tuple(Example(path, (index[name],), split=part) for part, name, path in clips))


def _parts(root: Path) -> list[tuple[str, dict[str, list[str]]]]:
    """(part of the data, its classes -> their files); "train" alone where no folder is named as a part."""
    folders = _classes(root)
    named = [name for name in folders if name.lower() in _layout.PARTS]
    if len(named) == len(folders):
        return [(_layout.PARTS[name.lower()], _classes(root / name)) for name in named]
    if len(named) > 1:
        others = ", ".join(name for name in folders if name not in named)
        raise DataError(f"folder: {root} holds parts of a data set ({', '.join(named)}) beside classes ({others}); see --data")
    return [("train", folders)]


def _classes(root: Path) -> dict[str, list[str]]:
    """The folders in `root` that have sounds anywhere below them -> these sounds."""
    folders = sorted(folder for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    return {folder.name: paths for folder in folders if (paths := list(_layout.sounds(folder)))}
