"""eranntag train: recipe -> checkpoints."""

from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("recipe")
@click.option("--data", envvar="ERANNTAG_DATA", help="The data set's folder, or one that holds it.  [$ERANNTAG_DATA]")
@click.option("--fold", type=int, help="The fold to hold out; without it every clip is trained on.")
@click.option("--model", default="erann-1-3", show_default=True, help="Architecture, erann-S-W.")
@click.option("--out", type=click.Path(path_type=Path), help="The run's folder.  [runs/MODEL-RECIPE-foldF-seedS]")
@click.option("--iterations", type=click.IntRange(1), help="Length of the run.  [the recipe's]")
@click.option("--batch", type=click.IntRange(1), help="Examples an iteration.  [the recipe's]")
@click.option("--lr", type=click.FloatRange(0, min_open=True), help="(Highest) learning rate.  [the recipe's]")
@click.option("--schedule", type=click.Choice(["constant", "one-cycle"]), help="Of the learning rate.  [the recipe's]")
@click.option("--ema-warm-up", is_flag=True, help="Let the averaged weights forget the random start sooner (short runs).")
@click.option("--mixup/--no-mixup", default=True, help="Modified mixup of waveforms.  [on]")
@click.option("--spec-augment/--no-spec-augment", default=True, help="Time and frequency stripes.  [on]")
@click.option("--evaluate-every", type=click.IntRange(1), help="Iterations between evaluations.  [the recipe's]")
@click.option("--seed", default=0, show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True, help="Autocast.")
@click.option("--compile", "compiled", is_flag=True, help="torch.compile the network: slow start, faster steps.")
@click.option("--restart", is_flag=True, help="Begin anew even if the folder holds a run.")
def command(
    recipe: str, data: str | None, out: Path | None, device: str, compiled: bool, restart: bool, **options: Any
) -> None:
    """Train a model by the protocol of RECIPE (such as esc50).

    Interrupt it at any moment: the same command goes on where it stopped.
    """
    from eranntag import registry, render
    from eranntag.cli._allocator import keep_memory
    from eranntag.tagger import pick_device
    from eranntag.training.loop import train

    keep_memory()
    module = registry.get("eranntag.recipes", recipe)
    settings = _settings(module.RECIPE, options)
    fold = f"-fold{settings.fold}" if settings.fold is not None else ""
    folder = out or Path("runs") / f"{settings.model}-{recipe}{fold}-seed{settings.seed}"
    with render.training_log() as report:
        path = train(module.RECIPE, module.examples(data), settings, folder, pick_device(device), compiled, restart, report)
    click.echo(path)


def _settings(recipe: Any, options: dict[str, Any]) -> Any:
    """The recipe's protocol with the user's changes."""
    from eranntag.recipes import check_fold
    from eranntag.training.state import Settings

    check_fold(recipe, options["fold"])
    return Settings(
        recipe=recipe.name,
        model=options["model"],
        fold=options["fold"],
        seed=options["seed"],
        iterations=options["iterations"] or recipe.iterations,
        batch=options["batch"] or recipe.batch,
        learning_rate=options["lr"] or recipe.learning_rate,
        schedule=options["schedule"] or recipe.schedule,
        crop_seconds=recipe.crop_seconds,
        ema_decay=recipe.ema_decay,
        ema_warm_up=options["ema_warm_up"],
        mixup_alpha=recipe.mixup_alpha,
        mixup=options["mixup"],
        spec_augment=options["spec_augment"],
        dtype=options["dtype"],
        evaluate_every=options["evaluate_every"] or recipe.evaluate_every,
    )
