"""When a score is an event."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import click

from eranntag.cli._options.group import from_decorator, option
from eranntag.cli._options.thresholds import Thresholds, as_typed, threshold

if TYPE_CHECKING:
    from eranntag.inference.detector import Detector
    from eranntag.inference.tagger import Tagger

_LENGTH = click.FloatRange(0, 3600)


@dataclass(frozen=True)
class DetectorOptions:
    """Thresholds and lengths, in seconds, that turn scores in time into events; None: the detector's default."""

    threshold: Thresholds = from_decorator(
        threshold(
            "Score at which an event begins; LABEL=P for one label; repeatable.", default="the checkpoint's, or 0.2, or 0.5"
        )
    )
    resolution: float | None = option(
        "--resolution",
        type=click.FloatRange(0.01, 60),
        metavar="S",
        show_default="the network's frames, or 1",
        help="Score windows of 2 s every S seconds, which is slower.",
    )
    min_seconds: float | None = option(
        "--min-seconds", type=_LENGTH, metavar="S", show_default="0.32", help="Drop events of S seconds or less."
    )
    merge_gap: float | None = option(
        "--merge-gap", type=_LENGTH, metavar="S", show_default="0.32", help="Join events of a label S seconds or less apart."
    )
    median: float | None = option(
        "--median", type=_LENGTH, metavar="S", show_default="0: none", help="Smooth scores with a median filter of S seconds."
    )

    @property
    def typed(self) -> str:
        """The names of the options that have a value, as "--median, --resolution"."""
        names = (each.name for each in fields(self) if getattr(self, each.name) not in (None, ()))
        return ", ".join(f"--{name.replace('_', '-')}" for name in names)

    def settings(self) -> dict[str, Any]:
        """Return the values by name, for the record of a run."""
        return {**vars(self), "threshold": as_typed(self.threshold)}

    def build(self, tagger: "Tagger", labels: tuple[str, ...] = ()) -> "Detector":
        """Return the Detector of `labels`, or of all the checkpoint's labels, with these options."""
        from eranntag.inference import detector

        postprocessing = detector.postprocessing(
            detector.thresholds(tagger.checkpoint, self.threshold, labels=labels),
            min_length_seconds=self.min_seconds,
            merge_gap_seconds=self.merge_gap,
            median_seconds=self.median,
        )
        return detector.detector(tagger, postprocessing, self.resolution, labels)
