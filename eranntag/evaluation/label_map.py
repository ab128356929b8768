"""Mapping of a checkpoint's classes to a recipe's: the same classes, a subset, or labels that have the same meaning."""

from dataclasses import dataclass

import numpy as np

from eranntag.errors import UsageError
from eranntag.types import Checkpoint, Recipe


@dataclass(frozen=True)
class LabelMap:
    """For each class of a recipe, the `columns` of a checkpoint's scores whose labels mean it.

    `mapped`: those are the labels of the recipe's `audioset_labels` instead of its own; then a class may have none.
    """

    columns: tuple[tuple[int, ...], ...]
    mapped: bool = False

    @property
    def missing(self) -> tuple[int, ...]:
        """The indices of classes without any label, which cannot be recognized."""
        return tuple(index for index, columns in enumerate(self.columns) if not columns)

    def scores(self, scores: np.ndarray) -> np.ndarray:
        """Return (clips, the recipe's classes) of (clips, the checkpoint's classes): the maximum over the labels of a class,
        0 where it has none."""
        result = np.zeros((len(scores), len(self.columns)), scores.dtype)
        for index, columns in enumerate(self.columns):
            if columns:
                result[:, index] = scores[:, columns].max(1)
        return result


def between(checkpoint: Checkpoint, recipe: Recipe) -> LabelMap:
    """Return the map to the recipe's own labels if the checkpoint has all of them, else to its labels of AudioSet.

    Raises UsageError where the checkpoint lacks a label of each.
    """
    positions = {label: index for index, label in enumerate(checkpoint.labels)}
    own_missing = [label for label in recipe.labels if label not in positions]
    if not own_missing:
        return LabelMap(tuple((positions[label],) for label in recipe.labels))
    meanings = [recipe.audioset_labels.get(label, ()) for label in recipe.labels]
    mapped_missing = [label for labels in meanings for label in labels if label not in positions]
    if mapped_missing or not any(meanings):
        message = f"{checkpoint.name} has {len(positions)} classes of its own, not those of {recipe.name}: it has no "
        message += repr(own_missing[0])
        if mapped_missing:
            message += f", nor {mapped_missing[0]!r}, which the map to AudioSet's labels needs"
        raise UsageError(message)
    return LabelMap(tuple(tuple(positions[label] for label in labels) for labels in meanings), mapped=True)
