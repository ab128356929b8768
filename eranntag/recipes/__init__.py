"""Data sets and their protocols. One file each; the file name is the recipe's name.

A recipe module has the expected layout and its source in the docstring, `RECIPE` (labels, folds, hyper-parameters, the
paper's numbers) and `read(data) -> Dataset`, which raises DataError when the layout is another.
"""

from eranntag.recipes._lookup import (
    check_classes,
    check_fold,
    check_scores,
    find_root,
    load,
    part,
    to_evaluate,
    was_trained_on,
)
from eranntag.recipes._mixture_sources import PADDED_PRESETS, PRESETS, mixture_backgrounds, mixture_events
from eranntag.recipes._unlabeled import unlabeled

__all__ = [
    "PADDED_PRESETS",
    "PRESETS",
    "check_classes",
    "check_fold",
    "check_scores",
    "find_root",
    "load",
    "mixture_backgrounds",
    "mixture_events",
    "part",
    "to_evaluate",
    "unlabeled",
    "was_trained_on",
]
