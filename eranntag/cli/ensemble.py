"""eranntag ensemble: row, fit, table."""

import os
from collections.abc import Sequence
from typing import Any

import click

from eranntag.cli._options.tagger import DEVICE, ENGINE, OFFLINE, REGISTRY
from eranntag.cli.display import terminal
from eranntag.results import formats

members_argument = click.argument("members", nargs=-1, required=True, metavar="MEMBER...")
data_option = click.option(
    "--data", envvar="ERANNTAG_DATA", help="The data set's folder, or one that holds it.  [$ERANNTAG_DATA]"
)


@click.group()
def command() -> None:
    """Checkpoints that give one answer together: row (name one), fit (its weights), table (what is worth naming)."""


@command.command()
@click.argument("name")
@members_argument
@click.option("--rule", default="weighted-average", show_default=True, help="Or dempster-shafer, improved-dempster-shafer.")
@click.option("--weights", metavar="W,W...", help="Of the weighted average, as in 0.5,0.3,0.2.  [equal]")
@REGISTRY
@OFFLINE
def row(name: str, members: tuple[str, ...], rule: str, weights: str | None, **options: Any) -> None:
    """Print the registry's row of an ensemble NAME: `>> my.toml`, then `eranntag predict -c NAME --registry my.toml`."""
    _check(name, members)
    _print_row(name, _found(members, options), rule, _numbers(weights))


@command.command()
@click.argument("recipe")
@click.argument("name")
@members_argument
@data_option
@ENGINE
@DEVICE
@REGISTRY
@OFFLINE
def fit(recipe: str, name: str, members: tuple[str, ...], data: str | None, **options: Any) -> None:
    """Print the row of an ensemble NAME by weighted average whose weights suit RECIPE's validation clips.

    Those are the clips that the runs of all members held out to select by (train --validation 0.1, the same --seed and
    --fold); test clips are never used. The weights have the smallest log loss.
    """
    from eranntag import recipes
    from eranntag.cli.display import ensemble as display
    from eranntag.training import ensemble_search

    _check(name, members)
    dataset, found = recipes.load(recipe, data), _found(members, options)
    specs = [each.checkpoint for each in found]
    ensemble_search.check_members(dataset.recipe, specs)
    examples = ensemble_search.clips_unseen_by_all(dataset, specs)
    collected = _collect(members, dataset.recipe, examples, options)
    result = ensemble_search.fit(collected)
    display.fitted(dataset.recipe, len(collected.targets), members, result)
    _print_row(name, found, "weighted-average", result.weights)


@command.command()
@click.argument("recipe")
@members_argument
@data_option
@click.option("--fold", type=int, help="Only the clips of this fold.  [the data set's test clips, or all]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@ENGINE
@DEVICE
@REGISTRY
@OFFLINE
def table(recipe: str, members: tuple[str, ...], data: str | None, fold: int | None, as_json: bool, **options: Any) -> None:
    """Measure every MEMBER alone and all their combinations by every rule on RECIPE; of more than eight only all but one."""
    from eranntag import recipes
    from eranntag.cli.display import ensemble as display
    from eranntag.training import ensemble_search

    _check(recipe, members)
    dataset = recipes.load(recipe, data)
    specs = [each.checkpoint for each in _found(members, options)]
    ensemble_search.check_members(dataset.recipe, specs)
    examples = recipes.to_evaluate(dataset, fold)
    known = sum(any(recipes.was_trained_on(example, spec, dataset.recipe) for spec in specs) for example in examples)
    collected = _collect(members, dataset.recipe, examples, options)
    found = list(ensemble_search.combinations_by_rule(collected))
    if known:
        terminal.print_status(
            f"{known} of the clips were in the training set of a member: this says little about other sounds; choose --fold"
        )
    shown = dataset.recipe, len(collected.targets), members, found
    if as_json:
        terminal.write_output(formats.dumps(display.to_dict(*shown, known), indent=1) + "\n")
    else:
        display.combinations(*shown, fold)
    if collected.failures:
        raise SystemExit(3)


def _check(name: str, members: Sequence[str]) -> None:
    if len(members) < 2 or name in members:
        raise click.UsageError(f"{name}: an ensemble has two members or more, and a name of its own")
    if twice := [member for member in dict.fromkeys(members) if members.count(member) > 1]:
        raise click.UsageError(f"{twice[0]}: is named twice; each member counts once (--weights gives it more)")


def _found(members: Sequence[str], options: dict[str, Any]) -> list[Any]:
    """The file of every member, downloaded if need be."""
    from eranntag.checkpoints import loading
    from eranntag.cli.display import predictions

    with predictions.download_bar() as report:
        return [loading.find(each, options["registry"], options["offline"], report) for each in members]


def _collect(members: Sequence[str], recipe: Any, examples: Sequence[Any], options: dict[str, Any]) -> Any:
    """The scores of every clip by every member, with progress and failures on standard error."""
    from eranntag.checkpoints import loading
    from eranntag.cli._allocator import keep_memory
    from eranntag.cli.display import predictions
    from eranntag.training import ensemble_search

    keep_memory()
    taggers = [loading.load(each, many=True, **options) for each in members]
    counts = {"heard": 0}
    with predictions.progress(counts) as step:

        def one() -> None:
            counts["heard"] += 1
            step()

        collected = ensemble_search.collect_member_scores(taggers, recipe, examples, one)
    for failure in collected.failures:
        predictions.failure(failure)
    return collected


def _print_row(name: str, found: Sequence[Any], rule: str, weights: Sequence[float]) -> None:
    """A file gets its whole path, so that the registry may lie anywhere."""
    from eranntag.checkpoints import catalog, rows
    from eranntag.inference import ensemble, fusion

    if name in catalog.load_catalog().rows:
        terminal.print_status(
            f"{name}: eranntag's own checkpoint of that name is hidden where this row's registry is used; choose another name"
        )
    if wrong := fusion.rule_error(len(found), rule, weights):
        raise click.UsageError(wrong)
    spec = ensemble.described(name, [each.checkpoint for each in found], rule, weights)
    named = [each.row is not None or each.name.startswith("hf:") for each in found]
    places = [each.name if known else os.path.abspath(each.path) for each, known in zip(found, named, strict=True)]
    terminal.write_output(rows.ensemble_row(name, places, spec))


def _numbers(text: str | None) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise click.UsageError(f"--weights {text}: numbers separated by commas, as in 0.5,0.5") from None
