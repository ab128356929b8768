"""eranntag evaluate: checkpoint + data set -> its measures."""

from pathlib import Path
from typing import Any

import click

from eranntag.cli._command_line import typed
from eranntag.cli._options import detector as detector_options, tagger as tagger_options
from eranntag.cli.display import terminal
from eranntag.results import formats


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
@detector_options.options
@tagger_options.options
@click.pass_context
def command(
    context: click.Context, /, recipe: str, paper: bool, as_json: bool, events: bool, page: Path | None, **options: Any
) -> None:
    """Measure a checkpoint on the data set RECIPE (such as esc50), from the files, as `predict` hears them.

    With --events, for data with strong labels (mixtures): precision, recall and F1 of what `detect` finds, under its options
    from --threshold to --median.
    """
    from eranntag import recipes
    from eranntag.cli.display import predictions
    from eranntag.evaluation import sed as sed
    from eranntag.evaluation.tagging import evaluate
    from eranntag.visualization import evaluation, figures

    if not events and (idle := detector_options.given(options)):
        raise click.UsageError(f"{idle} says how to find events, which needs --events")
    if page:
        figures.check(page, "--page", (".html", ".png"))
    dataset = recipes.load(recipe, options["data"])
    tagger = tagger_options.load(options, many=True)
    detector = detector_options.build(tagger, options) if events else None
    if detector:
        sed.examples_to_evaluate(detector, dataset, options["fold"])
    counts = {"evaluated": 0}
    with predictions.progress(counts) as step:

        def one() -> None:
            counts["evaluated"] += 1
            step()

        how = dataset, options["fold"], options["batch"], one, options["sample_rate"]
        result = evaluate(tagger, *how)
        found = sed.evaluate(detector, *how) if detector else None
    failures = dict.fromkeys((*result.failures, *(found.failures if found else ())))
    for failure in failures:
        predictions.failure(failure)
    if page:
        evaluation.draw(result, page, typed(context), paper)
    if as_json:
        record = result.to_dict(paper) | ({"events": found.to_dict()} if found else {})
        terminal.write_output(formats.dumps(record, indent=1) + "\n")
    else:
        predictions.evaluation(result, paper)
        if found:
            predictions.found_events(found)
    if failures:
        raise SystemExit(3)
