"""What commands that look for events have in common: when a score is an event."""

from collections.abc import Callable
from typing import Any

import click

from eranntag.cli._options import inputs as inputs_options

_LONG = click.FloatRange(0, 3600)
_OPTIONS = [
    inputs_options.threshold(
        "Score from which an event begins; LABEL=P for one label. Repeatable.  [the checkpoint's, or 0.2, or 0.5]"
    ),
    click.option(
        "--resolution",
        type=click.FloatRange(0.01, 60),
        metavar="S",
        help="Score windows of 2 s every S seconds: slower.  [the network's frames, or 1]",
    ),
    click.option("--min-seconds", type=_LONG, metavar="S", help="Drop events of S seconds or less.  [0.32]"),
    click.option("--merge-gap", type=_LONG, metavar="S", help="Join events of one label S seconds or less apart.  [0.32]"),
    click.option("--median", type=_LONG, metavar="S", help="Smooth the scores with a median filter of S seconds.  [0: none]"),
]


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds them to a command; `build` takes them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_NAMES = ("threshold", "resolution", "min_seconds", "merge_gap", "median")


def given(options: dict[str, Any]) -> str:
    """Those of `options` that somebody typed, as "--median, --resolution"."""
    return ", ".join(f"--{name.replace('_', '-')}" for name in _NAMES if options[name] not in (None, ()))


def settings(options: dict[str, Any]) -> dict[str, Any]:
    """What was asked for, by name."""
    return {**{name: options[name] for name in _NAMES}, "threshold": inputs_options.words(options["threshold"])}


def build(tagger: Any, given: dict[str, Any], labels: tuple[str, ...] = ()) -> Any:
    """The Detector that the options name, of `labels`, or of all if there are none."""
    from eranntag.inference import detector

    how = detector.postprocessing(
        detector.thresholds(tagger.checkpoint, given["threshold"], labels=labels),
        min_length_seconds=given["min_seconds"],
        merge_gap_seconds=given["merge_gap"],
        median_seconds=given["median"],
    )
    return detector.detector(tagger, how, given["resolution"], labels)
