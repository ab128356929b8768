"""How well a checkpoint says what sounds when, on clips with strong labels: `detect`'s path, then F1 of segments and events."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from eranntag.errors import UsageError
from eranntag.evaluation import label_map, metrics
from eranntag.evaluation.low_rate import narrowed
from eranntag.evaluation.tagging import jsonable
from eranntag.inference.detector import Detector
from eranntag.inference.pipeline import predict_examples
from eranntag.recipes import to_evaluate
from eranntag.types import Dataset, Event, Example, Failure

Clips = tuple[tuple[Event, ...], ...]
HOW = {
    "segment": "segments of 1 s",
    "event": "onset within 0.2 s, offset too or within 1/5 of its length",
    "onset": "0.2 s",
}
KINDS = {  # with DCASE's values
    "segment": metrics.segment_decisions,
    "event": metrics.event_decisions,
    "onset": lambda *clips: metrics.event_decisions(*clips, offsets=False),
}


@dataclass(frozen=True, eq=False)
class Result:
    """The true events of each clip and those that were found; an event's labels are among `labels`. Frames are of
    `frame_seconds`; `failures` could not be read."""

    labels: tuple[str, ...]
    reference: Clips
    estimated: Clips
    frame_seconds: float
    failures: tuple[Failure, ...] = ()

    @cached_property
    def measures(self) -> dict[str, dict[str, float]]:
        """Precision, recall and F1, micro and macro, of each of KINDS."""
        return {kind: measure(self.reference, self.estimated, self.labels) for kind, measure in KINDS.items()}

    @cached_property
    def per_class(self) -> list[dict[str, Any]]:
        """A row a class: how many events there are and were found, and the F1 of each of KINDS."""
        return [self._row(label) for label in self.labels]

    def _row(self, label: str) -> dict[str, Any]:
        true, said = (_only(clips, label) for clips in (self.reference, self.estimated))
        f1 = {f"{kind}_f1": measure(true, said, (label,))["f1_micro"] for kind, measure in KINDS.items()}
        return {"label": label, "events": sum(map(len, true)), "found": sum(map(len, said)), **f1}

    def summary(self) -> list[str]:
        """For people, a line each."""
        true, said = (sum(map(len, clips)) for clips in (self.reference, self.estimated))
        clips, frames = len(self.reference), f"frames of {self.frame_seconds:.3g} s"
        lines = [f"events: {said} found, {true} there ({clips} clips, {frames})"]
        for kind, values in self.measures.items():
            lines.append(f"{kind}-based ({HOW[kind]}): " + "  ".join(f"{name} {value:.4f}" for name, value in values.items()))
        return lines

    def to_dict(self) -> dict[str, Any]:
        """For JSON: None stands for NaN."""
        counts = {"there": sum(map(len, self.reference)), "found": sum(map(len, self.estimated))}
        measures = {f"{kind}_based": values for kind, values in self.measures.items()}
        record: dict[str, Any] = jsonable(
            {**counts, "frame_seconds": self.frame_seconds, **measures, "per_class": self.per_class}
        )
        return record


def check(detector: Detector, dataset: Dataset, fold: int | None = None) -> Sequence[Example]:
    """The clips to be evaluated. Raises UsageError when the checkpoint lacks classes of the data, or the data has no events."""
    checkpoint, recipe = detector.tagger.checkpoint, dataset.recipe
    if label_map.between(checkpoint, recipe).mapped:
        raise UsageError(f"{checkpoint.name} has not the classes of {recipe.name} themselves; --events needs these")
    chosen = to_evaluate(dataset, fold)
    if any(example.events is None for example in chosen):
        raise UsageError(f"{recipe.name} does not say when its classes sound; `mixtures` does, if it is not packed")
    return chosen


def evaluate(
    detector: Detector,
    dataset: Dataset,
    fold: int | None = None,
    batch: int | None = None,
    step: Callable[[], None] = lambda: None,
    sample_rate_hz: int | None = None,
) -> Result:
    """Look for events in the clips of `fold`, else the data set's test clips, else all; heard as if recorded at no more than
    `sample_rate_hz`. Events of classes that the recipe lacks do not count. Raises UsageError as `check` does, and DataError
    when no clip can be read."""
    recipe, chosen = dataset.recipe, check(detector, dataset, fold)
    reference, estimated, failures = [], [], list[Failure]()
    for example, result in predict_examples(narrowed(detector, sample_rate_hz), recipe.name, chosen, failures, batch, step):
        reference.append(example.events or ())
        estimated.append(tuple(event for event in result.events if event.label in recipe.labels))
    return Result(recipe.labels, tuple(reference), tuple(estimated), detector.frame_seconds, tuple(failures))


def _only(clips: Clips, label: str) -> Clips:
    return tuple(tuple(event for event in events if event.label == label) for events in clips)
