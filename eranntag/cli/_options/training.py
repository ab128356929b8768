"""The options of `train`, `finetune` and `distill`, and the way from them to runs."""

import os
from pathlib import Path
from typing import Any

import click

from eranntag.cli._options import common, teacher as teacher_options
from eranntag.cli._options.group import combine
from eranntag.cli.display import terminal
from eranntag.training.augment.options import MIXUPS, NAMES, parse
from eranntag.training.schedules import SCHEDULES

_FROM_RECIPE = "from the recipe"

# Options that need labels, and those of any run.
_LABELED = [
    common.DATA,
    click.option(
        "--labels",
        "additions",
        type=click.Path(dir_okay=False),
        help="Labels to add to the training clips, as written by `eranntag labels enhance`.",
    ),
    click.option(
        "--fold",
        "--folds",
        "folds",
        metavar="N|all",
        help="Hold out fold N; several folds, as in 1,3, or all: one run for each.",
    ),
    click.option(
        "--repeats", type=click.IntRange(1), default=1, show_default=True, help="Number of runs, with successive seeds."
    ),
    click.option("--mixup", type=click.Choice(list(MIXUPS)), show_default=_FROM_RECIPE, help="Mixup, as in Table 3 of ERANN."),
    click.option("--validation", type=float, help="Share of the training clips to select by; the fold is then only a test."),
    click.option(
        "--select",
        type=click.Choice(["last", "best"]),
        help="Result of a run: the last checkpoint, or the best one on held-out clips.",
    ),
]
_RUN = [
    click.option("--iterations", type=int, show_default=_FROM_RECIPE, help="Number of training iterations."),
    click.option("--batch", type=int, show_default=_FROM_RECIPE, help="Examples per iteration, over all processes."),
    click.option("--lr", type=float, show_default=_FROM_RECIPE, help="Peak learning rate."),
    click.option("--schedule", show_default=_FROM_RECIPE, help=f"Learning-rate schedule: {', '.join(SCHEDULES)}."),
    click.option(
        "--ema-warm-up/--no-ema-warm-up",
        default=None,
        show_default=_FROM_RECIPE,
        help="Average the weights over fewer iterations at the start, for short runs.",
    ),
    click.option(
        "--augment",
        metavar="LIST",
        show_default=_FROM_RECIPE,
        help=f"Augmentations separated by commas: {', '.join(NAMES)}, as in pitch-shift=2; or none.",
    ),
    click.option("--evaluate-every", type=int, show_default=_FROM_RECIPE, help="Iterations between evaluations."),
    click.option(
        "--set", "assignments", metavar="NAME=VALUE", multiple=True, help="Any other setting, as in accumulate=2; repeatable."
    ),
    click.option(
        "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of weights, order and augmentation."
    ),
    click.option(
        "--out",
        type=click.Path(path_type=Path),
        metavar="FOLDER",
        show_default="runs/MODEL-RECIPE-...",
        help="Folder of the run.",
    ),
    click.option("--restart", is_flag=True, help="Start again from iteration 0 even if the folder holds a run."),
    common.DEVICE,
    click.option(
        "--dtype",
        type=click.Choice(["float32", "bfloat16"]),
        show_default="float32",
        help="Data type of autocast in the network.",
    ),
    click.option(
        "--compile", "compiled", is_flag=True, help="torch.compile the network: slow start, perhaps faster iterations."
    ),
    click.option(
        "--workers", type=click.IntRange(1), show_default="one per CPU, 8 at most", help="Threads that decode and crop clips."
    ),
    click.option("--tensorboard", is_flag=True, help="Also write OUT/tensorboard (needs the package tensorboard)."),
]

options = combine(*_LABELED, *teacher_options.OPTIONS, *_RUN)
run_options = combine(*_RUN)


def augmentations(text: str) -> tuple[str, ...]:
    """Return the names in "none" or "a,b=2". Raises UsageError for an unknown one."""
    names = () if text in ("", "none") else tuple(text.split(","))
    parse(names)
    return names


def check(options: dict[str, Any]) -> None:
    """Raise UsageError for wrong --augment and --set, before a data set is read, which may take long."""
    from eranntag.training import config

    augmentations(options["augment"] or "")
    config.parse(options["assignments"])


def settings_from(recipe: Any, options: dict[str, Any], **fixed: Any) -> Any:
    """Return the Settings of a run: those of `recipe`, then `fixed`, then the options."""
    from eranntag.training import config

    names = {"iterations", "batch", "schedule", "ema_warm_up", "mixup", "evaluate_every", "validation", "seed", "dtype"}
    changes = {name: value for name in names if (value := options.get(name)) is not None}
    if options["lr"] is not None:
        changes["learning_rate"] = options["lr"]
    if options["augment"] is not None:
        changes["augment"] = augmentations(options["augment"])
    return config.from_recipe(recipe, **(fixed | changes | config.parse(options["assignments"])))


def folds_from(text: str | None, recipe: Any) -> list[int | None]:
    """Return the folds in "3", "1,3" or "all"; [None] (no fold is held out) for None."""
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


def start(dataset: Any, options: dict[str, Any], stack: Any) -> tuple[Any, Any]:
    """Return the Machine that trains and the `report` of its run, both open until `stack` ends."""
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
    """Train all runs; print the selected checkpoints' paths on standard output and their results on standard error."""
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
        machine, report = start(dataset, options, stack)
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
