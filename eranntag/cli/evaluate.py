"""eranntag evaluate: checkpoint + data set -> its measures."""

from pathlib import Path
from typing import Any

import click

from eranntag import records, terminal
from eranntag.cli import _detector, _tagger
from eranntag.cli._typed import typed


@click.command()
@click.argument("recipe")
@click.option("--data", envvar="ERANNTAG_DATA", help="The data set's folder, or one that holds it.  [$ERANNTAG_DATA]")
@click.option("--fold", type=int, help="Only the clips of this fold.  [the data set's test clips, or all]")
@click.option(
    "--sample-rate",
    type=click.IntRange(1000, 192_000),
    metavar="HZ",
    help="As if clips were recorded at no higher rate.",
)
@click.option("--paper", is_flag=True, help="Compare with the published results of the checkpoint's architecture.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--events", is_flag=True, help="Also look for events, as `eranntag detect` does, and measure these.")
@click.option("--page", type=click.Path(path_type=Path), help="Write a page with figures (.html), or a figure alone (.png).")
@_detector.options
@_tagger.options
@click.pass_context
def command(
    context: click.Context, /, recipe: str, paper: bool, as_json: bool, events: bool, page: Path | None, **options: Any
) -> None:
    """Measure a checkpoint on the data set RECIPE (such as esc50), from the files, as `predict` hears them.

    With --events, for data with strong labels (mixtures): precision, recall and F1 of what `detect` finds, under its options
    from --threshold to --median.
    """
    from eranntag import plots, recipes, render
    from eranntag.evaluation import evaluate
    from eranntag.evaluation import events as sed
    from eranntag.plots import evaluation

    if not events and (idle := _detector.given(options)):
        raise click.UsageError(f"{idle} says how to find events, which needs --events")
    if page:
        plots.check(page, "--page", (".html", ".png"))
    dataset = recipes.load(recipe, options["data"])
    tagger = _tagger.load(options, many=True)
    detector = _detector.build(tagger, options) if events else None
    if detector:
        sed.check(detector, dataset, options["fold"])
    counts = {"evaluated": 0}
    with render.progress(counts) as step:

        def one() -> None:
            counts["evaluated"] += 1
            step()

        how = dataset, options["fold"], options["batch"], one, options["sample_rate"]
        result = evaluate(tagger, *how)
        found = sed.evaluate(detector, *how) if detector else None
    failures = dict.fromkeys((*result.failures, *(found.failures if found else ())))
    for failure in failures:
        render.failure(failure)
    if page:
        evaluation.draw(result, page, typed(context), paper)
    if as_json:
        record = result.to_dict(paper) | ({"events": found.to_dict()} if found else {})
        terminal.give(records.dumps(record, indent=1) + "\n")
    else:
        render.evaluation(result, paper)
        if found:
            render.found_events(found)
    if failures:
        raise SystemExit(3)
