"""eranntag detect: sounds -> events, what sounds when."""

from functools import partial
from operator import attrgetter, methodcaller
from pathlib import Path
from typing import Any

import click

from eranntag.cli import _results
from eranntag.cli._command_line import typed
from eranntag.cli._options import labels as label_options, output as output_options, plot as plot_options
from eranntag.cli._options.detector import DetectorOptions
from eranntag.cli._options.group import add_options
from eranntag.cli._options.inputs import InputOptions
from eranntag.cli._options.labels import LabelOptions
from eranntag.cli._options.output import PARQUET, OutputOptions
from eranntag.cli._options.tagger import TaggerOptions
from eranntag.cli._options.workers import WorkerOptions
from eranntag.results import event_formats

FORMATS = ("table", *event_formats.FORMATS, PARQUET)


@click.command()
@add_options(InputOptions, "inputs")
@add_options(DetectorOptions, "events")
@add_options(LabelOptions, "kept")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="Format of the results.")
@add_options(OutputOptions, "output")
@click.option(
    "--output-dir",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write one file per sound into FOLDER.",
)
@plot_options.OPTION
@add_options(WorkerOptions, "workers")
@add_options(TaggerOptions, "options")
@click.pass_context
def command(
    context: click.Context,
    /,
    inputs: InputOptions,
    events: DetectorOptions,
    kept: LabelOptions,
    form: str,
    output: OutputOptions,
    output_dir: Path | None,
    plot: Path | None,
    workers: WorkerOptions,
    options: TaggerOptions,
) -> None:
    """Find what sounds when in sound files, folders (with all below them), patterns, or - for standard input.

    The scores of every label in time become events with onset, offset and score. Results go to standard output in input
    order, errors and progress to standard error. Exit code 3: some inputs failed.
    """
    inputs.check()
    output.check(form, inputs, output_dir)
    if output.output and output_dir:
        raise click.UsageError("results go to --output or to --output-dir, not to both")
    if output_dir and form == PARQUET:
        raise click.UsageError("--format parquet writes files of many sounds: --output FOLDER")
    if form in event_formats.ALONE and inputs.several and not output_dir:
        raise click.UsageError(f"--format {form} holds the events of one sound; for several use --output-dir")
    if plot:
        plot_options.check(plot, inputs, output)
    workers.check(inputs.paths, plot, options.device)
    entries = kept.read()
    folder = output.open_folder(output_dir) if output_dir else None
    document: Any = folder or output.open(form)
    tagger = options.load(many=inputs.several)
    labels = label_options.select(entries, tagger.checkpoint, options.checkpoint)
    detector = events.build(tagger, labels)
    settings = {**events.settings(), "shard": inputs.shard_as_typed, "labels": list(labels) if entries else None}
    output_options.begin(document, form, tagger, options, **settings)
    sources = output_options.remaining(document, inputs.sources())
    show: _results.Document
    if form == PARQUET:
        from eranntag.cli.display import parquet

        show = parquet.document(document, methodcaller("to_dict"))
    else:
        from eranntag.cli.display import events as display

        show = display.folder(form, folder) if folder else display.document(form, document, ignore_closed_pipe=bool(plot))
    if plot:
        plot_options.show_all(detector, sources, show, attrgetter("detection"), plot, options, typed(context))
        return
    results = workers.results(detector, sources, options, partial(events.build, labels=labels))
    _results.show_all(results, show, output_options.records_of(document), allow_empty=bool(inputs.shard))
