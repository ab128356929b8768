"""How good a checkpoint is on a data set: the same path from file to scores as `predict`, then metrics."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from typing import Any

import numpy as np

from eranntag import models, registry
from eranntag.evaluation import label_map, metrics
from eranntag.evaluation.label_map import LabelMap
from eranntag.evaluation.low_rate import narrowed
from eranntag.inference.pipeline import predict_examples
from eranntag.inference.tagger import Tagger
from eranntag.recipes import to_evaluate, was_trained_on
from eranntag.types import Checkpoint, Dataset, Failure, Recipe


@dataclass(frozen=True, eq=False)
class Result:
    """What a checkpoint says of a data set's clips, and the truth: `scores` (clips, classes) float32 in [0, 1] and
    `targets`, bool, both in the order of the recipe's labels.

    `failures` could not be read, `missing` clips of the data set are not there at all. `trained_on` of the clips were in the
    checkpoint's own training set, as far as its header knows, and make the measures too good. All were heard as if recorded
    at no more than `sample_rate_hz`.
    """

    checkpoint: Checkpoint
    recipe: Recipe
    fold: int | None
    scores: np.ndarray
    targets: np.ndarray
    failures: tuple[Failure, ...] = ()
    missing: int = 0
    trained_on: int = 0
    sample_rate_hz: int | None = None

    @property
    def clips(self) -> int:
        return len(self.scores)

    @property
    def single(self) -> bool:
        """Whether a clip has exactly one class."""
        return self.recipe.activation == "softmax"

    @property
    def value(self) -> float:
        """The recipe's own measure."""
        return self.measures[self.recipe.metric]

    @property
    def standard_error(self) -> float:
        """Of the accuracy, as of a share of `clips` independent clips."""
        accuracy = self.measures["accuracy"]
        return sqrt(accuracy * (1 - accuracy) / self.clips)

    @cached_property
    def label_map(self) -> LabelMap:
        """How `scores` were made of the checkpoint's own."""
        return label_map.between(self.checkpoint, self.recipe)

    @property
    def unmapped(self) -> list[dict[str, Any]]:
        """The classes that no label of the checkpoint means, and how many clips have them."""
        counts = self.targets.sum(0)
        return [{"label": self.recipe.labels[index], "clips": int(counts[index])} for index in self.label_map.missing]

    @cached_property
    def average_precision(self) -> np.ndarray:
        return metrics.average_precision(self.scores, self.targets)

    @cached_property
    def roc_auc(self) -> np.ndarray:
        return metrics.roc_auc(self.scores, self.targets)

    @cached_property
    def measures(self) -> dict[str, float]:
        """Of all classes together; where a clip has one class, mAP, mAUC and d' are of each class against the rest."""
        auc = metrics.mean(self.roc_auc)
        ranking = {"mAP": metrics.mean(self.average_precision), "mAUC": auc, "d_prime": metrics.d_prime(auc)}
        if not self.single:
            return {**ranking, "micro_AP": metrics.micro_average_precision(self.scores, self.targets)}
        accuracy = metrics.accuracy(self.scores, self.targets.argmax(1))
        best = self.scores.argmax(1)[:, None] == np.arange(len(self.recipe.labels))
        return {"accuracy": accuracy, **ranking, "f1_macro": metrics.decisions(best, self.targets)["f1_macro"]}

    @cached_property
    def decisions(self) -> dict[str, dict[str, float]]:
        """Precision, recall and F1 from a score of "0.5" on, and from the checkpoint's "calibrated" thresholds if it has any
        for these classes; empty where a clip has one class."""
        if self.single:
            return {}
        thresholds = {"0.5": np.array(0.5)}
        if self.checkpoint.thresholds and not self.label_map.mapped:
            order = [column for (column,) in self.label_map.columns]
            thresholds["calibrated"] = np.array(self.checkpoint.thresholds)[order]
        return {name: metrics.decisions(self.scores >= least, self.targets) for name, least in thresholds.items()}

    @cached_property
    def confusion(self) -> np.ndarray:
        """(classes, classes) counts of clips that have one class: rows are the truth."""
        return metrics.confusion_matrix(self.scores, self.targets.argmax(1))

    @cached_property
    def per_class(self) -> list[dict[str, Any]]:
        """A row a class, in label order: `clips` that have it, then its measures; NaN for one that it cannot have, such as the
        precision of a class that was never said. `threshold` is the one with the highest F1 (`f1`) on these clips."""
        columns = {"clips": self.targets.sum(0)}
        if self.single:
            right = np.diag(self.confusion)
            with np.errstate(invalid="ignore"):
                columns |= {"recall": right / self.confusion.sum(1), "precision": right / self.confusion.sum(0)}
        columns |= {"AP": self.average_precision, "AUC": self.roc_auc}
        if not self.single:
            columns["f1"] = metrics.best_f1(self.scores, self.targets)
            columns["threshold"] = metrics.best_thresholds(self.scores, self.targets)
        values = zip(*(column.tolist() for column in columns.values()), strict=True)
        rows = zip(self.recipe.labels, values, strict=True)
        return [{"label": label, **dict(zip(columns, row, strict=True))} for label, row in rows]

    def confusions(self, count: int = 10) -> list[tuple[str, str, int]]:
        """The commonest mistakes: (true label, said label, clips); none where classes are independent."""
        if not self.single:
            return []
        labels, wrong = self.recipe.labels, self.confusion - np.diag(np.diag(self.confusion))
        order = np.argsort(-wrong, axis=None, kind="stable")[:count]
        pairs = [divmod(int(index), len(labels)) for index in order]
        return [(labels[i], labels[j], int(wrong[i, j])) for i, j in pairs if wrong[i, j]]

    def paper(self) -> list[dict[str, Any]]:
        """The published results of this architecture on this data set beside ours."""
        rows = [(row, row.metric or self.recipe.metric) for row in self.recipe.paper if row.model == self.architecture]
        return [
            {"how": row.how, "table": row.table, "metric": metric, "paper": row.value}
            | {"ours": self.measures[metric], "difference": self.measures[metric] - row.value}
            for row, metric in rows
        ]

    def unpublished(self) -> str:
        """What to say when `paper` has no row."""
        others = ", ".join(dict.fromkeys(row.model for row in self.recipe.paper))
        there = f"those there are of {others}" if others else "nor of any other model with these classes"
        return f"no published result of {self.architecture} on {self.recipe.name}; {there}"

    @property
    def architecture(self) -> str:
        """With the front-end, if it is not its paper's; an ensemble has but its name."""
        family = self.checkpoint.family
        if family not in registry.names("eranntag.models"):
            return self.checkpoint.name
        name = models.name_of(family, registry.get("eranntag.models", family).Config(**self.checkpoint.model))
        return models.described(name, family, self.checkpoint.frontend_family)

    def summary(self) -> list[str]:
        """For people, one line each: the recipe's measure, the others, and what they are not about."""
        fold = f", fold {self.fold}" if self.fold is not None else ""
        rate = f", at {self.sample_rate_hz} Hz" if self.sample_rate_hz is not None else ""
        name, metric = f"{self.checkpoint.name} on {self.recipe.name}{fold}{rate}", self.recipe.metric
        error = f"standard error {self.standard_error:.4f}, " if self.single else ""
        lines = [f"{name}: {metric} {self.value:.4f} ({error}{self.clips} clips)"]
        lines.append("  ".join(f"{name} {value:.4f}" for name, value in self.measures.items() if name != metric))
        lines += self._labels()
        for name, measures in self.decisions.items():
            lines.append(f"thresholds {name}: " + "  ".join(f"{key} {value:.4f}" for key, value in measures.items()))
        ranked = np.isfinite(self.average_precision).sum()
        if ranked < len(self.recipe.labels):
            lines.append(f"mAP is over {ranked} of {len(self.recipe.labels)} classes: the others have no clips here")
        if self.failures or self.missing:
            lines.append(f"not evaluated: {len(self.failures)} unreadable and {self.missing} missing clips")
        if self.trained_on:
            remedy = "; choose --fold" if self.recipe.folds and self.fold is None else ""
            lines.append(
                f"{self.trained_on} of the clips were in its training set: this says little about other sounds{remedy}"
            )
        return lines

    def _labels(self) -> list[str]:
        """Where the checkpoint has other labels than the recipe: what the scores are of."""
        classes, count = len(self.recipe.labels), len(self.checkpoint.labels)
        if not self.label_map.mapped:
            return [f"{classes} of the checkpoint's {count} classes"] if count > classes else []
        lines = [f"labels mapped: the score of a class is the highest of its labels' among the checkpoint's {count}"]
        if self.unmapped:
            names = ", ".join(f"{row['label']} ({row['clips']} clip{'s' * (row['clips'] != 1)})" for row in self.unmapped)
            lines.append(f"cannot be recognized, as no label of the checkpoint means them: {names}")
        return lines

    def to_dict(self, paper: bool = False) -> dict[str, Any]:
        """For JSON: None stands for NaN and infinity."""
        record: dict[str, Any] = {
            "checkpoint": self.checkpoint.name,
            "recipe": self.recipe.name,
            "fold": self.fold,
            "sample_rate_hz": self.sample_rate_hz,
            "clips": self.clips,
            "failed": [{"source": failure.source, "reason": failure.reason} for failure in self.failures],
            "missing": self.missing,
            "trained_on": self.trained_on,
            "metric": self.recipe.metric,
            "value": self.value,
            **self.measures,
            "classes": len(self.recipe.labels),
            "checkpoint_classes": len(self.checkpoint.labels),
            "labels_mapped": self.label_map.mapped,
            "unmapped": self.unmapped,
            "classes_in_mAP": int(np.isfinite(self.average_precision).sum()),
            "classes_in_mAUC": int(np.isfinite(self.roc_auc).sum()),
        }
        if self.single:
            record["standard_error"] = self.standard_error
        if paper:
            record["paper"] = self.paper()
        if self.decisions:
            record["thresholds"] = self.decisions
        record["per_class"] = self.per_class
        if self.single:
            record["confusions"] = [{"true": true, "said": said, "clips": clips} for true, said, clips in self.confusions()]
        finite: dict[str, Any] = jsonable(record)
        return finite


def evaluate(
    tagger: Tagger,
    dataset: Dataset,
    fold: int | None = None,
    batch: int | None = None,
    step: Callable[[], None] = lambda: None,
    sample_rate_hz: int | None = None,
) -> Result:
    """Evaluate on the clips of `fold`, else the data set's test clips, else all; heard as if recorded at no more than
    `sample_rate_hz`.

    Raises UsageError when the checkpoint has neither the recipe's classes nor the labels that mean them, DataError when no clip
    can be read.
    """
    recipe, checkpoint = dataset.recipe, tagger.checkpoint
    labels = label_map.between(checkpoint, recipe)
    chosen = to_evaluate(dataset, fold)
    scores, true, failures = [], [], list[Failure]()
    for example, result in predict_examples(narrowed(tagger, sample_rate_hz), recipe.name, chosen, failures, batch, step):
        scores.append(result.scores)
        true.append(example.targets)
    ours, targets = labels.scores(np.stack(scores)), metrics.multi_hot(true, len(recipe.labels))
    missing, trained_on = len(dataset.missing), sum(was_trained_on(example, checkpoint, recipe) for example in chosen)
    return Result(checkpoint, recipe, fold, ours, targets, tuple(failures), missing, trained_on, sample_rate_hz)


def jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: jsonable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [jsonable(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
