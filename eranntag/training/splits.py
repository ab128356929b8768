"""Who trains, who decides when a run is at its best, who is only measured at the end."""

from dataclasses import dataclass

import numpy as np

from eranntag.errors import DataError
from eranntag.recipes import check_fold, part
from eranntag.types import Dataset, Example


@dataclass(frozen=True)
class Division:
    """`held_out` clips are evaluated during the run (and `--select best` chooses by them); `test` clips only after it."""

    training: list[Example]
    held_out: list[Example]
    test: list[Example]
    apart: bool = False  # whether `held_out` is something else than what will be reported


def divide(dataset: Dataset, fold: int | None = None, validation: float = 0.0, seed: int = 0) -> Division:
    """The papers hold the fold (or the test part) out and select on it: `validation` 0. With a share above 0 that part stays
    unseen until the end and `held_out` is carved from the training clips; a validation part of the data's own takes precedence.
    """
    check_fold(dataset.recipe, fold)
    training = [example for example in part(dataset, "train") if fold is None or example.fold != fold]
    reported = part(dataset, "test") if fold is None else [e for e in part(dataset, "train") if e.fold == fold]
    if fold is not None and not reported:
        raise DataError(f"{dataset.recipe.name}: none of the clips there belongs to fold {fold}")
    held_out = part(dataset, "validation")
    if not held_out and validation:
        training, held_out = carve(training, validation, seed)
    apart = bool(held_out)
    if not apart and not validation:
        held_out, reported = reported, []
    if not training:
        without = f" without fold {fold}" if fold is not None else ""
        raise DataError(f"{dataset.recipe.name}: no clips are left to train on{without}")
    return Division(training, held_out, reported, apart)


def carve(examples: list[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """(training, validation): whole groups, so that no recording stands on both sides, about `share` of each class's; no
    class loses its last group to the validation."""
    labels: dict[str, set[int]] = {}  # of each group
    groups: dict[int, set[str]] = {}  # of each class
    for example in examples:
        for label in example.targets or (-1,):
            labels.setdefault(group_of(example), set()).add(label)
            groups.setdefault(label, set()).add(group_of(example))
    everyone = sorted(labels)
    ranking = {everyone[index]: rank for rank, index in enumerate(np.random.default_rng([seed, 7]).permutation(len(everyone)))}
    left = {label: len(theirs) for label, theirs in groups.items()}  # groups that still train
    chosen: set[str] = set()
    for label in sorted(groups):
        wanted = len(groups[label]) - max(1, round(share * len(groups[label])))
        for group in sorted(groups[label] - chosen, key=ranking.__getitem__):
            if left[label] <= wanted:
                break
            if all(left[other] > 1 for other in labels[group]):
                chosen.add(group)
                for other in labels[group]:
                    left[other] -= 1
    training = [example for example in examples if group_of(example) not in chosen]
    return training, [example for example in examples if group_of(example) in chosen]


def straddling(division: Division) -> int:
    """How many recordings have clips on both sides, training and measuring: a data set's own folds may do that."""
    return len({e.group for e in division.training if e.group} & {e.group for e in division.held_out + division.test})


def group_of(example: Example) -> str:
    """The recording of a clip: clips of one never stand on both sides of a split."""
    return example.group or str(example.path)
