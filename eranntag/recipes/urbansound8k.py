"""UrbanSound8K: 8732 clips of up to 4 s, 10 classes, 10 folds. Salamon, Jacoby, Bello, "A Dataset and Taxonomy for Urban
Sound Research", 2014.

Layout, as in the authors' archive (`UrbanSound8K/`):

    metadata/UrbanSound8K.csv       slice_file_name,fsID,start,end,salience,fold,classID,class
    audio/fold5/100032-3-0-0.wav

Another ending than the CSV's .wav is fine (.flac, .ogg ...). The protocol is ERANN v2's, Sections 4.1, 4.4, Table 8: no
cropping, so clips are padded to 4 s; the folds are unequal, and the result is the mean of the folds' accuracies.

`_urbansound8k_to_audioset.csv` has the labels of AudioSet (CC BY 4.0, Google) that mean a class.
"""

from pathlib import Path

from eranntag.errors import DataError
from eranntag.recipes import _csv, _layout, _paper, find_root
from eranntag.types import Dataset, Example, Recipe, TrainingConfig

LABELS = (
    "air_conditioner car_horn children_playing dog_bark drilling engine_idling gun_shot jackhammer siren street_music"
).split()

TABLE = "ERANN v2, Table 8"
SCRATCH = {"0-3": 0.823, "1-3": 0.829, "0-4": 0.826, "1-4": 0.835, "2-4": 0.826, "2-5": 0.813}
FINE_TUNED = {"2-4": 0.897, "2-5": 0.903, "0-6": 0.904, "1-6": 0.906, "2-6": 0.908}

RECIPE = Recipe(
    name="urbansound8k",
    title="UrbanSound8K urban sounds",
    licence="CC BY-NC 3.0",
    labels=tuple(LABELS),
    activation="softmax",
    folds=tuple(range(1, 11)),
    metric="accuracy",
    training=TrainingConfig(
        crop_seconds=4.0,
        iterations=20_000,
        learning_rate=2e-4,
        evaluate_every=200,
    ),
    fine_tuning={"iterations": 5_000, "learning_rate": 1e-4, "evaluate_every": 50},
    min_seconds=4,
    paper=(
        *_paper.erann_rows(TABLE, SCRATCH),
        *_paper.erann_rows(TABLE, FINE_TUNED, "fine-tuned"),
    ),
    audioset_labels=_csv.audioset_labels("urbansound8k"),
)


def read(data: str | None = None) -> Dataset:
    """All clips of the CSV, in its order. DataError when none of them is there."""
    root = find_root("urbansound8k", data, ("urbansound8k", "UrbanSound8K"), "metadata/UrbanSound8K.csv")
    table, files = root / "metadata" / "UrbanSound8K.csv", _layout.by_stem(root / "audio")
    examples, missing = [], []
    for where, row in _csv.rows("urbansound8k", table, ("slice_file_name", "fsID", "fold", "class")):
        with _csv.translate_row_errors(where, "UrbanSound8K's"):
            target, fold = LABELS.index(row["class"]), 1 + RECIPE.folds.index(int(row["fold"]))
            if path := files.get(Path(row["slice_file_name"]).stem):
                examples.append(Example(path, (target,), fold, group=row["fsID"]))
            else:
                missing.append(row["slice_file_name"])
    if not examples:
        raise DataError(f"urbansound8k: {root / 'audio'} holds none of the clips that {table} names; see --data, ERANNTAG_DATA")
    return Dataset(RECIPE, tuple(examples), tuple(missing))
