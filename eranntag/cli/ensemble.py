"""eranntag ensemble: row, fit, table."""

import os
from collections.abc import Sequence
from typing import Any

import click

from eranntag.cli._options import common
from eranntag.cli.display import terminal

RULES = ("weighted-average", "dempster-shafer", "improved-dempster-shafer")  # fusion.RULES, which imports numpy
members_argument = click.argument("members", nargs=-1, required=True, metavar="MEMBER...")


@click.group()
def command() -> None:
    """Combine checkpoints into an ensemble: row (name one), fit (find its weights), table (compare combinations)."""


@command.command()
@click.argument("name")
@members_argument
@click.option("--rule", default=RULES[0], show_default=True, help=f"Fusion rule: {', '.join(RULES)}.")
@click.option("--weights", metavar="W,W,...", show_default="equal", help="Weights of the weighted average, as in 0.5,0.3,0.2.")
@common.REGISTRY
@common.OFFLINE
def row(name: str, members: tuple[str, ...], rule: str, weights: str | None, **options: Any) -> None:
    """Print a registry row for an ensemble NAME: append it to my.toml, then `eranntag predict -c NAME --registry my.toml`."""
    _check(name, members)
    _print_row(name, _found(members, options), rule, _numbers(weights))


@command.command()
@click.argument("recipe")
@click.argument("name")
@members_argument
@common.DATA
@common.ENGINE
@common.DEVICE
@common.REGISTRY
@common.OFFLINE
def fit(recipe: str, name: str, members: tuple[str, ...], data: str | None, **options: Any) -> None:
    """Print a registry row for an ensemble NAME whose weights have the smallest log loss on RECIPE's validation clips.

    Validation clips are those that the runs of all members held out for selection (train --validation 0.1 with the same
    --seed and --fold); test clips are never used. The rule is the weighted average.
    """
    from eranntag import recipes
    from eranntag.cli.display import ensemble as display
    from eranntag.training import ensemble_search

    _check(name, members)
    dataset, found = recipes.load(recipe, data), _found(members, options)
    specs = [each.checkpoint for each in found]
    ensemble_search.check_members(dataset.recipe, specs)
    examples = ensemble_search.clips_unseen_by_all(dataset, specs)
    scored = _member_scores(members, dataset.recipe, examples, options)
    result = ensemble_search.fit(scored)
    display.print_fit(dataset.recipe, len(scored.targets), members, result)
    _print_row(name, found, "weighted-average", result.weights)


@command.command()
@click.argument("recipe")
@members_argument
@common.DATA
@common.FOLD
@common.JSON
@common.ENGINE
@common.DEVICE
@common.REGISTRY
@common.OFFLINE
def table(recipe: str, members: tuple[str, ...], data: str | None, fold: int | None, as_json: bool, **options: Any) -> None:
    """Evaluate every MEMBER and all their combinations by every rule on RECIPE; with more than eight only single members, all,
    and all but one."""
    from eranntag import recipes
    from eranntag.cli.display import ensemble as display
    from eranntag.training import ensemble_search

    _check(recipe, members)
    dataset = recipes.load(recipe, data)
    specs = [each.checkpoint for each in _found(members, options)]
    ensemble_search.check_members(dataset.recipe, specs)
    examples = recipes.to_evaluate(dataset, fold)
    known = sum(any(recipes.was_trained_on(example, spec, dataset.recipe) for spec in specs) for example in examples)
    scored = _member_scores(members, dataset.recipe, examples, options)
    found = list(ensemble_search.combinations_by_rule(scored))
    if known:
        terminal.print_status(
            f"{known} of the clips were in the training set of a member: this says little about other sounds; choose --fold"
        )
    shown = dataset.recipe, len(scored.targets), members, found
    if as_json:
        common.print_json(display.to_dict(*shown, known))
    else:
        display.print_combinations(*shown, fold)
    if scored.failures:
        raise SystemExit(3)


def _check(name: str, members: Sequence[str]) -> None:
    if len(members) < 2 or name in members:
        raise click.UsageError(f"{name}: an ensemble has two members or more, and a name of its own")
    if repeated := [member for member in dict.fromkeys(members) if members.count(member) > 1]:
        raise click.UsageError(f"{repeated[0]}: is named twice; each member counts once (--weights gives it more)")


def _found(members: Sequence[str], options: dict[str, Any]) -> list[Any]:
    """Return the file of every member, downloaded where it is not on this machine."""
    return [common.find_checkpoint(each, options["registry"], options["offline"]) for each in members]


def _member_scores(members: Sequence[str], recipe: Any, examples: Sequence[Any], options: dict[str, Any]) -> Any:
    """Return the scores of every member for every clip; progress and failures go to standard error."""
    from eranntag.checkpoints import loading
    from eranntag.cli._allocator import keep_memory
    from eranntag.cli.display import progress
    from eranntag.training import ensemble_search

    keep_memory()
    taggers = [loading.load(each, many=True, **options) for each in members]
    with progress.counter("scored") as count:
        scored = ensemble_search.collect_member_scores(taggers, recipe, examples, count)
    for failure in scored.failures:
        terminal.print_failure(failure)
    return scored


def _print_row(name: str, found: Sequence[Any], rule: str, weights: Sequence[float]) -> None:
    """Print the registry row; files are named by absolute paths, so that the registry may lie anywhere."""
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
