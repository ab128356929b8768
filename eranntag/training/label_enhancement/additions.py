"""The table of additions: a file beside the data set, whose own labels are never changed.

    # eranntag labels enhance
    # teacher: erann-2-5                                what they come from, a line each
    clip,added
    --PJHxphWEs,"Dog;Domestic animals, pets"            the cell `added` is itself a line of CSV, separated by ;

A clip is named by its file's name without folders and ending, and by as many of its folders as make the name
unique. A run with the table (`read_additions`) has these labels, one without it the original ones.
"""

import csv
import io
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from eranntag.errors import DataError, UsageError
from eranntag.files import atomic, bounded
from eranntag.files.csv_rows import parse_rows
from eranntag.registry import did_you_mean
from eranntag.results.formats import printable
from eranntag.training.label_enhancement.enhance import Enhancement
from eranntag.training.label_enhancement.teacher import check
from eranntag.types import Dataset, Example, ShardEntry

HEADER = ["clip", "added"]
FIRST = "# eranntag labels enhance"


def clip_names(examples: Sequence[Example]) -> dict[str | ShardEntry, str]:
    """`Example.path` -> how the table names the clip. Of all clips of the data set, so that a name does not depend on which are
    trained on. DataError when two have the same."""
    paths = [
        str(e.path.name if isinstance(e.path, ShardEntry) else os.path.abspath(e.path)).replace(os.sep, "/") for e in examples
    ]
    paths = [os.path.splitext(path)[0] for path in paths]
    names, depth = [path.rpartition("/")[2] for path in paths], 1
    while twice := {name for name, count in Counter(names).items() if count > 1}:
        depth += 1
        longer = ["/".join(p.split("/")[-depth:]) if n in twice else n for p, n in zip(paths, names, strict=True)]
        if longer == names:
            raise DataError(f"two clips have the name {min(twice)} (without the ending): a table cannot distinguish them")
        names = longer
    return {example.path: name for example, name in zip(examples, names, strict=True)}


def check_replaceable(path: Path) -> None:
    """Before any work: UsageError if `path` is there and is anything but an older table of additions."""
    if path.exists() and not (path.is_file() and _begins(path, FIRST.encode())):
        raise UsageError(f"{path}: is there, and is no table of additions; choose another name")


def _begins(path: Path, beginning: bytes) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(beginning)) == beginning
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); choose another name") from None


def write(path: Path, names: Sequence[str], enhancement: Enhancement, origin: Mapping[str, object]) -> None:
    """Write the table: `names` are those of the clips that were enhanced, `origin` is what it comes from."""
    labels: dict[int, list[str]] = {}
    for clip, target in enhancement.pairs.tolist():
        labels.setdefault(clip, []).append(enhancement.recipe.labels[target])
    with (
        atomic.replace(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        file.write(f"{FIRST}\r\n")
        file.writelines(f"# {name}: {printable(str(value))}\r\n" for name, value in origin.items() if value is not None)
        table = csv.writer(file)  # its lines end with CR LF, so that names with either are quoted
        table.writerow(HEADER)
        table.writerows((names[clip], _joined(added)) for clip, added in labels.items())


def _joined(labels: Sequence[str]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=";").writerow(labels)
    return text.getvalue().removesuffix("\r\n")


def read_additions(path: str | os.PathLike[str], dataset: Dataset) -> dict[str | ShardEntry, tuple[int, ...]]:
    """`Example.path` of a training clip -> the classes that the table adds. DataError when the table cannot be read, or names a
    clip or a label that the data set does not have, or a clip that is not trained on."""
    check(dataset.recipe)
    names = clip_names(dataset.examples)
    examples = {names[example.path]: example for example in dataset.examples}
    index = {label: at for at, label in enumerate(dataset.recipe.labels)}
    added: dict[str | ShardEntry, tuple[int, ...]] = {}
    for line, name, labels in _rows(path):
        where, example = f"{path} line {line}", examples.get(name)
        if example is None:
            raise DataError(f"{where}: {dataset.recipe.name} has no clip {name!r} there; the table is of other data")
        if example.split != "train":
            raise DataError(f"{where}: {name!r} is a {example.split} clip, whose labels stay as they are; remove the line")
        if example.path in added:
            raise DataError(f"{where}: {name!r} was there before; remove one of the lines")
        if odd := [label for label in labels if label not in index]:
            raise DataError(f"{where}: {odd[0]!r} is no class of {dataset.recipe.name}{did_you_mean(odd[0], index)}")
        added[example.path] = tuple(sorted({index[label] for label in labels}))
    return added


def _rows(path: str | os.PathLike[str]) -> Iterator[tuple[int, str, list[str]]]:
    """(line from 1, clip, labels) of the rows after the comments and the header."""
    lines = io.StringIO(bounded.read_text(path, errors="surrogateescape"), newline="").readlines()
    comments = next((at for at, line in enumerate(lines) if not line.startswith("#")), len(lines))
    rows = parse_rows(lines[comments:], path, first_line=comments + 1, strict=True)
    if next(rows, (0, []))[1] != HEADER:
        raise DataError(f"{path}: is no table of additions: its first line must be {','.join(HEADER)}")
    for line, row in rows:
        try:
            name, cell = row
            (labels,) = csv.reader(io.StringIO(cell, newline=""), delimiter=";", strict=True)
        except (csv.Error, ValueError) as error:
            raise DataError(f"{path} line {line}: is not a clip and its labels ({error})") from None
        yield line, name, labels
