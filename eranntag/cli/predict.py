"""eranntag predict: sounds -> tags."""

from pathlib import Path
from typing import Any

import click

from eranntag.cli import _chosen, _inputs, _output, _plot, _tagger, _workers
from eranntag.cli._typed import typed

FORMATS = ("table", "json", "jsonl", "csv", _output.PARQUET)


@click.command()
@_inputs.options
@click.option("--top", type=click.IntRange(1), help="Tags a clip.  [5; all with a --threshold for all]")
@_inputs.threshold("Only tags with at least this score; LABEL=P for one label. Repeatable.")
@_chosen.options
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@_output.options
@_plot.OPTION
@_inputs.SHARD
@_workers.options
@_tagger.options
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
    _inputs.check(paths, files_from)
    _output.check(output, paths, files_from, options)
    if plot:
        _plot.check(plot, paths, files_from, output, options["resume"])
    _workers.check(options, paths, plot)
    wanted = _chosen.wanted(options)
    from eranntag import detection, render
    from eranntag.types import Failure

    run = _output.opened(output, options["form"], options)
    tagger = _tagger.load(options, many=_inputs.many(paths, files_from))
    labels = _chosen.labels(wanted, tagger.checkpoint, options)
    least = detection.thresholds(tagger.checkpoint, threshold, 0.0, labels)
    for_all = any(label is None for label, _ in threshold)
    top = top or (None if for_all else 5)
    asked = {"top": top, "threshold": _inputs.words(threshold), "shard": _inputs.share(shard)}
    asked["labels"] = list(labels) if wanted else None
    _output.begin(run, options["form"], tagger, options, **asked)
    sources = _output.left(run, _inputs.sources(paths, files_from, shard))
    if options["form"] == _output.PARQUET:
        from eranntag.render import parts

        document = parts.document(run, lambda prediction: prediction.to_dict(top))
    else:
        document = render.results(options["form"], run, top, 0.0, beside=bool(plot))

    def reaching(prediction: Any) -> Any:
        return detection.reaching(detection.only(prediction, labels), least)

    if plot:
        detector = detection.detector(tagger, labels=labels)
        _plot.show_all(detector, sources, document, lambda view: reaching(view.prediction), plot, options, typed(context))
    else:
        results = _workers.results(tagger, sources, options)
        shown = (each if isinstance(each, Failure) else reaching(each) for each in results)
        _inputs.show_all(shown, document, _output.before(run), maybe_none=bool(shard))
