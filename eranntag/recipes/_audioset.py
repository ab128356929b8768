"""AudioSet's tables and how its clips are named: what the recipes `audioset` and `audioset_balanced` share."""

import csv
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from eranntag.errors import DataError
from eranntag.recipes import _csv, _layout, _paper
from eranntag.types import Dataset, Example, Published, Recipe

EVALUATION, BALANCED, UNBALANCED = "eval_segments.csv", "balanced_train_segments.csv", "unbalanced_train_segments.csv"

with open(Path(__file__).with_name("_audioset_labels.csv"), newline="", encoding="utf-8") as _file:
    CLASSES = {row["mid"]: row["display_name"] for row in csv.DictReader(_file)}  # in the official order
PSLA = {  # what both schedules of PSLA have in common: Gong et al., 2021, Sections II and III
    "batch": 100,
    "crop_seconds": 10.0,
    "warm_up": 1000,
    "weight_decay": 5e-7,
    "mixup": "standard",
    "mixup_alpha": 10.0,
    "mixup_rate": 0.5,
    "mixup_partner": "uniform",
    "augment": ("time-frequency-mask",),
    "ema_decay": 0.0,
    "pretrained": True,
}

INDEX = {mid: index for index, mid in enumerate(CLASSES)}


def psla_rows(table: str, values: Mapping[str, float]) -> tuple[Published, ...]:
    """PSLA's rows of a table, all pretrained on ImageNet: the variants in words -> the published mAP."""
    ways = {f"scratch, {how}" if how else "scratch": value for how, value in values.items()}
    return tuple(_paper.row("psla", value, f"PSLA, {table}", how) for how, value in ways.items())


def read(recipe: Recipe, data: str | None, parts: Mapping[str, str]) -> Dataset:
    """The clips of those tables of `parts` (table -> split) that are there, each clip once, in their order.

    DataError when none of them is there.
    """
    root, tables = _find(recipe.name, data, parts)
    files = _layout.by_stem(root)
    examples, missing = [], []
    seen: set[tuple[str, float]] = set()
    for table, split in tables.items():
        for video, start, end, targets in segments(table):
            if (video, start) in seen:
                continue
            seen.add((video, start))
            if path := next((files[name] for name in file_names(video, start, end) if name in files), None):
                examples.append(Example(path, targets, split=split, group=video))
            else:
                missing.append(video)
    if not examples:
        what = f"no sound file below {root} is among the {len(missing)} clips of its tables"
        raise DataError(f"{recipe.name}: {what}; see --data, ERANNTAG_DATA")
    return Dataset(recipe, tuple(examples), tuple(missing))


def _find(recipe: str, data: str | None, parts: Mapping[str, str]) -> tuple[Path, dict[Path, str]]:
    """The folder, and its tables -> their parts."""
    names = ", ".join(parts)
    if not data:
        clips = "(those that there are) and the clips anywhere below it, named by YTID"
        raise DataError(f"{recipe}: where is the data? Give --data or set ERANNTAG_DATA to a folder with {names} {clips}")
    tried = [Path(data, folder) for folder in ("", "audioset", "AudioSet")]
    for root in tried:
        for folder in (root, root / "metadata"):
            if tables := {folder / name: split for name, split in parts.items() if (folder / name).is_file()}:
                check_classes(folder / "class_labels_indices.csv")
                return root, tables
    looked = ", ".join(map(str, tried))
    raise DataError(
        f"{recipe}: none of {names} in {looked}, nor in metadata/ there; --data or ERANNTAG_DATA must name a "
        "folder that holds them"
    )


def check_classes(path: Path) -> None:
    """DataError if the official list of classes at `path` is not ours; fine if there is none."""
    if path.is_file():
        theirs = [row.get("mid") for _, row in _csv.rows("audioset", path, ())]
        if theirs != list(CLASSES):
            raise DataError(f"audioset: {path} does not list the {len(CLASSES)} official classes in their order; remove it")


def segments(table: Path) -> Iterator[tuple[str, float, float, tuple[int, ...]]]:
    """The rows of an official table: (video, start in s, end in s, class indices).

    The official files have comments (#), and a space after each comma, also before the quotes.
    """
    for line, row in _csv.cells("audioset", table, skipinitialspace=True):
        if row[0].startswith("#") or row[0] == "YTID":
            continue
        try:
            video, start, end, mids = row
            segment = video, _seconds(start), _seconds(end), tuple(sorted({INDEX[mid.strip()] for mid in mids.split(",")}))
        except KeyError as error:
            raise DataError(f"audioset: {table} line {line}: {error} is none of the {len(CLASSES)} classes") from None
        except ValueError as error:
            raise DataError(f"audioset: {table} line {line} is not AudioSet's: {error}") from None
        yield segment


def _seconds(text: str) -> float:
    seconds = float(text)
    if not math.isfinite(seconds):
        raise ValueError(f"{text} is no time")
    return seconds


def file_names(video: str, start: float, end: float) -> Iterator[str]:
    """What a clip's file may be called, without the ending. A video's name may hold - and _, so names are not parsed."""
    videos = (video, f"Y{video}")
    yield from videos
    for first, last in zip(_written(start), _written(end), strict=True):
        for name in videos:
            yield from (f"{name}_{first}", f"{name}_{first}_{last}", f"{name}_{first}-{last}")


def _written(seconds: float) -> tuple[str, ...]:
    """30 s as 30, 30.0, 30.000 and 30000 (ms)."""
    return f"{seconds:.10g}", f"{seconds}", f"{seconds:.3f}", f"{1000 * seconds:.0f}"
