"""What `train` and `finetune` share: options, and the way from them to runs."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from eranntag.cli._options import teacher as teacher_options
from eranntag.cli.display import terminal
from eranntag.training.augment.options import MIXUPS, NAMES, parse

_NAMES = ", ".join(NAMES)

# What needs the clips' own labels, and what any run has.
_LABELED = [
    click.option(
        "--data", envvar="ERANNTAG_DATA", help="The data set: a folder, one that holds it, or a CSV.  [$ERANNTAG_DATA]"
    ),
    click.option(
        "--labels",
        "additions",
        type=click.Path(dir_okay=False),
        help="Labels to add to the training clips, as `eranntag labels enhance` writes them.",
    ),
    click.option("--fold", "--folds", "folds", metavar="N|all", help="Hold out this fold; 1,3 or all: one run for each."),
    click.option("--repeats", type=click.IntRange(1), default=1, show_default=True, help="Runs with successive seeds."),
    click.option("--mixup", type=click.Choice(list(MIXUPS)), help="Table 3 of the paper.  [the recipe's]"),
    click.option("--validation", type=float, help="Share of the training clips to select by; the fold is then only a test."),
    click.option("--select", type=click.Choice(["last", "best"]), help="The checkpoint that is the run's result."),
]
_RUN = [
    click.option("--iterations", type=int, help="Length of the run.  [the recipe's]"),
    click.option("--batch", type=int, help="Examples an iteration, over all processes.  [the recipe's]"),
    click.option("--lr", type=float, help="(Highest) learning rate.  [the recipe's]"),
    click.option("--schedule", help="constant, one-cycle, plateau, psla-balanced, psla-full.  [the recipe's]"),
    click.option("--ema-warm-up/--no-ema-warm-up", default=None, help="Averaged weights forget the start sooner (short runs)."),
    click.option("--augment", metavar="LIST", help=f"none, or {_NAMES}, as in pitch-shift=2.  [the recipe's]"),
    click.option("--evaluate-every", type=int, help="Iterations between evaluations.  [the recipe's]"),
    click.option("--set", "assignments", metavar="NAME=VALUE", multiple=True, help="Any other setting, such as accumulate=2."),
    click.option("--seed", type=click.IntRange(0), default=0, show_default=True),
    click.option("--out", type=click.Path(path_type=Path), help="The run's folder.  [runs/MODEL-RECIPE-...]"),
    click.option("--restart", is_flag=True, help="Begin anew even if the folder holds a run."),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps."),
    click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), help="Of the network's autocast.  [float32]"),
    click.option("--compile", "compiled", is_flag=True, help="torch.compile the network: slow start, maybe faster steps."),
    click.option("--workers", type=click.IntRange(1), help="Threads that decode and crop.  [one a processor, 8 at most]"),
    click.option("--tensorboard", is_flag=True, help="Also write OUT/tensorboard (needs the package tensorboard)."),
]


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed([*_LABELED, *teacher_options.OPTIONS, *_RUN]):
        function = option(function)
    return function


def run_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Those that have nothing to do with the clips' labels."""
    for option in reversed(_RUN):
        function = option(function)
    return function


def augmentations(text: str) -> tuple[str, ...]:
    """ "none", or names separated by commas, checked."""
    names = () if text in ("", "none") else tuple(text.split(","))
    parse(names)
    return names


def check(options: dict[str, Any]) -> None:
    """What can be refused before a data set is read, which may take long."""
    from eranntag.training import config

    augmentations(options["augment"] or "")
    config.parse(options["assignments"])


def settings_from(recipe: Any, options: dict[str, Any], **fixed: Any) -> Any:
    """The recipe's protocol with the user's changes."""
    from eranntag.training import config

    names = {"iterations", "batch", "schedule", "ema_warm_up", "mixup", "evaluate_every", "validation", "seed", "dtype"}
    changes = {name: value for name in names if (value := options.get(name)) is not None}
    if options["lr"] is not None:
        changes["learning_rate"] = options["lr"]
    if options["augment"] is not None:
        changes["augment"] = augmentations(options["augment"])
    return config.from_recipe(recipe, **(fixed | changes | config.parse(options["assignments"])))


def folds_from(text: str | None, recipe: Any) -> list[int | None]:
    """None (no fold), "3", "1,3" or "all"."""
    from eranntag.errors import UsageError
    from eranntag.recipes import check_fold

    if text is None:
        return [None]
    if text == "all" and not recipe.folds:
        raise UsageError(f"{recipe.name} has no folds; leave --fold out")
    try:
        folds = list(recipe.folds) if text == "all" else [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--fold {text}: a number, several as in 1,3, or all") from None
    for fold in folds:
        check_fold(recipe, fold)
    return list(dict.fromkeys(folds))


def begun(dataset: Any, options: dict[str, Any], stack: Any) -> tuple[Any, Any]:
    """The Machine that trains, and the `report` of its run, both until `stack` ends."""
    import torch

    from eranntag.cli.display import training as display
    from eranntag.inference import devices
    from eranntag.training import distributed, events, tensorboard

    world, device = stack.enter_context(distributed.connected(torch.device(devices.pick(options["device"]))))
    machine = distributed.Machine(device, world, options["compiled"], options["workers"] or min(os.cpu_count() or 1, 8))
    report = stack.enter_context(display.log(quiet=not world.first))
    report(events.DatasetLoaded(dataset))
    return machine, tensorboard.also(report) if options["tensorboard"] and world.first else report


def run(dataset: Any, settings: Any, options: dict[str, Any], name: str, select: str | None, base: Any = None) -> None:
    """All runs; the chosen checkpoints' paths on standard output, what they come to on standard error."""
    import dataclasses
    from contextlib import ExitStack

    from eranntag.checkpoints.digest import file_sha256
    from eranntag.cli.display import training as display
    from eranntag.training import cross_validation, paper_comparison
    from eranntag.training.label_enhancement import additions

    folds = folds_from(options["folds"], dataset.recipe)
    added = {}
    if file := options["additions"]:
        added = additions.read_additions(file, dataset)
        settings = dataclasses.replace(settings, added_labels=f"{Path(file).name} {file_sha256(Path(file))[:12]}")
    soft_labels = teacher_options.soft_labels(dataset.recipe, folds, options)
    several = len(folds) * options["repeats"] > 1
    one = f"-fold{folds[0]}" if folds[0] is not None else ""
    folder = options["out"] or Path("runs") / (name if several else f"{name}{one}-seed{settings.seed}")
    with ExitStack() as stack:
        machine, report = begun(dataset, options, stack)
        world = machine.world
        done = []
        for finished in cross_validation.runs(
            dataset,
            settings,
            folds,
            options["repeats"],
            folder,
            select,
            machine,
            base,
            options["restart"],
            report,
            added,
            soft_labels,
        ):
            done.append(finished)
            if world.first:
                paper = paper_comparison.published(dataset.recipe, finished.settings)
                display.run(dataset.recipe, finished, paper, base.checkpoint.name if base else "")
                terminal.write_output(f"{finished.path}\n")
    if world.first and several:
        result = paper_comparison.summary(dataset.recipe, done)
        display.cross_validation(result, paper_comparison.write_summary(result, folder))
