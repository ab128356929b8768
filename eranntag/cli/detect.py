"""eranntag detect: sounds -> events, what sounds when."""

from pathlib import Path
from typing import Any

import click

from eranntag.cli import _inputs, _tagger

FORMATS = ("table", "json", "jsonl", "csv", "audacity", "raven", "vtt")
ALONE = ("audacity", "raven", "vtt")  # hold one sound's events

SECONDS = click.FloatRange(0, 3600)


@click.command()
@_inputs.options
@_inputs.threshold("Score from which an event begins; LABEL=P for one label. Repeatable.  [the checkpoint's, else 0.2 or 0.5]")
@click.option(
    "--resolution", type=click.FloatRange(0.01, 60), metavar="S", help="Score windows of 2 s every S seconds: slower."
)
@click.option("--min-seconds", type=SECONDS, metavar="S", help="Drop events of S seconds or less.  [0.32]")
@click.option("--merge-gap", type=SECONDS, metavar="S", help="Join events of one label S seconds or less apart.  [0.32]")
@click.option("--median", type=SECONDS, metavar="S", help="Smooth the scores with a median filter of S seconds.  [0: none]")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@_inputs.OUTPUT
@click.option(
    "--output-dir", type=click.Path(path_type=Path, file_okay=False), help="Write a file for each sound into this folder."
)
@_tagger.options
def command(
    paths: tuple[str, ...],
    files_from: str | None,
    form: str,
    output: Path | None,
    output_dir: Path | None,
    resolution: float | None,
    **options: Any,
) -> None:
    """Find what sounds when in sound files, folders (with all below them), patterns, or - for standard input.

    Every label's scores in time become events: onset, offset, score. Results go to standard output in input order, errors and
    progress to standard error. Exit code 3: some inputs failed.
    """
    _inputs.check(paths, files_from, output)
    many = _inputs.many(paths, files_from)
    if output and output_dir:
        raise click.UsageError("results go to --output or to --output-dir, not to both")
    if form in ALONE and many and not output_dir:
        raise click.UsageError(f"--format {form} holds the events of one sound; for several use --output-dir")
    from eranntag import detection, predict
    from eranntag.render import events

    tagger = _tagger.load(options, many=many)
    how = detection.postprocessing(
        detection.thresholds(tagger.checkpoint, options["threshold"]),
        min_length_seconds=options["min_seconds"],
        merge_gap_seconds=options["merge_gap"],
        median_seconds=options["median"],
    )
    detector = detection.Windowed(tagger, how, resolution) if resolution else detection.Detector(tagger, how)
    results = predict.predict(detector, _inputs.sources(paths, files_from), options["batch"])
    _inputs.show_all(results, events.folder(form, output_dir) if output_dir else events.document(form, output))
