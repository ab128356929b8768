"""AudioSet's balanced part alone: 22 176 clips to train on, at least 59 of each class (Gemmeke et al., 2017).

Layout: as for `audioset`, of whose tables `balanced_train_segments.csv` and `eval_segments.csv` are read. The protocol for PSLA
is the paper's (Gong, Chung and Glass, "PSLA: Improving Audio Tagging with Pretraining, Sampling, Labeling, and Aggregation",
arXiv:2102.01243, Section II); ERANN's papers have none: a tenth of AudioSet's iterations.
"""

from eranntag.recipes import _audioset, _paper
from eranntag.recipes._audioset import BALANCED, CLASSES, EVALUATION, PSLA
from eranntag.types import Dataset, Recipe, TrainingConfig

ABLATION = {"": 0.3108, "no mixup": 0.2818, "no mixup, no masking": 0.2385}  # all with ImageNet weights

RECIPE = Recipe(
    name="audioset_balanced",
    title="AudioSet audio events, balanced part",
    licence="CC BY 4.0",
    labels=tuple(CLASSES.values()),
    activation="sigmoid",
    folds=(),
    part_of="audioset",
    metric="mAP",
    training=TrainingConfig(
        crop_seconds=8.0,
        iterations=50_000,
        learning_rate=1e-3,
        evaluate_every=1_000,
        schedule="one-cycle",
    ),
    fine_tuning={"iterations": 5_000, "learning_rate": 1e-4, "evaluate_every": 500},
    families={  # 60 epochs of 20 785 clips
        "psla": {
            **PSLA,
            "iterations": 12_480,
            "learning_rate": 1e-3,
            "evaluate_every": 208,
            "keep_every": 208,
            "schedule": "psla-balanced",
            "sampler": "shuffle",
        }
    },
    paper=(
        *_audioset.psla_rows("Table IV", ABLATION),
        *_audioset.psla_rows("Table VIII, types I and II", {"enhanced labels": 0.3162}),
        _paper.row("psla", 0.1570, "PSLA, Table II", "scratch, no ImageNet, no mixup, no masking"),
        _paper.row("psla-resnet-50", 0.1635, "PSLA, Table II", "scratch, no ImageNet, no mixup, no masking"),
    ),
)


def read(data: str | None = None) -> Dataset:
    """The clips of the two tables, each clip once. DataError when none of them is there."""
    return _audioset.read(RECIPE, data, {EVALUATION: "test", BALANCED: "train"})
