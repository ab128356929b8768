"""Scores of a checkpoint's classes -> scores of a recipe's: the same classes, some of many, or those that mean them."""

from dataclasses import dataclass

import numpy as np

from eranntag.errors import UsageError
from eranntag.types import Checkpoint, Recipe


@dataclass(frozen=True)
class LabelMap:
    """Where a recipe's classes are among a checkpoint's: `columns` has the places of the labels that mean each of them.

    `mapped`: these are other labels than the recipe's own, those of its `audioset_labels`; then a class may have none.
    """

    columns: tuple[tuple[int, ...], ...]
    mapped: bool = False

    @property
    def missing(self) -> tuple[int, ...]:
        """The classes that no label means, which cannot be recognized."""
        return tuple(index for index, columns in enumerate(self.columns) if not columns)

    def scores(self, scores: np.ndarray) -> np.ndarray:
        """(clips, the checkpoint's classes) -> (clips, the recipe's classes): the highest score of the labels that mean a
        class, 0 where none does."""
        result = np.zeros((len(scores), len(self.columns)), scores.dtype)
        for index, columns in enumerate(self.columns):
            if columns:
                result[:, index] = scores[:, columns].max(1)
        return result


def between(checkpoint: Checkpoint, recipe: Recipe) -> LabelMap:
    """The recipe's own labels where the checkpoint has them all, whatever else it has; else those of the recipe's map.

    Raises UsageError where the checkpoint lacks one of both.
    """
    places = {label: index for index, label in enumerate(checkpoint.labels)}
    if not (own := [label for label in recipe.labels if label not in places]):
        return LabelMap(tuple((places[label],) for label in recipe.labels))
    meanings = [recipe.audioset_labels.get(label, ()) for label in recipe.labels]
    other = [label for labels in meanings for label in labels if label not in places]
    if other or not any(meanings):
        theirs = f"{checkpoint.name} has {len(places)} classes of its own, not those of {recipe.name}: it has no {own[0]!r}"
        raise UsageError(theirs + (f", nor {other[0]!r}, which the map to AudioSet's labels needs" if other else ""))
    return LabelMap(tuple(tuple(places[label] for label in labels) for labels in meanings), mapped=True)
