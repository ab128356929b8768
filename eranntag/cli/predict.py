"""eranntag predict: sounds -> tags."""

from pathlib import Path
from typing import Any

import click

from eranntag.cli._command_line import typed
from eranntag.cli._options import (
    inputs as inputs_options,
    labels as labels_options,
    output as output_options,
    plot as plot_options,
    tagger as tagger_options,
    workers as workers_options,
)

FORMATS = ("table", "json", "jsonl", "csv", output_options.PARQUET)


@click.command()
@inputs_options.options
@click.option("--top", type=click.IntRange(1), help="Tags a clip.  [5; all with a --threshold for all]")
@inputs_options.threshold("Only tags with at least this score; LABEL=P for one label. Repeatable.")
@labels_options.options
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@output_options.options
@plot_options.OPTION
@inputs_options.SHARD
@workers_options.options
@tagger_options.options
@click.pass_context
def command(
    context: click.Context,
    /,
    paths: tuple[str, ...],
    files_from: str | None,
    top: int | None,
    threshold: tuple[tuple[str | None, float], ...],
    output: Path | None,
    plot: Path | None,
    shard: tuple[int, int] | None,
    **options: Any,
) -> None:
    """Tag sound files, folders (with all below them), patterns, or - for standard input.

    Results go to standard output in input order, errors and progress to standard error. Exit code 3: some inputs failed.
    """
    inputs_options.check(paths, files_from)
    output_options.check(output, paths, files_from, options)
    if plot:
        plot_options.check(plot, paths, files_from, output, options["resume"])
    workers_options.check(options, paths, plot)
    wanted = labels_options.wanted(options)
    from eranntag.cli.display import predictions
    from eranntag.inference import detector as detection
    from eranntag.types import Failure

    run = output_options.opened(output, options["form"], options)
    tagger = tagger_options.load(options, many=inputs_options.many(paths, files_from))
    labels = labels_options.labels(wanted, tagger.checkpoint, options)
    least = detection.thresholds(tagger.checkpoint, threshold, 0.0, labels)
    for_all = any(label is None for label, _ in threshold)
    top = top or (None if for_all else 5)
    asked = {"top": top, "threshold": inputs_options.words(threshold), "shard": inputs_options.share(shard)}
    asked["labels"] = list(labels) if wanted else None
    output_options.begin(run, options["form"], tagger, options, **asked)
    sources = output_options.left(run, inputs_options.sources(paths, files_from, shard))
    if options["form"] == output_options.PARQUET:
        from eranntag.cli.display import parquet

        document = parquet.document(run, lambda prediction: prediction.to_dict(top))
    else:
        document = predictions.results(options["form"], run, top, 0.0, beside=bool(plot))

    def reaching(prediction: Any) -> Any:
        return detection.reaching(detection.only(prediction, labels), least)

    if plot:
        detector = detection.detector(tagger, labels=labels)
        plot_options.show_all(
            detector, sources, document, lambda view: reaching(view.prediction), plot, options, typed(context)
        )
    else:
        results = workers_options.results(tagger, sources, options)
        shown = (each if isinstance(each, Failure) else reaching(each) for each in results)
        inputs_options.show_all(shown, document, output_options.before(run), maybe_none=bool(shard))
