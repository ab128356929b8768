"""RAVDESS speech: 1440 clips of about 4 s, 24 actors, 8 emotions. Livingstone, Russo, "The Ryerson Audio-Visual Database of
Emotional Speech and Song (RAVDESS)", 2018.

Layout: the clips of `Audio_Speech_Actors_01-24.zip` anywhere below the folder, recognized by their names (any sound ending):

    Actor_01/03-01-01-01-01-01-01.wav       modality-channel-emotion-intensity-statement-repetition-actor

Only speech without video is used: modality 03, channel 01. The protocol is ERANN v2's, Sections 4.1, 4.5, Table 9: four folds,
each actor in one. The paper does not say which: here six actors in a row, so three men (odd numbers) and three women each.
"""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

from eranntag.errors import DataError
from eranntag.recipes import _layout, _paper
from eranntag.types import Dataset, Example, Recipe, TrainingConfig

LABELS = "neutral calm happy sad angry fearful disgust surprised".split()

EXAMPLE = "Actor_01/03-01-01-01-01-01-01.wav"

TABLE = "ERANN v2, Table 9"
SCRATCH = {"1-3": 0.731, "0-4": 0.748, "1-4": 0.741, "2-4": 0.722, "2-5": 0.720}
UNSHIFTED = {"1-3": 0.669, "0-4": 0.705}
FINE_TUNED = {"2-4": 0.730, "2-5": 0.737, "0-6": 0.743, "1-6": 0.735, "2-6": 0.734}

RECIPE = Recipe(
    name="ravdess",
    title="RAVDESS emotional speech",
    licence="CC BY-NC-SA 4.0",
    labels=tuple(LABELS),
    activation="softmax",
    folds=(1, 2, 3, 4),
    metric="accuracy",
    training=TrainingConfig(
        crop_seconds=3.0,
        iterations=20_000,
        learning_rate=2e-4,
        evaluate_every=200,
        augment=("spec-augment", "pitch-shift"),
    ),
    fine_tuning={"iterations": 2_000, "learning_rate": 1e-4, "evaluate_every": 50},
    paper=(
        *_paper.erann_rows(TABLE, SCRATCH),
        *_paper.erann_rows(TABLE, UNSHIFTED, "scratch, no pitch shift"),
        *_paper.erann_rows(TABLE, FINE_TUNED, "fine-tuned"),
    ),
)


def names() -> Iterator[tuple[str, int, int]]:
    """The 1440 clips: (name, emotion from 0, actor from 1). There is no neutral (01) speech of strong intensity (02)."""
    for actor, emotion, intensity, statement, take in product(range(1, 25), range(1, 9), (1, 2), (1, 2), (1, 2)):
        if (emotion, intensity) != (1, 2):
            yield f"03-01-{emotion:02}-{intensity:02}-{statement:02}-{take:02}-{actor:02}", emotion - 1, actor


def read(data: str | None = None) -> Dataset:
    """The clips by actor, in the order of their names. DataError when none of them is there."""
    if not data:
        raise DataError(f"ravdess: where is the data? Give --data or set ERANNTAG_DATA to a folder with {EXAMPLE}")
    tried = [folder for folder in (Path(data, "ravdess"), Path(data, "RAVDESS"), Path(data)) if folder.is_dir()]
    for root in tried:
        files = _layout.by_stem(root)
        examples = tuple(
            Example(files[name], (emotion,), (actor - 1) // 6 + 1, group=f"{actor:02}")
            for name, emotion, actor in names()
            if name in files
        )
        if examples:
            return Dataset(RECIPE, examples, tuple(name for name, *_ in names() if name not in files))
    looked = ", ".join(map(str, tried)) or f"{data}, which is no folder"
    raise DataError(f"ravdess: no speech such as {EXAMPLE} below {looked}; --data or ERANNTAG_DATA must name its folder")
