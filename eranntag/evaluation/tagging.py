"""Evaluation of a checkpoint on a data set: the same path from file to scores as `predict`, then metrics."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from typing import Any

import numpy as np

from eranntag import models, registry
from eranntag.evaluation import label_map, metrics
from eranntag.evaluation.label_map import LabelMap
from eranntag.evaluation.low_rate import downsampled
from eranntag.inference.pipeline import predict_examples
from eranntag.inference.tagger import Tagger
from eranntag.recipes import to_evaluate, was_trained_on
from eranntag.types import Checkpoint, Dataset, Failure, Recipe


@dataclass(frozen=True, eq=False)
class TaggingResult:
    """A checkpoint's `scores` (clips, classes) float32 in [0, 1] of a data set's clips and their bool `targets`, both in the
    order of the recipe's labels.

    `failures` could not be read, `missing` clips of the data set do not exist. `trained_on` of the clips were in the
    checkpoint's own training set, according to its header, and make the metrics too good. Clips were resampled to at most
    `sample_rate_hz`.
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
        """Whether each clip has exactly one class."""
        return self.recipe.activation == "softmax"

    @property
    def value(self) -> float:
        """The value of the recipe's own metric."""
        return self.measures[self.recipe.metric]

    @property
    def standard_error(self) -> float:
        """The standard error of the accuracy, as of a share of `clips` independent clips."""
        accuracy = self.measures["accuracy"]
        return sqrt(accuracy * (1 - accuracy) / self.clips)

    @cached_property
    def label_map(self) -> LabelMap:
        """The map from the checkpoint's own scores to `scores`."""
        return label_map.between(self.checkpoint, self.recipe)

    @property
    def unmapped(self) -> list[dict[str, Any]]:
        """The classes without a label of the checkpoint, and how many clips have them."""
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
        """The metrics over all classes; where each clip has one class, mAP, mAUC and d' are of each class against the rest."""
        auc = metrics.mean(self.roc_auc)
        ranking = {"mAP": metrics.mean(self.average_precision), "mAUC": auc, "d_prime": metrics.d_prime(auc)}
        if not self.single:
            return {**ranking, "micro_AP": metrics.micro_average_precision(self.scores, self.targets)}
        accuracy = metrics.accuracy(self.scores, self.targets.argmax(1))
        predicted = self.scores.argmax(1)[:, None] == np.arange(len(self.recipe.labels))
        return {"accuracy": accuracy, **ranking, "f1_macro": metrics.precision_recall_f1(predicted, self.targets)["f1_macro"]}

    @cached_property
    def decisions(self) -> dict[str, dict[str, float]]:
        """Precision, recall and F1 at the threshold "0.5", and at the checkpoint's "calibrated" thresholds if it has any for
        these classes; empty where each clip has one class."""
        if self.single:
            return {}
        thresholds = {"0.5": np.array(0.5)}
        if self.checkpoint.thresholds and not self.label_map.mapped:
            order = [column for (column,) in self.label_map.columns]
            thresholds["calibrated"] = np.array(self.checkpoint.thresholds)[order]
        return {name: metrics.precision_recall_f1(self.scores >= minimum, self.targets) for name, minimum in thresholds.items()}

    @cached_property
    def confusion(self) -> np.ndarray:
        """The confusion matrix (classes, classes) where each clip has one class: rows are the true classes."""
        return metrics.confusion_matrix(self.scores, self.targets.argmax(1))

    @cached_property
    def per_class(self) -> list[dict[str, Any]]:
        """One row per class, in label order: its number of `clips`, then its metrics; NaN for an undefined one, such as the
        precision of a class that was never predicted. `threshold` is the one with the highest F1 (`f1`) on these clips."""
        columns = {"clips": self.targets.sum(0)}
        if self.single:
            correct = np.diag(self.confusion)
            with np.errstate(invalid="ignore"):
                columns |= {"recall": correct / self.confusion.sum(1), "precision": correct / self.confusion.sum(0)}
        columns |= {"AP": self.average_precision, "AUC": self.roc_auc}
        if not self.single:
            columns["f1"] = metrics.best_f1(self.scores, self.targets)
            columns["threshold"] = metrics.best_thresholds(self.scores, self.targets)
        values = zip(*(column.tolist() for column in columns.values()), strict=True)
        rows = zip(self.recipe.labels, values, strict=True)
        return [{"label": label, **dict(zip(columns, row, strict=True))} for label, row in rows]

    def confusions(self, count: int = 10) -> list[tuple[str, str, int]]:
        """Return the most frequent mistakes: (true label, predicted label, clips); none where classes are independent."""
        if not self.single:
            return []
        labels = self.recipe.labels
        mistakes = self.confusion - np.diag(np.diag(self.confusion))
        order = np.argsort(-mistakes, axis=None, kind="stable")[:count]
        pairs = [divmod(int(index), len(labels)) for index in order]
        return [(labels[i], labels[j], int(mistakes[i, j])) for i, j in pairs if mistakes[i, j]]

    def paper(self) -> list[dict[str, Any]]:
        """Return the published results of this architecture on this data set beside ours."""
        rows = [(row, row.metric or self.recipe.metric) for row in self.recipe.paper if row.model == self.architecture]
        return [
            {"how": row.how, "table": row.table, "metric": metric, "paper": row.value}
            | {"ours": self.measures[metric], "difference": self.measures[metric] - row.value}
            for row, metric in rows
        ]

    def unpublished(self) -> str:
        """Return the message for a `paper` without rows."""
        others = ", ".join(dict.fromkeys(row.model for row in self.recipe.paper))
        available = f"those there are of {others}" if others else "nor of any other model with these classes"
        return f"no published result of {self.architecture} on {self.recipe.name}; {available}"

    @property
    def architecture(self) -> str:
        """The architecture's name, with its front-end unless that is the paper's; for an ensemble, the checkpoint's name."""
        family = self.checkpoint.family
        if family not in registry.names("eranntag.models"):
            return self.checkpoint.name
        name = models.name_of(family, registry.get("eranntag.models", family).Config(**self.checkpoint.model))
        return models.described(name, family, self.checkpoint.frontend_family)

    def summary(self) -> list[str]:
        """Return lines for people: the recipe's metric, the others, and their limitations."""
        fold = f", fold {self.fold}" if self.fold is not None else ""
        rate = f", at {self.sample_rate_hz} Hz" if self.sample_rate_hz is not None else ""
        name, metric = f"{self.checkpoint.name} on {self.recipe.name}{fold}{rate}", self.recipe.metric
        error = f"standard error {self.standard_error:.4f}, " if self.single else ""
        lines = [f"{name}: {metric} {self.value:.4f} ({error}{self.clips} clips)"]
        lines.append("  ".join(f"{name} {value:.4f}" for name, value in self.measures.items() if name != metric))
        lines += self._label_notes()
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

    def _label_notes(self) -> list[str]:
        """Return lines about a checkpoint whose labels are not those of the recipe."""
        classes, count = len(self.recipe.labels), len(self.checkpoint.labels)
        if not self.label_map.mapped:
            return [f"{classes} of the checkpoint's {count} classes"] if count > classes else []
        lines = [f"labels mapped: the score of a class is the highest of its labels' among the checkpoint's {count}"]
        if self.unmapped:
            names = ", ".join(f"{row['label']} ({row['clips']} clip{'s' * (row['clips'] != 1)})" for row in self.unmapped)
            lines.append(f"cannot be recognized, as no label of the checkpoint means them: {names}")
        return lines

    def to_dict(self, paper: bool = False) -> dict[str, Any]:
        """Return the record for JSON, with None for NaN and infinity."""
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
            record["confusions"] = [dict(zip(("true", "said", "clips"), row, strict=True)) for row in self.confusions()]
        result: dict[str, Any] = nan_to_none(record)
        return result


def evaluate(
    tagger: Tagger,
    dataset: Dataset,
    fold: int | None = None,
    batch: int | None = None,
    step: Callable[[], None] = lambda: None,
    sample_rate_hz: int | None = None,
) -> TaggingResult:
    """Evaluate on the clips of `fold`, else the data set's test clips, else all, resampled to at most `sample_rate_hz`.

    Raises UsageError when the checkpoint has neither the recipe's classes nor labels with their meaning, DataError when no
    clip can be read.
    """
    recipe, checkpoint = dataset.recipe, tagger.checkpoint
    labels = label_map.between(checkpoint, recipe)
    chosen = to_evaluate(dataset, fold)
    scores, targets, failures = [], [], list[Failure]()
    for example, result in predict_examples(downsampled(tagger, sample_rate_hz), recipe.name, chosen, failures, batch, step):
        scores.append(result.scores)
        targets.append(example.targets)
    return TaggingResult(
        checkpoint,
        recipe,
        fold,
        labels.scores(np.stack(scores)),
        metrics.multi_hot(targets, len(recipe.labels)),
        tuple(failures),
        missing=len(dataset.missing),
        trained_on=sum(was_trained_on(example, checkpoint, recipe) for example in chosen),
        sample_rate_hz=sample_rate_hz,
    )


def nan_to_none(value: Any) -> Any:
    """Return `value` with None for every NaN and infinity in its dictionaries and lists."""
    if isinstance(value, dict):
        return {key: nan_to_none(item) for key, item in value.items()}
    if isinstance(value, list):
        return [nan_to_none(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
