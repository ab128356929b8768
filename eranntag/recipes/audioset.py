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

from eranntag.recipes import _audioset, _paper
from eranntag.recipes._audioset import BALANCED, CLASSES as CLASSES, EVALUATION, PSLA, UNBALANCED
from eranntag.types import Dataset, Recipe, TrainingConfig

SCRATCH = {"2-4": 0.430, "2-5": 0.446, "0-6": 0.447, "1-6": 0.450, "2-6": 0.448, "3-6": 0.436}
ABLATION = {"no mixup": 0.430, "standard mixup": 0.443, "log-mel mixup": 0.439, "no SpecAugment": 0.441}
PSLA_ABLATION = {  # all with ImageNet weights
    "": 0.4397,
    "no mixup": 0.4265,
    "no mixup, no masking": 0.3721,
    "no balanced sampling, no mixup, no masking": 0.3939,
}
PSLA_BASELINE = "scratch, no ImageNet, no balanced sampling, no mixup, no masking"

RECIPE = Recipe(
    name="audioset",
    title="AudioSet audio events",
    licence="CC BY 4.0",
    labels=tuple(CLASSES.values()),
    activation="sigmoid",
    folds=(),
    metric="mAP",
    training=TrainingConfig(
        crop_seconds=8.0,
        iterations=500_000,
        learning_rate=1e-3,
        evaluate_every=5_000,
        schedule="one-cycle",
        sampler="balanced",
    ),
    fine_tuning={"iterations": 50_000, "learning_rate": 1e-4, "evaluate_every": 5_000},
    families={  # PSLA, Section II-C: 30 epochs of 1 953 082 clips
        "psla": {
            **PSLA,
            "iterations": 585_930,
            "learning_rate": 1e-4,
            "evaluate_every": 19_531,
            "keep_every": 19_531,
            "schedule": "psla-full",
            "sampler": "weighted",
        }
    },
    paper=(
        *_paper.erann_rows("ERANN v2, Table 4", SCRATCH),
        *(_paper.row("erann-2-5", value, "ERANN v2, Table 3", f"scratch, {how}") for how, value in ABLATION.items()),
        *_audioset.psla_rows("Table IV", PSLA_ABLATION),
        _paper.row("psla", 0.3723, "PSLA, Table II", PSLA_BASELINE),
        _paper.row("psla-resnet-50", 0.3790, "PSLA, Table II", PSLA_BASELINE),
    ),
)


def read(data: str | None = None) -> Dataset:
    """The clips of all tables that are there, each clip once, in their order. DataError when none of them is there."""
    tables = {EVALUATION: "test", BALANCED: "train", UNBALANCED: "train"}  # what is in the first is not trained on
    return _audioset.read(RECIPE, data, tables)
