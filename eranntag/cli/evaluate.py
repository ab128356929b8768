"""eranntag evaluate: checkpoint + data set -> its measures."""

from pathlib import Path

import click

from eranntag.cli._command_line import typed
from eranntag.cli._options import common
from eranntag.cli._options.detector import DetectorOptions
from eranntag.cli._options.group import add_options
from eranntag.cli._options.tagger import TaggerOptions


@click.command()
@click.argument("recipe")
@common.DATA
@common.FOLD
@click.option(
    "--sample-rate",
    type=click.IntRange(1000, 192_000),
    metavar="HZ",
    help="Evaluate as if clips were recorded at this sample rate, unless theirs is lower.",
)
@click.option("--paper", is_flag=True, help="Compare with the published results of the checkpoint's architecture.")
@common.JSON
@click.option("--events", "with_events", is_flag=True, help="Also detect events, as `eranntag detect` does, and score them.")
@click.option(
    "--page", type=click.Path(path_type=Path), metavar="FILE", help="Write a page with figures (.html), or one figure (.png)."
)
@add_options(DetectorOptions, "events")
@add_options(TaggerOptions, "options")
@click.pass_context
def command(
    context: click.Context,
    /,
    recipe: str,
    data: str | None,
    fold: int | None,
    sample_rate: int | None,
    paper: bool,
    as_json: bool,
    with_events: bool,
    page: Path | None,
    events: DetectorOptions,
    options: TaggerOptions,
) -> None:
    """Evaluate a checkpoint on the files of the data set RECIPE (such as esc50), as `predict` tags them.

    With --events, for data with strong labels (mixtures): precision, recall and F1 of what `detect` finds with the options
    from --threshold to --median.
    """
    from eranntag import recipes
    from eranntag.cli.display import evaluation as display, progress, terminal
    from eranntag.evaluation import sed
    from eranntag.evaluation.tagging import evaluate
    from eranntag.visualization import evaluation, figures

    if not with_events and events.typed:
        raise click.UsageError(f"{events.typed} says how to find events, which needs --events")
    if page:
        figures.check(page, "--page", (".html", ".png"))
    dataset = recipes.load(recipe, data)
    tagger = options.load(many=True)
    detector = events.build(tagger) if with_events else None
    if detector:
        sed.examples_to_evaluate(detector, dataset, fold)
    with progress.counter("evaluated") as count:
        result = evaluate(tagger, dataset, fold, options.batch, count, sample_rate)
        found = sed.evaluate(detector, dataset, fold, options.batch, count, sample_rate) if detector else None
    failures = dict.fromkeys((*result.failures, *(found.failures if found else ())))
    for failure in failures:
        terminal.print_failure(failure)
    if page:
        evaluation.draw(result, page, typed(context), paper)
    if as_json:
        common.print_json(result.to_dict(paper) | ({"events": found.to_dict()} if found else {}))
    else:
        display.print_tagging(result, paper)
        if found:
            display.print_detection(found)
    if failures:
        raise SystemExit(3)
