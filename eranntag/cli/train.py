"""eranntag train: recipe -> checkpoints."""

from typing import Any

import click

from eranntag.cli import _training


@click.command()
@click.argument("recipe")
@click.option("--model", default="erann-1-3", show_default=True, help="Architecture, erann-S-W.")
@_training.options
def command(recipe: str, model: str, **options: Any) -> None:
    """Train a model from scratch by the protocol of RECIPE: audioset, esc50, urbansound8k, ravdess, or csv and folder for
    sounds of your own.

    Interrupt it at any moment: the same command goes on where it stopped. Several GPUs or machines:
    torchrun --nproc-per-node=N -m eranntag train ...
    """
    from eranntag import recipes
    from eranntag.cli._allocator import keep_memory
    from eranntag.models import resolve

    keep_memory()
    resolve(model)
    _training.check(options)
    dataset = recipes.load(recipe, options["data"])
    settings = _training.settings_from(dataset.recipe, options, model=model)
    _training.run(dataset, settings, options, f"{model}-{recipe}", options["select"] or "last")
