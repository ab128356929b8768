"""Evaluation of sound event detection on clips with strong labels: the path of `detect`, then F1 of segments and events."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from eranntag.errors import UsageError
from eranntag.evaluation import label_map, metrics
from eranntag.evaluation.low_rate import downsampled
from eranntag.evaluation.tagging import nan_to_none
from eranntag.inference.detector import Detector
from eranntag.inference.pipeline import predict_examples
from eranntag.recipes import to_evaluate
from eranntag.types import Dataset, Event, Example, Failure

Clips = tuple[tuple[Event, ...], ...]
METRICS: dict[str, Callable[[Clips, Clips, Sequence[str]], dict[str, float]]] = {  # with DCASE's values
    "segment": metrics.segment_based,
    "event": metrics.event_based,
    "onset": lambda reference, estimated, labels: metrics.event_based(reference, estimated, labels, offsets=False),
}
DESCRIPTIONS = {
    "segment": "segments of 1 s",
    "event": "onset within 0.2 s, offset too or within 1/5 of its length",
    "onset": "0.2 s",
}


@dataclass(frozen=True, eq=False)
class DetectionResult:
    """The `reference` and `estimated` events of each clip, whose labels are among `labels`; `failures` could not be read."""

    labels: tuple[str, ...]
    reference: Clips
    estimated: Clips
    frame_seconds: float
    failures: tuple[Failure, ...] = ()

    @cached_property
    def measures(self) -> dict[str, dict[str, float]]:
        """Precision, recall and F1, micro and macro, for each of METRICS."""
        return {kind: metric(self.reference, self.estimated, self.labels) for kind, metric in METRICS.items()}

    @cached_property
    def per_class(self) -> list[dict[str, Any]]:
        """One row per class: its numbers of true and of found events, and the F1 of each of METRICS."""
        return [self._row(label) for label in self.labels]

    def _row(self, label: str) -> dict[str, Any]:
        true, found = _with_label(self.reference, label), _with_label(self.estimated, label)
        f1 = {f"{kind}_f1": metric(true, found, (label,))["f1_micro"] for kind, metric in METRICS.items()}
        return {"label": label, "events": sum(map(len, true)), "found": sum(map(len, found)), **f1}

    def summary(self) -> list[str]:
        """Return lines for people: the numbers of events, then a line per metric."""
        true, found = sum(map(len, self.reference)), sum(map(len, self.estimated))
        clips = f"{len(self.reference)} clips, frames of {self.frame_seconds:.3g} s"
        lines = [f"events: {found} found, {true} there ({clips})"]
        for kind, values in self.measures.items():
            numbers = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
            lines.append(f"{kind}-based ({DESCRIPTIONS[kind]}): {numbers}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return the record for JSON, with None for NaN."""
        counts = {"there": sum(map(len, self.reference)), "found": sum(map(len, self.estimated))}
        measures = {f"{kind}_based": values for kind, values in self.measures.items()}
        record: dict[str, Any] = nan_to_none(
            {**counts, "frame_seconds": self.frame_seconds, **measures, "per_class": self.per_class}
        )
        return record


def examples_to_evaluate(detector: Detector, dataset: Dataset, fold: int | None = None) -> Sequence[Example]:
    """Return the clips of `fold`, else the data set's test clips, else all.

    Raises UsageError when the checkpoint lacks classes of the data, or the data has no events.
    """
    checkpoint, recipe = detector.tagger.checkpoint, dataset.recipe
    if label_map.between(checkpoint, recipe).mapped:
        raise UsageError(f"{checkpoint.name} has not the classes of {recipe.name} themselves; --events needs these")
    chosen = to_evaluate(dataset, fold)
    if any(example.events is None for example in chosen):
        raise UsageError(f"{recipe.name} has no onsets and offsets; `mixtures` has, if it is not packed")
    return chosen


def evaluate(
    detector: Detector,
    dataset: Dataset,
    fold: int | None = None,
    batch: int | None = None,
    step: Callable[[], None] = lambda: None,
    sample_rate_hz: int | None = None,
) -> DetectionResult:
    """Detect events in `examples_to_evaluate`, resampled to at most `sample_rate_hz`, and compare them with the true ones.

    Events of classes that the recipe lacks do not count. Raises UsageError as `examples_to_evaluate` does, and DataError when
    no clip can be read.
    """
    recipe, chosen = dataset.recipe, examples_to_evaluate(detector, dataset, fold)
    reference, estimated, failures = [], [], list[Failure]()
    for example, result in predict_examples(downsampled(detector, sample_rate_hz), recipe.name, chosen, failures, batch, step):
        reference.append(example.events or ())
        estimated.append(tuple(event for event in result.events if event.label in recipe.labels))
    return DetectionResult(recipe.labels, tuple(reference), tuple(estimated), detector.frame_seconds, tuple(failures))


def _with_label(clips: Clips, label: str) -> Clips:
    return tuple(tuple(event for event in events if event.label == label) for events in clips)
