"""Own data in a table: a CSV file with a row for each clip.

Layout: `--data` (ERANNTAG_DATA) names the CSV file, or a folder that holds it as `labels.csv`. Its first line names the
columns, in any order (others are fine):

    filename        or file, path, audio, fname: where the clip is, from the CSV's folder or from `audio/` in it, or in full.
                    A bare name may have another ending than the file, or none
    label           its class, or
    labels          its classes, any number, separated by ; or | (by commas if neither occurs in the column)
    fold            optional: the number of its cross-validation fold, or
    split           optional: train, validation (also valid, val, dev) or test (also testing, eval, evaluation)
    group           optional, or source: clips with the same one come from one recording

UTF-8; separated by commas, semicolons or tabs. With `label` clips have exactly one class (softmax, accuracy), unless a file is
in several rows with different ones: with these, and with `labels`, classes are independent (sigmoid, mAP). Classes are in
alphabetical order. How to train: `_custom.py`.
"""

import dataclasses
import os
import re
from pathlib import Path
from typing import NamedTuple

from eranntag.errors import DataError
from eranntag.recipes import _csv, _layout
from eranntag.recipes._custom import OWN
from eranntag.types import Dataset, Example, Recipe

RECIPE = dataclasses.replace(OWN, name="csv", title="Own data, listed in a CSV file")

COLUMNS = {  # what a column is -> how it may be called
    "file": ("filename", "file", "path", "audio", "fname"),
    "label": ("label",),
    "labels": ("labels",),
    "fold": ("fold",),
    "split": ("split",),
    "group": ("group", "source"),
}
EXCLUSIVE = (("label", "labels"), ("fold", "split"))


class _Clip(NamedTuple):
    """A file of the table, its labels still text."""

    file: str
    labels: tuple[str, ...]
    fold: int | None
    split: str
    group: str
    rows: int = 1


def read(data: str | None = None) -> Dataset:
    """The clips of the table, in its order, each file once. DataError when none of them is there."""
    table = _find(data)
    clips, single = _clips(table)
    recipe = _recipe(table, clips, single)
    index = {label: at for at, label in enumerate(recipe.labels)}
    stems = _stems(table.parent)
    examples, missing = [], []
    for clip in clips:
        if path := _path(table.parent, clip.file, stems):
            targets = tuple(sorted(index[label] for label in clip.labels))
            examples.append(Example(path, targets, clip.fold, clip.split, clip.group))
        else:
            missing.append(clip.file)
    if not examples:
        raise DataError(f"csv: none of the files that {table} names is there, such as {missing[0]}; see --data, ERANNTAG_DATA")
    return Dataset(recipe, tuple(examples), tuple(missing), _notes(clips))


def _notes(clips: list[_Clip]) -> tuple[str, ...]:
    """One clip in two rows with different labels may well be a slip of the pen."""
    several = [clip.file for clip in clips if len(clip.labels) > 1 and clip.rows > 1]
    if not several:
        return ()
    return (f"{len(several)} clips have several rows with different labels, so classes are independent: {several[0]} ...",)


def _find(data: str | None) -> Path:
    path = Path(data or "")
    if data and path.is_dir():
        path /= "labels.csv"
    if data and path.is_file():
        return path
    what = f"{path} is no file" if data else "where is the data?"
    raise DataError(f"csv: {what}; give --data or set ERANNTAG_DATA to a CSV file, or to a folder that holds it as labels.csv")


def _recipe(table: Path, clips: list[_Clip], single: bool) -> Recipe:
    labels = tuple(sorted({label for clip in clips for label in clip.labels}))
    least = 2 if single else 1
    if len(labels) < least:
        found = f"only {labels[0]!r}" if labels else "none"
        raise DataError(f"csv: {table} must name at least {least} class{'es' * (least > 1)} (found: {found})")
    training = RECIPE.training
    if not all(clip.labels for clip in clips):  # drawing clips by class would never draw one without
        training = dataclasses.replace(training, sampler="shuffle")
    return dataclasses.replace(
        RECIPE,
        title=f"Own data: {table.name}",
        labels=labels,
        folds=tuple(sorted({clip.fold for clip in clips if clip.fold is not None})),
        activation="softmax" if single else "sigmoid",
        metric="accuracy" if single else "mAP",
        training=training,
    )


# The table


def _clips(table: Path) -> tuple[list[_Clip], bool]:
    """The clips, one for each file, and whether each has exactly one class."""
    rows = _rows(table)
    header = rows[0][1] if rows else []
    columns = _columns(table, header)
    separators = ";|"
    if "labels" in columns and not any(set(separators) & set(_cell(row, columns, "labels")) for _, row in rows[1:]):
        separators = ","
    clips: dict[str, _Clip] = {}
    for line, row in rows[1:]:
        where = f"csv: {table} line {line}"
        if len(row) > len(header):
            raise DataError(
                f"{where} has {len(row)} cells, but the first line {len(header)}; quote cells with separators in them"
            )
        clip = _clip(where, row, columns, separators)
        earlier = clips.setdefault(clip.file, clip)
        if earlier._replace(labels=clip.labels, rows=1) != clip:
            raise DataError(f"{where}: {clip.file} was in another fold, split or group before")
        labels = tuple(dict.fromkeys(earlier.labels + clip.labels))
        clips[clip.file] = clip._replace(labels=labels, rows=earlier.rows + (earlier is not clip))
    single = "label" in columns and all(len(clip.labels) == 1 for clip in clips.values())
    return list(clips.values()), single


def _rows(table: Path) -> list[tuple[int, list[str]]]:
    """(line from 1, cells) of all rows that are not blank, without the empty cells at their ends."""
    rows = [(line, _trimmed(row)) for line, row in _csv.cells("csv", table, ",;\t")]
    return [(line, row) for line, row in rows if row]


def _trimmed(row: list[str]) -> list[str]:
    cells = [cell.strip() for cell in row]
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _columns(table: Path, header: list[str]) -> dict[str, int]:
    """What a column is -> where it stands."""
    names = [name.lower() for name in header]
    found = {what: next((names.index(name) for name in known if name in names), None) for what, known in COLUMNS.items()}
    columns = {what: at for what, at in found.items() if at is not None}
    if "file" not in columns or not {"label", "labels"} & columns.keys():
        there = ", ".join(header)[:200] or "nothing"
        raise DataError(f"csv: {table} needs a column filename and a column label or labels; its first line has {there}")
    for one, other in EXCLUSIVE:
        if one in columns and other in columns:
            raise DataError(f"csv: {table} has both a column {one} and a column {other}; leave one out")
    return columns


def _cell(row: list[str], columns: dict[str, int], what: str) -> str:
    """ "" where the table has no such column, or the row ends before it."""
    at = columns.get(what, len(row))
    return row[at] if at < len(row) else ""


def _clip(where: str, row: list[str], columns: dict[str, int], separators: str) -> _Clip:
    """A row as a clip; `where` begins its errors."""
    file, label, labels, fold, split, group = (_cell(row, columns, what) for what in COLUMNS)
    if not file:
        raise DataError(f"{where} names no file")
    if "label" in columns and not label:
        raise DataError(f"{where} has no label; several or none need a column labels")
    if "fold" in columns and not re.fullmatch(r"\d+", fold, re.ASCII):
        raise DataError(f"{where}: the fold {fold!r} is no whole number")
    if "split" in columns and split.lower() not in _layout.PARTS:
        raise DataError(f"{where}: the split {split!r} is none of {', '.join(_layout.PARTS)}")
    several = [name.strip() for name in re.split(f"[{separators}]", labels)]
    return _Clip(
        os.path.normpath(file),
        (label,) if label else tuple(name for name in several if name),
        int(fold) if fold else None,
        _layout.PARTS[split.lower()] if split else "train",
        group,
    )


# The files


def _stems(root: Path) -> dict[str, str]:
    """File name without its ending -> path, of the sounds in the CSV's folder and in `audio/` there."""
    folders = [folder for folder in (root / "audio", root) if folder.is_dir()]
    return {path.stem: str(path) for folder in folders for path in sorted(folder.iterdir()) if _layout.is_sound(path.name)}


def _path(root: Path, name: str, stems: dict[str, str]) -> str | None:
    for path in (root / name, root / "audio" / name):
        if path.is_file():
            return str(path)
    return stems.get(name) or (stems.get(Path(name).stem) if _layout.is_sound(name) and os.sep not in name else None)
