"""Label enhancement: labels that annotators left out, found by a teacher network and an ontology. Algorithm 2 of Gong, Chung
and Glass, "PSLA: Improving Audio Tagging with Pretraining, Sampling, Labeling, and Aggregation", 2021.

A clip that is labeled with a class gets a neighbor of that class too if the teacher, which was trained on the labels as they
are, scores the neighbor above its threshold: a typical score of the clips that are labeled with it. `ontology` has the
neighbors, `teacher` the scores, and `table` writes what to add into a file of its own. Here: the algorithm.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np

from eranntag.evaluation import metrics
from eranntag.training.label_enhancement.ontology import Neighbors
from eranntag.training.label_enhancement.teacher import Scores
from eranntag.types import Example, Failure, Recipe

BLOCK_CLIPS = 4096

Threshold = str | float  # "mean", "median" or a percentile


def thresholds(scores: np.ndarray, targets: Sequence[tuple[int, ...]], which: Threshold = "mean") -> np.ndarray:
    """(classes,) float64: the mean, the median or a percentile (0 to 100, linear between scores) of the scores of a class over
    the clips that are labeled with it; NaN for a class without any. `scores` (clips, classes), NaN for unreadable clips."""
    clips = np.repeat(np.arange(len(targets)), np.fromiter(map(len, targets), np.int64, len(targets)))
    classes = np.fromiter(chain.from_iterable(targets), np.int64, len(clips))
    values = np.asarray(scores[clips, classes], np.float64)
    values, classes = values[~np.isnan(values)], classes[~np.isnan(values)]
    order = np.argsort(classes, kind="stable")
    groups = np.split(values[order], np.searchsorted(classes[order], np.arange(1, scores.shape[1])))
    return np.array([_typical(group, which) if len(group) else np.nan for group in groups])


def _typical(scores: np.ndarray, which: Threshold) -> float:
    if which == "mean":
        return float(np.mean(scores))
    return float(np.percentile(scores, 50 if which == "median" else float(which)))


def additions(
    scores: np.ndarray,
    targets: Sequence[tuple[int, ...]],
    least: np.ndarray,
    related: np.ndarray,
    block: int = BLOCK_CLIPS,
) -> np.ndarray:
    """(n, 2) clip and class of every label to add, in order: a neighbor (`related`, (classes, classes) bool) of an original
    label that is not there yet and scores above (not at) its threshold in `least`. NaN is above nothing, nor is anything above
    it. `scores` (clips, classes) of any float, `block` clips at a time in memory."""
    steps = related.astype(np.float32)
    found = [np.empty((0, 2), np.int64)]
    for first in range(0, len(targets), block):
        present = metrics.multi_hot(targets[first : first + block], len(least))
        candidates = (present.astype(np.float32) @ steps > 0) & ~present
        found.append(np.argwhere(candidates & (scores[first : first + block] > least)) + np.array((first, 0)))
    return np.concatenate(found)


@dataclass(frozen=True, eq=False)
class Enhancement:
    """What would be added to the labels of `clips` clips: `pairs` (n, 2), the clip's place and the class. `positives`
    (classes,) count the original labels; `failures` could not be read and are left as they are."""

    recipe: Recipe
    clips: int
    neighbors: Neighbors
    positives: np.ndarray
    thresholds: np.ndarray
    pairs: np.ndarray
    failures: tuple[Failure, ...] = ()

    @cached_property
    def added(self) -> np.ndarray:
        """(classes,) labels to add."""
        return np.bincount(self.pairs[:, 1], minlength=len(self.positives))

    @property
    def percent(self) -> float:
        """Added labels in % of the original ones, as in Table VIII."""
        return 100 * len(self.pairs) / max(int(self.positives.sum()), 1)

    @property
    def per_class(self) -> list[dict[str, Any]]:
        """A row a class: `positives`, `threshold` (None without positives), `added`, and that in `percent` of the positives."""
        columns = (array.tolist() for array in (self.positives, self.thresholds, self.added))
        return [
            {
                "label": label,
                "positives": positives,
                "threshold": threshold if positives else None,
                "added": added,
                "percent": 100 * added / positives if positives else None,
            }
            for label, positives, threshold, added in zip(self.recipe.labels, *columns, strict=True)
        ]

    def summary(self) -> list[str]:
        """For people, one line each."""
        classes, without = len(self.positives), int((self.positives == 0).sum())
        clips = len(np.unique(self.pairs[:, 0]))
        lines = [
            f"{len(self.pairs)} labels to add to {clips} of {self.clips} training clips: {self.percent:.1f} % of the "
            f"{int(self.positives.sum())} there are, {int((self.added > 0).sum())} of {classes} classes affected",
        ]
        if absent := self.neighbors.absent:
            lines.append(f"not in the ontology: {len(absent)} classes: {', '.join(absent[:5])}{' ...' * (len(absent) > 5)}")
        if without:
            lines.append(f"never added, as no clip is labeled with them: {without} classes")
        if self.failures:
            lines.append(f"left as they are: {len(self.failures)} unreadable clips")
        return lines

    def to_dict(self) -> dict[str, Any]:
        return {
            "recipe": self.recipe.name,
            "clips": self.clips,
            "failed": [{"source": failure.source, "reason": failure.reason} for failure in self.failures],
            "labels": int(self.positives.sum()),
            "added": len(self.pairs),
            "percent": self.percent,
            "classes": len(self.positives),
            "classes_affected": int((self.added > 0).sum()),
            "classes_not_in_ontology": list(self.neighbors.absent),
            "per_class": self.per_class,
        }


def enhance(
    scores: Scores, clips: Sequence[Example], recipe: Recipe, neighbors: Neighbors, which: Threshold = "mean"
) -> Enhancement:
    """Algorithm 2 on the clips that could be read: `scores` has a row for each of `clips`."""
    targets = [clip.targets for clip in clips]
    readable = ~np.isnan(scores.values[:, 0])
    least = thresholds(scores.values, targets, which)
    pairs = additions(scores.values, targets, least, neighbors.related)
    originals = np.fromiter(chain.from_iterable(t for t, there in zip(targets, readable, strict=True) if there), np.int64)
    positives = np.bincount(originals, minlength=len(recipe.labels))
    return Enhancement(recipe, int(readable.sum()), neighbors, positives, least, pairs, scores.failures)
