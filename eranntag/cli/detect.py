"""eranntag detect: sounds -> events, what sounds when."""

from functools import partial
from operator import attrgetter, methodcaller
from pathlib import Path
from typing import Any

import click

from eranntag.cli._command_line import typed
from eranntag.cli._options import (
    detector as detector_options,
    inputs as inputs_options,
    labels as labels_options,
    output as output_options,
    plot as plot_options,
    tagger as tagger_options,
    workers as workers_options,
)

FORMATS = ("table", "json", "jsonl", "csv", output_options.PARQUET, "audacity", "raven", "vtt")
ALONE = ("audacity", "raven", "vtt")  # hold one sound's events


@click.command()
@inputs_options.options
@detector_options.options
@labels_options.options
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@output_options.options
@click.option(
    "--output-dir", type=click.Path(path_type=Path, file_okay=False), help="Write a file for each sound into this folder."
)
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
    inputs_options.check(paths, files_from)
    output_options.check(output, paths, files_from, {**options, "form": form}, output_dir)
    many = inputs_options.many(paths, files_from)
    if output and output_dir:
        raise click.UsageError("results go to --output or to --output-dir, not to both")
    if output_dir and form == output_options.PARQUET:
        raise click.UsageError("--format parquet writes files of many sounds: --output FOLDER")
    if form in ALONE and many and not output_dir:
        raise click.UsageError(f"--format {form} holds the events of one sound; for several use --output-dir")
    if plot:
        plot_options.check(plot, paths, files_from, output, options["resume"])
    workers_options.check(options, paths, plot)
    wanted = labels_options.wanted(options)

    place = output_options.opened_folder(output_dir, options) if output_dir else None
    run = output_options.opened(output, form, options)
    tagger = tagger_options.load(options, many=many)
    labels = labels_options.labels(wanted, tagger.checkpoint, options)
    detector = detector_options.build(tagger, options, labels)
    asked = {
        **detector_options.settings(options),
        "shard": inputs_options.share(shard),
        "labels": list(labels) if wanted else None,
    }
    output_options.begin(place or run, form, tagger, options, **asked)
    sources = output_options.left(place or run, inputs_options.sources(paths, files_from, shard))
    if form == output_options.PARQUET:
        from eranntag.cli.display import parquet

        document = parquet.document(run, methodcaller("to_dict"))
    else:
        from eranntag.cli.display import events

        document = events.folder(form, place) if place else events.document(form, run, beside=bool(plot))
    if plot:
        plot_options.show_all(detector, sources, document, attrgetter("detection"), plot, options, typed(context))
    else:
        found = workers_options.results(
            detector, sources, options, partial(detector_options.build, given=options, labels=labels)
        )
        inputs_options.show_all(found, document, output_options.before(place or run), maybe_none=bool(shard))
