"""eranntag labels: enhance."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eranntag.cli._options import common
from eranntag.cli._options.group import add_options
from eranntag.cli._options.tagger import TaggerOptions
from eranntag.cli.display import terminal

if TYPE_CHECKING:
    from eranntag.training.label_enhancement.enhance import Enhancement
    from eranntag.types import Checkpoint

KINDS = ("both", "children", "parents")
ANCESTORS = ("all", "direct", "through-abstract")


@click.group()
def command() -> None:
    """Labels of training clips: add missing ones by the scores of a trained network."""


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
@common.DATA
@click.option("--ontology", metavar="FILE", required=True, help="AudioSet's ontology.json, or another file of that form.")
@click.option("--fold", type=int, metavar="N", help="Do not change the clips of fold N.")
@click.option(
    "--type",
    "kind",
    type=click.Choice(KINDS),
    default="both",
    show_default=True,
    help="Which labels may be added: children of the clip's classes (type I), parents (type II), or both.",
)
@click.option(
    "--ancestors",
    type=click.Choice(ANCESTORS),
    default="all",
    show_default=True,
    help="Which parents: all up to the first abstract node, only direct ones, or also those behind abstract nodes.",
)
@click.option(
    "--threshold",
    "which",
    default="mean",
    show_default=True,
    callback=_threshold,
    metavar="mean|median|PERCENT",
    help="A clip gets a class if its score exceeds this statistic of the scores of the clips labeled with the class.",
)
@click.option(
    "--scores",
    type=click.Path(path_type=Path),
    callback=_file,
    metavar="FILE.npy",
    help="Store the teacher's scores in FILE.npy, or read them from it if it exists, so that no clip is scored again.",
)
@click.option(
    "--write",
    "output",
    type=click.Path(path_type=Path),
    callback=_file,
    metavar="FILE.csv",
    help="Write the additions to FILE.csv.",
)
@common.JSON
@add_options(TaggerOptions, "options")
def enhance(
    recipe: str,
    data: str | None,
    ontology: str,
    fold: int | None,
    kind: str,
    ancestors: str,
    which: str | float,
    scores: Path | None,
    output: Path | None,
    as_json: bool,
    options: TaggerOptions,
) -> None:
    """Find labels that are missing in the training part of RECIPE (PSLA, Algorithm 2).

    The teacher (-c), trained on the present labels, scores every training clip. A clip gets a child or parent of one of its
    classes in the ontology if its score for that class is higher than is typical of clips that have the label. The labels of
    the data set are never changed: --write FILE.csv writes the additions, which `train --labels FILE.csv` uses. Without
    --write they are only counted.

    Exit code 3: some clips could not be read, and are left unchanged.
    """
    from eranntag import recipes
    from eranntag.training.label_enhancement import additions, enhance as labels, ontology as ontologies, teacher

    if output and scores and output.resolve() == scores.resolve():
        raise click.UsageError("--write and --scores must be two files")
    if output:
        additions.check_replaceable(output)
    graph = ontologies.read(ontology)
    dataset = recipes.load(recipe, data)
    teacher.check(dataset.recipe)
    neighbors = ontologies.neighbors(graph, dataset.recipe.labels, kind, ancestors)
    clips = teacher.training_clips(dataset, fold)
    paths = additions.clip_names(dataset.examples)
    names = [paths[clip.path] for clip in clips]
    spec, digest = _teacher(options)
    recipes.check_classes(spec, dataset.recipe)
    for doubt in teacher.doubts(spec, dataset, fold):
        terminal.print_status(f"eranntag: {doubt}")
    scored = _scores(options, scores, dataset.recipe, clips, teacher.key_of(digest, dataset.recipe, names))
    for failure in scored.failures:
        terminal.print_failure(failure)
    result = labels.enhance(scored, clips, dataset.recipe, neighbors, which)
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
    _print_result(result, origin, output, as_json)
    if scored.failures:
        raise SystemExit(3)


def _print_result(result: "Enhancement", origin: dict[str, Any], output: Path | None, as_json: bool) -> None:
    from eranntag.cli.display import labels as display

    if as_json:
        common.print_json({**origin, **result.to_dict()})
    else:
        display.print_enhancement(result)
    terminal.print_status(
        f"eranntag: {output} is written" if output else "eranntag: nothing is written without --write FILE.csv"
    )


def _teacher(options: TaggerOptions) -> tuple["Checkpoint", str]:
    """Return the teacher's Checkpoint and the SHA-256 of its file."""
    found = common.find_checkpoint(options.checkpoint, options.registry, options.offline)
    return found.checkpoint, found.sha256


def _scores(options: TaggerOptions, path: Path | None, recipe: Any, clips: list[Any], key: dict[str, str]) -> Any:
    """Return the scores that are stored at `path`, or those of the teacher, which are stored there."""
    from eranntag.cli.display import progress
    from eranntag.training.label_enhancement import teacher

    if path and path.exists():
        return teacher.kept(path, key)
    tagger = options.load(many=True)
    with progress.counter(f"of {len(clips)} scored") as count:
        rows = teacher.score(tagger, clips, recipe, options.batch, count)
        return teacher.gather(rows, (len(clips), len(recipe.labels)), path, key)
