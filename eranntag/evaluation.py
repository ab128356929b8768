"""How good a checkpoint is on a data set: the same path from file to scores as `predict`, then metrics."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eranntag import metrics
from eranntag.errors import DataError, UsageError
from eranntag.predict import predict
from eranntag.recipes import check_fold
from eranntag.tagger import Tagger
from eranntag.types import Example, Failure, Prediction, Recipe


@dataclass(frozen=True)
class Result:
    """`confusion` (classes, classes): rows are the truth. `failures` were not evaluated. `trained_on` of the clips were in
    the checkpoint's own training set, as far as its header knows, and make the measures too good."""

    checkpoint: str
    recipe: str
    fold: int | None
    clips: int
    accuracy: float
    labels: tuple[str, ...]
    confusion: np.ndarray
    failures: tuple[Failure, ...]
    trained_on: int = 0

    def per_class(self) -> list[tuple[str, int, float, float]]:
        """(label, clips, recall, precision) in label order; precision is NaN for a class that was never said."""
        right, true, said = np.diag(self.confusion), self.confusion.sum(1), self.confusion.sum(0)
        with np.errstate(invalid="ignore"):
            recall, precision = right / true, right / said
        return list(zip(self.labels, true.tolist(), recall.tolist(), precision.tolist(), strict=True))

    def confusions(self, count: int = 10) -> list[tuple[str, str, int]]:
        """The commonest mistakes: (true label, said label, clips)."""
        wrong = self.confusion - np.diag(np.diag(self.confusion))
        order = np.argsort(-wrong, axis=None, kind="stable")[:count]
        pairs = [divmod(int(index), len(self.labels)) for index in order]
        return [(self.labels[i], self.labels[j], int(wrong[i, j])) for i, j in pairs if wrong[i, j]]

    def to_dict(self) -> dict[str, Any]:
        return {
            "checkpoint": self.checkpoint,
            "recipe": self.recipe,
            "fold": self.fold,
            "clips": self.clips,
            "failed": [{"source": failure.source, "reason": failure.reason} for failure in self.failures],
            "accuracy": self.accuracy,
            "trained_on": self.trained_on,
            "per_class": [
                {"label": label, "clips": clips, "recall": _number(recall), "precision": _number(precision)}
                for label, clips, recall, precision in self.per_class()
            ],
            "confusions": [{"true": t, "said": s, "clips": n} for t, s, n in self.confusions()],
        }


def evaluate(
    tagger: Tagger,
    recipe: Recipe,
    examples: Sequence[Example],
    fold: int | None = None,
    batch: int | None = None,
    step: Callable[[], None] = lambda: None,
) -> Result:
    """Evaluate on the clips of `fold` (all for None). Raises UsageError when the classes are not the recipe's."""
    if set(tagger.labels) != set(recipe.labels):
        raise UsageError(f"{tagger.checkpoint.name} has {len(tagger.labels)} classes of its own, not those of {recipe.name}")
    check_fold(recipe, fold)
    chosen = [example for example in examples if fold is None or example.fold == fold]
    if not chosen:
        raise DataError(f"{recipe.name}: none of the clips there belongs to fold {fold}")
    order = [tagger.labels.index(label) for label in recipe.labels]
    scores, targets, failures = [], [], []
    results = predict(tagger, (example.path for example in chosen), batch)
    for example, result in zip(chosen, results, strict=True):
        if isinstance(result, Prediction):
            scores.append(result.scores[order])
            targets.append(example.targets[0])
        else:
            failures.append(result)
        step()
    if not scores:
        raise DataError(f"{recipe.name}: no clip could be read; the first: {failures[0].source}: {failures[0].reason}")
    said, truth = np.stack(scores), np.array(targets)
    accuracy, confusion = metrics.accuracy(said, truth), metrics.confusion_matrix(said, truth)
    name = tagger.checkpoint.name
    own = tagger.checkpoint.training
    trained_on = sum(example.fold != own.get("fold") for example in chosen) if own.get("recipe") == recipe.name else 0
    return Result(name, recipe.name, fold, len(truth), accuracy, recipe.labels, confusion, tuple(failures), trained_on)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
