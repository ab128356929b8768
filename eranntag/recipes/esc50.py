"""ESC-50: 2000 clips of 5 s, 50 classes, 5 folds. Piczak, "ESC: Dataset for Environmental Sound Classification", 2015.

Layout, as in the author's repository (`ESC-50-master/`):

    meta/esc50.csv      filename,fold,target,category,...
    audio/1-100032-A-0.wav

Another ending than the CSV's .wav is fine (.flac, .ogg ...). The protocol is ERANN v2's, Sections 4.1, 4.3, Table 6.
"""

import csv
from pathlib import Path

from eranntag import audio
from eranntag.errors import DataError
from eranntag.recipes import find_root
from eranntag.types import Example, Recipe

LABELS = (
    "dog rooster pig cow frog cat hen insects sheep crow rain sea_waves crackling_fire crickets chirping_birds "
    "water_drops wind pouring_water toilet_flush thunderstorm crying_baby sneezing clapping breathing coughing footsteps "
    "laughing brushing_teeth snoring drinking_sipping door_wood_knock mouse_click keyboard_typing door_wood_creaks "
    "can_opening washing_machine vacuum_cleaner clock_alarm clock_tick glass_breaking helicopter chainsaw siren car_horn "
    "engine train church_bells airplane fireworks hand_saw"
).split()

RECIPE = Recipe(
    name="esc50",
    title="ESC-50 environmental sounds",
    licence="CC BY-NC 3.0",
    labels=tuple(LABELS),
    activation="softmax",
    folds=(1, 2, 3, 4, 5),
    metric="accuracy",
    crop_seconds=4.0,
    iterations=20_000,
    batch=32,
    learning_rate=2e-4,
    schedule="constant",
    ema_decay=0.999,
    mixup_alpha=1.0,
    evaluate_every=200,
    paper={
        "erann-0-3": 0.882,
        "erann-1-3": 0.892,
        "erann-0-4": 0.892,
        "erann-1-4": 0.891,
        "erann-2-4": 0.880,
        "erann-2-5": 0.879,
    },
    paper_source="ERANN v2, Table 6, from scratch",
)


def examples(data: str | None = None) -> list[Example]:
    """All clips of the CSV, in its order; one that is missing is found out by whoever reads it. DataError without any."""
    root = find_root(data, ("esc50", "ESC-50-master", "ESC-50"), "meta/esc50.csv")
    folder = root / "audio"
    files = {path.stem: path for path in sorted(folder.glob("*")) if path.suffix[1:].lower() in audio.EXTENSIONS}
    with open(root / "meta" / "esc50.csv", newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        try:
            listed = [(row["filename"], range(50)[int(row["target"])], int(row["fold"])) for row in rows]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise DataError(f"esc50: {file.name} line {rows.line_num} is not ESC-50's: {error!r}") from None
    if not any(Path(name).stem in files for name, _, _ in listed):
        raise DataError(f"esc50: {root / 'audio'} holds none of the clips that {root / 'meta' / 'esc50.csv'} names")
    return [Example(str(files.get(Path(name).stem, folder / name)), (target,), fold) for name, target, fold in listed]
