"""Sound without labels, for a teacher to label: a folder, a table of files or a pack of any recipe."""

import dataclasses
import os
from pathlib import Path

from eranntag.datasets import shards
from eranntag.errors import DataError
from eranntag.recipes import _csv, _layout
from eranntag.types import Dataset, Example, Recipe, TrainingConfig

RECIPE = Recipe(  # the values are this project's choice; labels and activation are the teacher's
    name="distill",
    title="Unlabeled sound",
    licence="",
    labels=(),
    activation="sigmoid",
    folds=(),
    metric="mAP",
    training=TrainingConfig(
        crop_seconds=4.0,
        iterations=100_000,
        evaluate_every=2_000,
        learning_rate=1e-3,
        mixup="none",
    ),
    fine_tuning={"iterations": 100_000, "learning_rate": 1e-3, "evaluate_every": 2_000},
)
COLUMNS = ("filename", "path", "file")  # how the column with the files may be called


def unlabeled(data: str | None) -> Dataset:
    """The clips of `data` without targets: every sound below a folder, the files of a CSV table, or a pack.

    A table has a column `filename` (or path, file), from its own folder, `audio/` in it or in full, and perhaps `split`: clips
    of the part "test" (or "validation") are never trained on. Raises DataError where there is no sound.
    """
    if not data or not os.path.exists(data):
        what = f"{data} does not exist" if data else "where is the data?"
        raise DataError(f"distill: {what}; give --data a folder with sounds, a CSV table with a column filename, or a pack")
    path = Path(data)
    if (path / shards.PACK).is_file():
        packed = shards.read(path, RECIPE)
        return Dataset(RECIPE, tuple(dataclasses.replace(each, targets=()) for each in packed.examples), packed.missing)
    missing: list[str] = []
    if path.is_dir():
        examples = [Example(name, ()) for name in _layout.sounds(path)]
    else:
        examples, missing = _listed(path)
    if not examples:
        raise DataError(f"distill: {data} holds no sound, or names none that is there; see --data")
    return Dataset(RECIPE, tuple(examples), tuple(missing))


def _listed(table: Path) -> tuple[list[Example], list[str]]:
    """The clips of a table that are there, and the names of the others."""
    examples, missing = [], []
    for where, row in _csv.rows("distill", table, ()):
        name = next((row[column] for column in COLUMNS if row.get(column)), None)
        if name is None:
            raise DataError(f"{where} names no file: its table needs a column {', '.join(COLUMNS[:-1])} or {COLUMNS[-1]}")
        part = (row.get("split") or "train").lower()
        if part not in _layout.PARTS:
            raise DataError(f"{where}: the split {part!r} is none of {', '.join(_layout.PARTS)}")
        places = (table.parent / name, table.parent / "audio" / name)
        if file := next((place for place in places if place.is_file()), None):
            group = row.get("group") or row.get("source") or ""
            examples.append(Example(str(file), (), split=_layout.PARTS[part], group=group))
        else:
            missing.append(name)
    return examples, missing
