"""eranntag detect: sounds -> events, what sounds when."""

from functools import partial
from operator import attrgetter, methodcaller
from pathlib import Path
from typing import Any

import click

from eranntag.cli import _chosen, _detector, _inputs, _output, _plot, _tagger, _workers
from eranntag.cli._typed import typed

FORMATS = ("table", "json", "jsonl", "csv", _output.PARQUET, "audacity", "raven", "vtt")
ALONE = ("audacity", "raven", "vtt")  # hold one sound's events


@click.command()
@_inputs.options
@_detector.options
@_chosen.options
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@_output.options
@click.option(
    "--output-dir", type=click.Path(path_type=Path, file_okay=False), help="Write a file for each sound into this folder."
)
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
    form: str,
    output: Path | None,
    output_dir: Path | None,
    plot: Path | None,
    shard: tuple[int, int] | None,
    **options: Any,
) -> None:
    """Find what sounds when in sound files, folders (with all below them), patterns, or - for standard input.

    Every label's scores in time become events: onset, offset, score. Results go to standard output in input order, errors and
    progress to standard error. Exit code 3: some inputs failed.
    """
    _inputs.check(paths, files_from)
    _output.check(output, paths, files_from, {**options, "form": form}, output_dir)
    many = _inputs.many(paths, files_from)
    if output and output_dir:
        raise click.UsageError("results go to --output or to --output-dir, not to both")
    if output_dir and form == _output.PARQUET:
        raise click.UsageError("--format parquet writes files of many sounds: --output FOLDER")
    if form in ALONE and many and not output_dir:
        raise click.UsageError(f"--format {form} holds the events of one sound; for several use --output-dir")
    if plot:
        _plot.check(plot, paths, files_from, output, options["resume"])
    _workers.check(options, paths, plot)
    wanted = _chosen.wanted(options)
    from eranntag.render import events

    place = _output.opened_folder(output_dir, options) if output_dir else None
    run = _output.opened(output, form, options)
    tagger = _tagger.load(options, many=many)
    labels = _chosen.labels(wanted, tagger.checkpoint, options)
    detector = _detector.build(tagger, options, labels)
    asked = {**_detector.settings(options), "shard": _inputs.share(shard), "labels": list(labels) if wanted else None}
    _output.begin(place or run, form, tagger, options, **asked)
    sources = _output.left(place or run, _inputs.sources(paths, files_from, shard))
    if form == _output.PARQUET:
        from eranntag.render import parts

        document = parts.document(run, methodcaller("to_dict"))
    else:
        document = events.folder(form, place) if place else events.document(form, run, beside=bool(plot))
    if plot:
        _plot.show_all(detector, sources, document, attrgetter("detection"), plot, options, typed(context))
    else:
        found = _workers.results(detector, sources, options, partial(_detector.build, given=options, labels=labels))
        _inputs.show_all(found, document, _output.before(place or run), maybe_none=bool(shard))
