"""AudioSet: 2 million clips of 10 s of YouTube videos, 527 classes, several a clip. Gemmeke et al., "Audio Set: An Ontology
and Human-Labeled Dataset for Audio Events", 2017.

Layout: the official tables, in the folder or in its `metadata/`, at least one of

    balanced_train_segments.csv, unbalanced_train_segments.csv      to train on
    eval_segments.csv                                               the test part

and the clips anywhere below the folder, named by video, `Y` + video, or either with the segment's start, or start and end, in
seconds or milliseconds, with any sound ending: --PJHxphWEs.wav, Y--PJHxphWEs.flac, --PJHxphWEs_30.m4a,
--PJHxphWEs_30000_40000.ogg, --PJHxphWEs_30.0-40.0.wav. Many videos have been deleted: clips that are not there are counted.

The classes (CC BY 4.0, Google) come with the package, `_audioset_labels.csv`; a `class_labels_indices.csv` beside the tables
must agree with them. The protocol is ERANN v2's, Sections 4.1, 4.2, Tables 3 and 4. The paper does not fine-tune on AudioSet:
here a tenth of the iterations, as on ESC-50.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from eranntag.errors import DataError
from eranntag.recipes import _layout, published
from eranntag.types import Dataset, Example, Published, Recipe

TABLES = {  # the test part first: what is in it is not trained on
    "eval_segments.csv": "test",
    "balanced_train_segments.csv": "train",
    "unbalanced_train_segments.csv": "train",
}

with open(Path(__file__).with_name("_audioset_labels.csv"), newline="", encoding="utf-8") as _file:
    CLASSES = {row["mid"]: row["display_name"] for row in csv.DictReader(_file)}  # in the official order
INDEX = {mid: index for index, mid in enumerate(CLASSES)}

SCRATCH = {"2-4": 0.430, "2-5": 0.446, "0-6": 0.447, "1-6": 0.450, "2-6": 0.448, "3-6": 0.436}
ABLATION = {"no mixup": 0.430, "standard mixup": 0.443, "log-mel mixup": 0.439, "no SpecAugment": 0.441}

RECIPE = Recipe(
    name="audioset",
    title="AudioSet audio events",
    licence="CC BY 4.0",
    labels=tuple(CLASSES.values()),
    activation="sigmoid",
    folds=(),
    metric="mAP",
    crop_seconds=8.0,
    iterations=500_000,
    learning_rate=1e-3,
    evaluate_every=5_000,
    finetune_iterations=50_000,
    finetune_evaluate_every=5_000,
    schedule="one-cycle",
    sampler="balanced",
    paper=(
        *published("ERANN v2, Table 4", SCRATCH),
        *(Published("erann-2-5", value, "ERANN v2, Table 3", f"scratch, {how}") for how, value in ABLATION.items()),
    ),
)


def read(data: str | None = None) -> Dataset:
    """The clips of all tables that are there, each clip once, in their order. DataError when none of them is there."""
    root, tables = _find(data)
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
        raise DataError(
            f"audioset: no sound file below {root} is among the {len(missing)} clips of its tables; see --data, ERANNTAG_DATA"
        )
    return Dataset(RECIPE, tuple(examples), tuple(missing))


def _find(data: str | None) -> tuple[Path, dict[Path, str]]:
    """The folder, and its tables -> their parts."""
    names = ", ".join(TABLES)
    if not data:
        clips = "(those that there are) and the clips anywhere below it, named by YTID"
        raise DataError(f"audioset: where is the data? Give --data or set ERANNTAG_DATA to a folder with {names} {clips}")
    tried = [Path(data, folder) for folder in ("", "audioset", "AudioSet")]
    for root in tried:
        for folder in (root, root / "metadata"):
            if tables := {folder / name: split for name, split in TABLES.items() if (folder / name).is_file()}:
                check_classes(folder / "class_labels_indices.csv")
                return root, tables
    looked = ", ".join(map(str, tried))
    raise DataError(
        f"audioset: none of {names} in {looked}, nor in metadata/ there; --data or ERANNTAG_DATA must name a "
        "folder that holds them"
    )


def check_classes(path: Path) -> None:
    """DataError if the official list of classes at `path` is not ours; fine if there is none."""
    if path.is_file():
        with open(path, newline="", encoding="utf-8-sig") as file:
            theirs = [row.get("mid") for row in csv.DictReader(file)]
        if theirs != list(CLASSES):
            raise DataError(f"audioset: {path} does not list the {len(CLASSES)} official classes in their order")


def segments(table: Path) -> Iterator[tuple[str, float, float, tuple[int, ...]]]:
    """The rows of an official table: (video, start in s, end in s, class indices).

    The official files have comments (#), and a space after each comma, also before the quotes.
    """
    with open(table, newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file, skipinitialspace=True)
        try:
            for row in rows:
                if row and not row[0].startswith("#") and row[0] != "YTID":
                    video, start, end, mids = row
                    yield video, float(start), float(end), tuple(sorted({INDEX[mid.strip()] for mid in mids.split(",")}))
        except KeyError as error:
            raise DataError(f"audioset: {table} line {rows.line_num}: {error} is none of the {len(CLASSES)} classes") from None
        except (ValueError, csv.Error) as error:
            raise DataError(f"audioset: {table} line {rows.line_num} is not AudioSet's: {error}") from None


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
