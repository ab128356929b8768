"""Recipes by name, and the parts of their data sets."""

from collections.abc import Sequence
from pathlib import Path

from eranntag import registry
from eranntag.datasets import shards
from eranntag.errors import DataError, UsageError
from eranntag.types import Checkpoint, Dataset, Example, Recipe


def load(name: str, data: str | None = None) -> Dataset:
    """The data set that the recipe `name` finds at `data`, as its pack (shards/) or as its files. Raises UsageError for
    an unknown recipe, DataError."""
    module = registry.get("eranntag.recipes", name)
    pack = shards.find(data, name)
    dataset: Dataset = shards.read(pack, module.RECIPE) if pack else module.read(data)
    return dataset


def find_root(name: str, data: str | None, folders: tuple[str, ...], marker: str) -> Path:
    """The data set's folder, the one that holds `marker`: `data` itself, or one of `folders` in it."""
    if not data:
        raise DataError(f"{name}: where is the data? Give --data or set ERANNTAG_DATA to a folder with {marker}")
    tried = [Path(data) / folder for folder in ("", *folders)]
    for root in tried:
        if (root / marker).exists():
            return root
    looked = ", ".join(map(str, tried))
    raise DataError(f"{name}: no {marker} in {looked}; --data or ERANNTAG_DATA must name a folder that holds it")


def check_fold(recipe: Recipe, fold: int | None) -> None:
    """UsageError unless `fold` is one of the recipe's, or None."""
    if fold is not None and not recipe.folds:
        raise UsageError(f"{recipe.name} has no folds; leave --fold out")
    if fold is not None and fold not in recipe.folds:
        raise UsageError(f"{recipe.name} has the folds {', '.join(map(str, recipe.folds))}, not {fold}")


def check_classes(checkpoint: Checkpoint, recipe: Recipe) -> None:
    """UsageError unless the checkpoint has the recipe's classes, in any order."""
    if odd := sorted(set(checkpoint.labels) ^ set(recipe.labels)):
        theirs = f"{checkpoint.name} has {len(checkpoint.labels)} classes of its own, not those of {recipe.name}"
        raise UsageError(f"{theirs}: only one of them has {odd[0]!r}")


def check_scores(checkpoint: Checkpoint, recipe: Recipe) -> None:
    """UsageError unless the checkpoint's scores are of the recipe's kind."""
    if (theirs := checkpoint.activation) != recipe.activation:
        raise UsageError(f"{checkpoint.name} has {theirs} scores, {recipe.name} needs {recipe.activation} ones")


def part(dataset: Dataset, split: str) -> list[Example]:
    return [example for example in dataset.examples if example.split == split]


def was_trained_on(example: Example, checkpoint: Checkpoint, recipe: Recipe) -> bool:
    """Whether `example` was in the checkpoint's training set, or in that of one that it was fine-tuned from, as their headers
    say: a run leaves out one fold, or whatever is not in the training part. What a run selected by counts too."""
    for run in (checkpoint.training, *checkpoint.training.get("bases", ())):
        same = run.get("recipe") == recipe.name and recipe.title in checkpoint.data  # a title names the file of own data
        same = same or (recipe.part_of and run.get("recipe") == recipe.part_of)
        left_out = run.get("fold") is not None and example.fold == run["fold"]
        if same and example.split == "train" and not left_out:
            return True
    return False


def to_evaluate(dataset: Dataset, fold: int | None = None) -> Sequence[Example]:
    """The clips of `fold`; without one the data set's test part, else its validation part, else all clips."""
    check_fold(dataset.recipe, fold)
    if fold is None:
        return part(dataset, "test") or part(dataset, "validation") or dataset.examples
    chosen = [example for example in dataset.examples if example.fold == fold]
    if not chosen:
        raise DataError(f"{dataset.recipe.name}: none of the clips there belongs to fold {fold}")
    return chosen
