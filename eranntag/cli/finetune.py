"""eranntag finetune: checkpoint + recipe -> a checkpoint for other classes."""

from typing import Any

import click

from eranntag.cli import _probe
from eranntag.cli._options import teacher as teacher_options, training as training_options

PROBE = "probe"  # a `head` that is fitted to embeddings, without training


@click.command()
@click.argument("checkpoint")
@click.argument("recipe")
@click.option("--head", help="New layers: fc2, fc1+fc2; of psla attention. Or keep, or probe.  [the first]")
@click.option("--registry", metavar="FILE", help="A registry of your own beside checkpoints.toml.  [$ERANNTAG_REGISTRY]")
@click.option("--offline", is_flag=True, help="Never connect: embedded and cached checkpoints only.")
@training_options.options
@click.pass_context
def command(context: click.Context, /, checkpoint: str, recipe: str, head: str | None, **options: Any) -> None:
    """Fine-tune CHECKPOINT (a name, a file, hf:OWNER/REPO) on RECIPE: `csv --data labels.csv` or `folder --data sounds/` for
    sounds of your own, or a data set by its protocol. Its last layer is made anew; --head keep goes on with the one it has,
    for more sounds of the very same classes.

    --head probe trains nothing: every clip is embedded once, and a logistic regression becomes the head. That takes seconds,
    and with few clips it is often the best choice.

    A fifth of the training clips, whole recordings, decides when to stop and what to keep; --validation 0 trains on all. The
    checkpoint that is printed at the end is ready for `eranntag predict -c`.
    """
    from eranntag import recipes, registry as folders
    from eranntag.checkpoints import loading
    from eranntag.cli._allocator import keep_memory
    from eranntag.cli.display import predictions
    from eranntag.errors import UsageError
    from eranntag.models import name_of
    from eranntag.training.config import KEEP

    keep_memory()
    if head == PROBE:
        _probe.check(context)
        _probe.run(recipes.load(recipe, options["data"]), checkpoint, options)
        return
    training_options.check(options)
    teacher_options.check(options)
    dataset = recipes.load(recipe, options["data"])
    with predictions.download_bar() as report:
        found = loading.find(checkpoint, options["registry"], options["offline"], report)
    base = found.network()
    family = folders.get("eranntag.models", base.checkpoint.family)
    head = head or family.HEADS[0]
    if head not in (*family.HEADS, KEEP):
        known = (*family.HEADS, KEEP, PROBE)
        raise UsageError(f"--head {head}: must be {', '.join(known[:-1])} or {known[-1]}{folders.did_you_mean(head, known)}")
    model = name_of(base.checkpoint.family, base.model.config)
    identity = f"{base.checkpoint.name} {found.sha256[:12]}"
    validation = 0.2 if options["validation"] is None else options["validation"]
    defaults = {"validation": validation, "patience": 10 if validation else 0, "ema_warm_up": bool(validation)}
    defaults |= {"model": model, "features": base.checkpoint.frontend_family, "base": identity, "head": head}
    settings = training_options.settings_from(dataset.recipe, options, **defaults)
    training_options.run(dataset, settings, options, f"{base.checkpoint.name}-{recipe}", options["select"], base)
