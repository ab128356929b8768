"""eranntag predict: sounds -> tags."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eranntag.cli import _results
from eranntag.cli._command_line import typed
from eranntag.cli._options import labels as label_options, output as output_options, plot as plot_options
from eranntag.cli._options.group import add_options
from eranntag.cli._options.inputs import InputOptions
from eranntag.cli._options.labels import LabelOptions
from eranntag.cli._options.output import PARQUET, OutputOptions
from eranntag.cli._options.tagger import TaggerOptions
from eranntag.cli._options.thresholds import Thresholds, as_typed, threshold
from eranntag.cli._options.workers import WorkerOptions
from eranntag.results import formats

if TYPE_CHECKING:
    from eranntag.types import Prediction

FORMATS = ("table", *formats.FORMATS, PARQUET)
TOP = 5  # tags of a clip, unless thresholds choose


@click.command()
@add_options(InputOptions, "inputs")
@click.option(
    "--top", type=click.IntRange(1), show_default="5; all with a --threshold for all labels", help="Number of tags per clip."
)
@threshold("Only tags with at least this score; LABEL=P for one label; repeatable.")
@add_options(LabelOptions, "kept")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="Format of the results.")
@add_options(OutputOptions, "output")
@plot_options.OPTION
@add_options(WorkerOptions, "workers")
@add_options(TaggerOptions, "options")
@click.pass_context
def command(
    context: click.Context,
    /,
    inputs: InputOptions,
    top: int | None,
    threshold: Thresholds,
    kept: LabelOptions,
    form: str,
    output: OutputOptions,
    plot: Path | None,
    workers: WorkerOptions,
    options: TaggerOptions,
) -> None:
    """Tag sound files, folders (with all below them), patterns, or - for standard input.

    Results go to standard output in input order, errors and progress to standard error. Exit code 3: some inputs failed.
    """
    inputs.check()
    output.check(form, inputs)
    if plot:
        plot_options.check(plot, inputs, output)
    workers.check(inputs.paths, plot, options.device)
    entries = kept.read()
    from eranntag.cli.display import predictions
    from eranntag.inference import detector as detection
    from eranntag.types import Failure

    document: Any = output.open(form)
    tagger = options.load(many=inputs.several)
    labels = label_options.select(entries, tagger.checkpoint, options.checkpoint)
    least = detection.thresholds(tagger.checkpoint, threshold, 0.0, labels)
    if top is None and all(label is not None for label, _ in threshold):
        top = TOP
    settings = {"top": top, "threshold": as_typed(threshold), "shard": inputs.shard_as_typed}
    settings["labels"] = list(labels) if entries else None
    output_options.begin(document, form, tagger, options, **settings)
    sources = output_options.remaining(document, inputs.sources())
    show: _results.Document
    if form == PARQUET:
        from eranntag.cli.display import parquet

        show = parquet.document(document, lambda prediction: prediction.to_dict(top))
    else:
        show = predictions.document(form, document, top, 0.0, ignore_closed_pipe=bool(plot))

    def select(prediction: "Prediction") -> "Prediction":
        return detection.reaching(detection.only(prediction, labels), least)

    if plot:
        detector = detection.detector(tagger, labels=labels)
        plot_options.show_all(detector, sources, show, lambda view: select(view.prediction), plot, options, typed(context))
        return
    results = (
        result if isinstance(result, Failure) else select(result) for result in workers.results(tagger, sources, options)
    )
    _results.show_all(results, show, output_options.records_of(document), allow_empty=bool(inputs.shard))
