"""Data sets and their protocols. One file each; the file name is the recipe's name.

A recipe module has the expected layout and its source in the docstring, `RECIPE` (labels, folds, hyper-parameters, the
paper's numbers) and `examples(data) -> list[Example]`, which raises DataError when the layout is another.
"""

from pathlib import Path

from eranntag.errors import DataError, UsageError
from eranntag.types import Recipe


def find_root(data: str | None, folders: tuple[str, ...], marker: str) -> Path:
    """The data set's folder, the one that holds `marker`: `data` itself, or one of `folders` in it."""
    if not data:
        raise DataError(f"{folders[0]}: where is the data? Give --data or set ERANNTAG_DATA to a folder with {marker}")
    tried = [Path(data) / folder for folder in ("", *folders)]
    for root in tried:
        if (root / marker).exists():
            return root
    looked = ", ".join(map(str, tried))
    raise DataError(f"{folders[0]}: no {marker} in {looked}; --data or ERANNTAG_DATA must name a folder that holds it")


def check_fold(recipe: Recipe, fold: int | None) -> None:
    """UsageError unless `fold` is one of the recipe's, or None."""
    if fold is not None and fold not in recipe.folds:
        raise UsageError(f"{recipe.name} has the folds {', '.join(map(str, recipe.folds))}, not {fold}")
