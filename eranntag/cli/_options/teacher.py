"""Options of the teachers of `distill`, `train` and `finetune`, and the Taggers that they name."""

from collections.abc import Sequence
from typing import Any

import click

FOLD = "{fold}"  # replaced by the number of the run's fold
WEIGHT = 0.9  # of the teacher beside the labels, by default

OPTIONS = [
    click.option(
        "--teacher",
        "teachers",
        metavar="CHECKPOINT",
        multiple=True,
        help=f"Mix the scores of CHECKPOINT into the labels; repeatable: several are averaged; {FOLD} is replaced by the fold.",
    ),
    click.option(
        "--teacher-weight",
        type=click.FloatRange(0, 1, min_open=True),
        metavar="X",
        show_default=str(WEIGHT),
        help="Share of the teacher in each target; the labels have the rest.",
    ),
]


def check(options: dict[str, Any]) -> None:
    """Raise UsageError for options that contradict each other."""
    if options["teacher_weight"] is not None and not options["teachers"]:
        raise click.UsageError("--teacher-weight: there is no teacher; add --teacher CHECKPOINT")
    for name in options["teachers"]:
        if FOLD in name and options["folds"] is None:
            raise click.UsageError(f"--teacher {name}: which fold? Add --fold, or write its number for {FOLD}")


def load(names: Sequence[str], options: dict[str, Any]) -> tuple[Any, str]:
    """Return the Tagger of `names`, the average of several, and its identity in a run's settings: names and digests."""
    from eranntag.checkpoints import loading
    from eranntag.cli.display import progress
    from eranntag.training import distillation

    where = {"registry": options.get("registry"), "offline": options.get("offline", False)}
    with progress.download_bar() as report:
        taggers = [loading.load(name, options["device"], many=True, report=report, **where) for name in names]
    teacher = distillation.joined(taggers, names)
    digests = " ".join(digest[:12] for tagger in taggers for digest in tagger.sha256)
    return teacher, f"{teacher.checkpoint.name} {digests}"


def soft_labels(recipe: Any, folds: Sequence[int | None], options: dict[str, Any]) -> dict[int | None, Any]:
    """Return the SoftLabels of each fold's run, none without --teacher.

    Raises UsageError for a teacher without the recipe's classes, and CheckpointError.
    """
    from eranntag.training.soft_labels import of_teacher

    weight = WEIGHT if options["teacher_weight"] is None else options["teacher_weight"]
    names = {fold: tuple(name.replace(FOLD, str(fold)) for name in options["teachers"]) for fold in folds}
    loaded = {each: of_teacher(*load(each, options), weight, recipe) for each in dict.fromkeys(names.values()) if each}
    return {fold: loaded[each] for fold, each in names.items() if each}
