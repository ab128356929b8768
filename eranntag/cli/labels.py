"""eranntag labels: enhance."""

from pathlib import Path
from typing import Any

import click

from eranntag.cli._options import tagger as tagger_options
from eranntag.cli.display import terminal
from eranntag.results import formats


@click.group()
def command() -> None:
    """Labels of training clips: complete them with what a trained network hears."""


def _threshold(context: click.Context, parameter: click.Parameter, value: str) -> str | float:
    if value in ("mean", "median"):
        return value
    try:
        percent = float(value)
    except ValueError:
        percent = -1
    if not 0 <= percent <= 100:
        raise click.BadParameter(f"{value!r} is neither mean, median nor a percentile from 0 to 100")
    return percent


def _file(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    if value and (value.is_dir() or not value.absolute().parent.is_dir()):
        raise click.BadParameter(f"{value} must be a file in a folder that exists")
    return value


@command.command()
@click.argument("recipe")
@click.option("--data", envvar="ERANNTAG_DATA", help="The data set's folder, or one that holds it.  [$ERANNTAG_DATA]")
@click.option("--ontology", metavar="FILE", required=True, help="AudioSet's ontology.json, or one of your own in its form.")
@click.option("--fold", type=int, help="Leave the clips of this fold as they are.")
@click.option(
    "--type",
    "kind",
    type=click.Choice(["both", "children", "parents"]),
    default="both",
    show_default=True,
    help="What a clip may be given beside its classes: their children (type I), parents (type II).",
)
@click.option(
    "--ancestors",
    type=click.Choice(["all", "direct", "through-abstract"]),
    default="all",
    show_default=True,
    help="Which parents: all up to the first abstract node, the direct ones, or beyond abstract nodes too.",
)
@click.option(
    "--threshold",
    "which",
    default="mean",
    show_default=True,
    callback=_threshold,
    metavar="mean|median|PERCENT",
    help="Of the scores of the clips that have a class: what a clip's score must exceed to get it.",
)
@click.option(
    "--scores",
    type=click.Path(path_type=Path),
    callback=_file,
    metavar="FILE.npy",
    help="Keep the teacher's scores in this file, or take them from it: then no clip is heard again.",
)
@click.option(
    "--write", "output", type=click.Path(path_type=Path), callback=_file, metavar="FILE.csv", help="Write the additions."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@tagger_options.options
def enhance(
    recipe: str, kind: str, ancestors: str, which: str | float, output: Path | None, as_json: bool, **options: Any
) -> None:
    """Find labels that are missing in the training part of RECIPE (PSLA, Algorithm 2).

    The teacher (-c), trained on the labels as they are, hears every training clip. A clip gets a child or parent of one of its
    classes in the ontology if the teacher scores that class higher than it typically does where the label is there. Without
    --write this only shows what would be added. The labels of the data set are never changed: training takes the file with
    --labels, and to go back is to leave that out.

    Exit code 3: some clips could not be read, and are left as they are.
    """
    from eranntag import recipes
    from eranntag.cli.display import labels as pages, predictions
    from eranntag.training.label_enhancement import additions, enhance as labels, ontology, teacher

    if output and options["scores"] and output.resolve() == options["scores"].resolve():
        raise click.UsageError("--write and --scores must be two files")
    if output:
        additions.check_replaceable(output)
    graph = ontology.read(options["ontology"])
    dataset, fold = recipes.load(recipe, options["data"]), options["fold"]
    teacher.check(dataset.recipe)
    neighbours = ontology.neighbours(graph, dataset.recipe.labels, kind, ancestors)
    clips, paths = teacher.training_clips(dataset, fold), additions.clip_names(dataset.examples)
    names = [paths[clip.path] for clip in clips]
    spec, digest = _teacher(options)
    recipes.check_classes(spec, dataset.recipe)
    for doubt in teacher.doubts(spec, dataset, fold):
        terminal.print_status(f"eranntag: {doubt}")
    scores = _scores(options, dataset.recipe, clips, teacher.key_of(digest, dataset.recipe, names))
    for failure in scores.failures:
        predictions.failure(failure)
    result = labels.enhance(scores, clips, dataset.recipe, neighbours, which)
    origin = {
        "teacher": spec.name,
        "teacher_sha256": digest,
        "recipe": recipe,
        "fold": fold,
        "ontology_sha256": graph.sha256,
        "type": kind,
        "ancestors": ancestors,
        "threshold": which,
    }
    if output:
        additions.write(output, names, result, origin)
    if as_json:
        terminal.write_output(formats.dumps({**origin, **result.to_dict()}, indent=1) + "\n")
    else:
        pages.enhancement(result)
    terminal.print_status(
        f"eranntag: {output} is written" if output else "eranntag: nothing is written without --write FILE.csv"
    )
    if scores.failures:
        raise SystemExit(3)


def _teacher(options: dict[str, Any]) -> tuple[Any, str]:
    """The teacher's Checkpoint, and the SHA-256 of its file."""
    from eranntag.checkpoints import loading
    from eranntag.cli.display import predictions

    with predictions.download_bar() as report:
        found = loading.find(options["checkpoint"], options["registry"], options["offline"], report)
    return found.checkpoint, found.sha256


def _scores(options: dict[str, Any], recipe: Any, clips: list[Any], key: dict[str, str]) -> Any:
    """The kept ones, or those that the teacher gives now."""
    from eranntag.cli.display import predictions
    from eranntag.training.label_enhancement import teacher

    path = options["scores"]
    if path and path.exists():
        return teacher.kept(path, key)
    tagger = tagger_options.load(options, many=True)
    name = f"of {len(clips)} heard"
    counts = {name: 0}
    with predictions.progress(counts) as step:

        def one() -> None:
            counts[name] += 1
            step()

        rows = teacher.score(tagger, clips, recipe, options["batch"], one)
        return teacher.gather(rows, (len(clips), len(recipe.labels)), path, key)
