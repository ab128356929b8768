"""What mixtures are made of (`eranntag data mix`): event sounds with one class each, and backgrounds.

Events are a CSV file with the columns of the recipe csv (filename, label, perhaps fold and group), or a folder for each class
as the recipe folder takes it, or one of PRESETS. Where a table has a column `manually_verified`, rows with 0 are left out.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from eranntag.errors import DataError
from eranntag.files.csv_rows import read_rows
from eranntag.recipes import _layout
from eranntag.recipes._custom import OWN
from eranntag.recipes._lookup import load
from eranntag.types import Dataset, Example

PRESETS = {
    "dcase2018": "FSDKaggle2018 (DCASE 2018 task 2): its training clips that a person has verified",
    "esc50": "ESC-50, its folds kept, the zeros behind its shorter sounds cut",
    "esc10": "the same of its ten classes that it calls ESC-10",
}
PADDED_PRESETS = ("esc50", "esc10")  # the zeros behind whose shorter sounds are not theirs
ESC_10 = "dog rooster rain sea_waves crackling_fire crying_baby sneezing clock_tick helicopter chainsaw".split()
SYNTHETIC = "synthetic"
TABLES = ("train_post_competition.csv", "train.csv")  # of FSDKaggle2018, in the folder or in FSDKaggle2018.meta/
COLUMNS = ("filename", "fname", "file", "path", "audio")


def mixture_events(path: str, preset: str | None) -> Dataset:
    """The event sounds at `path`. DataError unless every one has exactly one class."""
    if preset == "dcase2018":
        return _dcase2018(Path(path))
    if preset == "esc10":
        return _only(load("esc50", path), "esc10", ESC_10)
    name = preset or ("csv" if Path(path).is_file() else "folder")
    dataset = load(name, path)
    if name == "csv":
        unsure = {Path(row["file"]).stem for row in _rows(Path(path)) if row.get("manually_verified", "") == "0"}
        kept = tuple(each for each in dataset.examples if Path(str(each.path)).stem not in unsure)
        dataset = dataclasses.replace(dataset, examples=kept)
    if several := [example for example in dataset.examples if len(example.targets) != 1]:
        raise DataError(f"{path}: an event has exactly one class, but {several[0].path} has {len(several[0].targets)}")
    if odd := [label for label in dataset.recipe.labels if ";" in label]:
        raise DataError(f"{path}: the class {odd[0]!r} has a ; in its name, which separates the labels of a mixture; rename it")
    return dataset


def mixture_backgrounds(path: str) -> tuple[str, ...] | None:
    """The files in a folder or in a table; None for `synthetic` ones. A folder of that name is ./synthetic."""
    if path == SYNTHETIC:
        return None
    if Path(path).is_dir():
        found = tuple(_layout.sounds(path))
    elif Path(path).is_file():
        found = tuple(str(Path(path).parent / row["file"]) for row in _rows(Path(path)))
    else:
        raise DataError(f"{path}: no such folder or table of backgrounds; `{SYNTHETIC}` needs neither")
    if not found:
        raise DataError(f"{path}: holds no backgrounds")
    return tuple(dict.fromkeys(found))


def _only(dataset: Dataset, name: str, labels: list[str]) -> Dataset:
    """The part of ESC-50 that has these labels; a file's name ends in the number of its class."""
    new = {dataset.recipe.labels.index(label): at for at, label in enumerate(labels)}
    examples = (example for example in dataset.examples if example.targets[0] in new)
    kept = tuple(dataclasses.replace(example, targets=(new[example.targets[0]],)) for example in examples)
    recipe = dataclasses.replace(dataset.recipe, name=name, title=f"{name} of {dataset.recipe.title}", labels=tuple(labels))
    missing = tuple(each for each in dataset.missing if Path(each).stem.rpartition("-")[2] in map(str, new))
    return Dataset(recipe, kept, missing)


def _dcase2018(root: Path) -> Dataset:
    """The clips may be anywhere below the folder."""
    places = [folder / name for folder in (root / "FSDKaggle2018.meta", root) for name in TABLES]
    table = next((path for path in places if path.is_file()), None)
    if table is None:
        raise DataError(
            f"{root}: is not FSDKaggle2018: it holds none of {', '.join(TABLES)}, nor does FSDKaggle2018.meta/ there"
        )
    files = _layout.by_stem(root)
    rows = [row for row in _rows(table) if row.get("manually_verified") != "0"]
    labels = tuple(sorted({row["label"] for row in rows if row.get("label")}))
    index = {label: at for at, label in enumerate(labels)}
    examples, missing = [], []
    for row in rows:
        if row.get("label") not in index:
            raise DataError(f"{table}: {row['file']} has no label")
        if found := files.get(Path(row["file"]).stem):
            examples.append(Example(found, (index[row["label"]],)))
        else:
            missing.append(row["file"])
    if not examples:
        raise DataError(f"{root}: holds none of the clips that {table} names")
    recipe = dataclasses.replace(OWN, name="dcase2018", title="FSDKaggle2018", licence="CC BY 4.0", labels=labels)
    return Dataset(recipe, tuple(examples), tuple(missing))


def _rows(table: Path) -> Iterator[dict[str, str]]:
    """The rows of a table separated by commas, semicolons or tabs, with the column that names the file as `file`."""
    rows = ([cell.strip() for cell in cells] for _, cells in read_rows(table, ",;\t"))
    filled = (row for row in rows if any(row))
    header = [name.lower() for name in next(filled, [])]
    column = next((name for name in COLUMNS if name in header), None)
    if column is None:
        raise DataError(f"{table}: needs a column filename; its first line has {', '.join(header)[:200] or 'nothing'}")
    for cells in filled:
        row = dict(zip(header, cells, strict=False))
        yield {**row, "file": row.get(column, "")}
