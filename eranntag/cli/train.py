"""eranntag train: recipe -> checkpoints."""

from typing import Any

import click

from eranntag import registry
from eranntag.cli._options import teacher as teacher_options, training as training_options


@click.command()
@click.argument("recipe")
@click.option("--model", default="erann-1-3", show_default=True, help="Architecture: erann-S-W, mn04, mn10, psla or cnn14.")
@click.option(
    "--features",
    metavar="NAME",
    show_default="that of the model",
    help=f"Front-end: {', '.join(registry.names('eranntag.features'))}.",
)
@training_options.options
def command(recipe: str, model: str, features: str | None, **options: Any) -> None:
    """Train a model from scratch by the protocol of RECIPE: audioset, audioset_balanced, esc50, urbansound8k, ravdess,
    mixtures, or csv or folder for your own sounds.

    An interrupted run is continued by the same command. Several GPUs or machines:
    torchrun --nproc-per-node=N -m eranntag train ...
    """
    from eranntag import models, recipes
    from eranntag.cli._allocator import keep_memory

    keep_memory()
    features = features or models.front_end(model)[0]
    registry.get("eranntag.features", features)
    training_options.check(options)
    teacher_options.check(options)
    dataset = recipes.load(recipe, options["data"])
    settings = training_options.settings_from(dataset.recipe, options, model=model, features=features)
    name = models.described(model, models.resolve(model)[0], features)
    training_options.run(dataset, settings, options, f"{name}-{recipe}", options["select"] or "last")
