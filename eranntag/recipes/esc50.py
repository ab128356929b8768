"""ESC-50: 2000 clips of 5 s, 50 classes, 5 folds. Piczak, "ESC: Dataset for Environmental Sound Classification", 2015.

Layout, as in the author's repository (`ESC-50-master/`):

    meta/esc50.csv      filename,fold,target,category,...
    audio/1-100032-A-0.wav

Another ending than the CSV's .wav is fine (.flac, .ogg ...). The protocol is ERANN v2's, Sections 4.1, 4.3, Table 6.

`_esc50_to_audioset.csv` has the labels of AudioSet that mean a category, by their definitions in the ontology: "Clicking" is a
mouse click, "Mouse" is a rodent. The labels are Google's (CC BY 4.0), the map is this project's.
"""

from pathlib import Path

from eranntag.errors import DataError
from eranntag.recipes import _csv, _layout, _paper, find_root
from eranntag.types import Dataset, Example, Recipe, TrainingConfig

LABELS = (
    "dog rooster pig cow frog cat hen insects sheep crow rain sea_waves crackling_fire crickets chirping_birds "
    "water_drops wind pouring_water toilet_flush thunderstorm crying_baby sneezing clapping breathing coughing footsteps "
    "laughing brushing_teeth snoring drinking_sipping door_wood_knock mouse_click keyboard_typing door_wood_creaks "
    "can_opening washing_machine vacuum_cleaner clock_alarm clock_tick glass_breaking helicopter chainsaw siren car_horn "
    "engine train church_bells airplane fireworks hand_saw"
).split()

TABLE = "ERANN v2, Table 6"
SCRATCH = {"0-3": 0.882, "1-3": 0.892, "0-4": 0.892, "1-4": 0.891, "2-4": 0.880, "2-5": 0.879}
FINE_TUNED = {"2-4": 0.949, "2-5": 0.961, "0-6": 0.953, "1-6": 0.954, "2-6": 0.959}

RECIPE = Recipe(
    name="esc50",
    title="ESC-50 environmental sounds",
    licence="CC BY-NC 3.0",
    labels=tuple(LABELS),
    activation="softmax",
    folds=(1, 2, 3, 4, 5),
    metric="accuracy",
    training=TrainingConfig(
        crop_seconds=4.0,
        iterations=20_000,
        learning_rate=2e-4,
        evaluate_every=200,
    ),
    fine_tuning={"iterations": 2_000, "learning_rate": 1e-4, "evaluate_every": 50},
    paper=(
        *_paper.erann_rows(TABLE, SCRATCH),
        *_paper.erann_rows(TABLE, FINE_TUNED, "fine-tuned"),
    ),
    audioset_labels=_csv.audioset_labels("esc50"),
)


def read(data: str | None = None) -> Dataset:
    """All clips of the CSV, in its order. DataError when none of them is there."""
    root = find_root("esc50", data, ("esc50", "ESC-50-master", "ESC-50"), "meta/esc50.csv")
    files = _layout.by_stem(root / "audio")
    examples, missing = [], []
    for where, row in _csv.rows("esc50", root / "meta" / "esc50.csv", ("filename", "fold", "target")):
        with _csv.translate_row_errors(where, "ESC-50's"):
            targets, fold = (range(50)[int(row["target"])],), int(row["fold"])
            if path := files.get(Path(row["filename"]).stem):
                examples.append(Example(path, targets, fold, group=Path(path).stem.split("-")[1]))
            else:
                missing.append(row["filename"])
    if not examples:
        raise DataError(f"esc50: {root / 'audio'} holds none of the clips that {root / 'meta' / 'esc50.csv'} names")
    return Dataset(RECIPE, tuple(examples), tuple(missing))
