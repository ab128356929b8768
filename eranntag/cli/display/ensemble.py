"""The metrics of combinations of checkpoints, laid out as in the tables of the slides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from eranntag.cli.display.terminal import print_status, print_text
from eranntag.inference import fusion

if TYPE_CHECKING:
    from eranntag.training.ensemble_search import Combination, Fitted
    from eranntag.types import Recipe

COLUMNS = dict(zip(fusion.RULES, ("WA", "D-S", "ID-S"), strict=True))


def print_combinations(
    recipe: Recipe, clips: int, names: Sequence[str], found: Sequence[Combination], fold: int | None = None
) -> None:
    """Print a line for each combination on standard output, with a star at its best rule and two at the best of all."""
    best = max(value for each in found for value in each.values.values())
    print_text(f"{recipe.metric} on {recipe.name}{f', fold {fold}' if fold is not None else ''} ({clips} clips)", "")
    for index, name in enumerate(names):
        print_text(f"{_letter(index):>3}  {name}")
    width = max(len(_members(each)) for each in found)
    print_text("", " " * width + "".join(f"  {column:>8}" for column in COLUMNS.values()))
    for each in found:
        cells = (_cell(each, rule, best) for rule in COLUMNS)
        print_text(f"{_members(each):{width}}" + "".join(cells).rstrip())
    print_text("", "* the best rule for these members   ** the best of all (chosen by these clips, and so a little too good)")
    if undefined := sum(each.undefined for each in found):
        what = "clips" if recipe.activation == "softmax" else "pairs of clip and class"
        print_text(f"D-S was undefined {undefined} times ({what}, all combinations) and took the average there")


def to_dict(recipe: Recipe, clips: int, names: Sequence[str], found: Sequence[Combination], trained_on: int) -> dict[str, Any]:
    """Return the combinations for JSON."""
    rows = [
        {"members": [names[index] for index in each.members], "values": each.values, "undefined": each.undefined}
        for each in found
    ]
    return {"recipe": recipe.name, "metric": recipe.metric, "clips": clips, "trained_on": trained_on, "combinations": rows}


def print_fit(recipe: Recipe, clips: int, names: Sequence[str], result: Fitted) -> None:
    """Print the metrics with equal and with fitted weights on standard error, and the weights."""
    print_status(f"on {clips} validation clips (not test clips):")
    for name, (loss, value) in (("equal weights", result.equal), ("fitted weights", result.fitted)):
        print_status(f"{name:15} log loss {loss:.4f}  {recipe.metric} {value:.4f}")
    for name, weight in zip(names, result.weights, strict=True):
        print_status(f"{weight:.3f}  {name}")


def _letter(index: int) -> str:
    return chr(ord("A") + index) if index < 26 else str(index + 1)


def _members(each: Combination) -> str:
    return " ".join(map(_letter, each.members))


def _cell(each: Combination, rule: str, best: float) -> str:
    if rule not in each.values:
        return " " * 10
    value = each.values[rule]
    stars = "**" if value == best else "*" if len(each.values) > 1 and value == max(each.values.values()) else ""
    return f"  {value:6.4f}{stars:2}"
