"""Training, validation and test parts of a data set."""

from dataclasses import dataclass

import numpy as np

from eranntag.errors import DataError
from eranntag.recipes import check_fold, part, was_trained_on
from eranntag.types import Checkpoint, Dataset, Example, Recipe


@dataclass(frozen=True)
class Splits:
    """`held_out` clips are evaluated during the run (and `--select best` chooses by them); `test` clips only after it.

    `has_validation`: whether `held_out` differs from the clips that are reported.
    """

    training: list[Example]
    held_out: list[Example]
    test: list[Example]
    has_validation: bool = False


@dataclass(frozen=True)
class SplitReview:
    """The reasons for which a run's measures may mislead.

    `untrained_labels` have no training clip; `seen_by_base` evaluated clips were in the training set of the checkpoint that is
    fine-tuned, and `seen_by_teacher` reported ones in that of the teacher.
    """

    splits: Splits
    untrained_labels: tuple[str, ...] = ()
    seen_by_base: int = 0
    seen_by_teacher: int = 0


def split_dataset(dataset: Dataset, fold: int | None = None, validation: float = 0.0, seed: int = 0) -> Splits:
    """The splits of a run. The papers hold the fold (or the test part) out and select on it: `validation` 0.

    With a share above 0 that part stays unseen until the end, and `held_out` is taken from the training clips; a validation
    part of the data's own takes precedence. Raises UsageError for an unknown fold, and DataError for empty parts.
    """
    check_fold(dataset.recipe, fold)
    training = [example for example in part(dataset, "train") if fold is None or example.fold != fold]
    reported = part(dataset, "test") if fold is None else [e for e in part(dataset, "train") if e.fold == fold]
    if fold is not None and not reported:
        raise DataError(f"{dataset.recipe.name}: none of the clips there belongs to fold {fold}")
    held_out = part(dataset, "validation")
    if not held_out and validation:
        training, held_out = split_off_validation(training, validation, seed)
    if not training:
        without = f" without fold {fold}" if fold is not None else ""
        raise DataError(f"{dataset.recipe.name}: no clips are left to train on{without}")
    if not held_out and not validation:
        return Splits(training, reported, [])
    return Splits(training, held_out, reported, has_validation=bool(held_out))


def split_off_validation(examples: list[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """(training, validation): about `share` of the recordings of each class become validation.

    The clips of one recording stay together, and no class loses its last recording to the validation.
    """
    labels: dict[str, set[int]] = {}  # recording -> its classes; -1 stands for clips without labels
    recordings: dict[int, set[str]] = {}  # class -> its recordings
    for example in examples:
        for label in example.targets or (-1,):
            labels.setdefault(recording_of(example), set()).add(label)
            recordings.setdefault(label, set()).add(recording_of(example))
    names = sorted(labels)
    order = np.random.default_rng([seed, 7]).permutation(len(names))
    rank = {names[index]: position for position, index in enumerate(order)}
    remaining = {label: len(theirs) for label, theirs in recordings.items()}  # recordings in the training part
    chosen: set[str] = set()
    for label in sorted(recordings):
        total = len(recordings[label])
        wanted = total - max(1, round(share * total))
        for recording in sorted(recordings[label] - chosen, key=rank.__getitem__):
            if remaining[label] <= wanted:
                break
            if all(remaining[other] > 1 for other in labels[recording]):
                chosen.add(recording)
                for other in labels[recording]:
                    remaining[other] -= 1
    training = [example for example in examples if recording_of(example) not in chosen]
    return training, [example for example in examples if recording_of(example) in chosen]


def count_shared_recordings(splits: Splits) -> int:
    """The number of recordings with clips both in training and in evaluation, which a data set's own folds may have."""
    evaluated = splits.held_out + splits.test
    return len({e.group for e in splits.training if e.group} & {e.group for e in evaluated if e.group})


def recording_of(example: Example) -> str:
    """The recording that a clip comes from; without a `group` a clip is a recording of its own."""
    return example.group or str(example.path)


def review(recipe: Recipe, splits: Splits, base: Checkpoint | None, teacher: Checkpoint | None = None) -> SplitReview:
    """The review of the splits of a run that fine-tunes `base`, or none, with the soft labels of `teacher`, or without."""
    trained = {label for example in splits.training for label in example.targets}
    untrained = tuple(label for index, label in enumerate(recipe.labels) if index not in trained)

    def seen(checkpoint: Checkpoint | None, examples: list[Example]) -> int:
        return sum(was_trained_on(example, checkpoint, recipe) for example in examples) if checkpoint else 0

    reported = splits.test or splits.held_out
    return SplitReview(splits, untrained, seen(base, splits.held_out + splits.test), seen(teacher, reported))
