"""eranntag finetune: checkpoint + recipe -> a checkpoint for other classes."""

from typing import Any

import click

from eranntag.cli import _probe
from eranntag.cli._options import common, teacher as teacher_options, training as training_options

PROBE = "probe"  # a head that is fitted to embeddings, without training the network


@click.command()
@click.argument("checkpoint")
@click.argument("recipe")
@click.option(
    "--head", show_default="the first", help="Layers to replace: fc2 or fc1+fc2, in psla attention; or keep, or probe."
)
@common.REGISTRY
@common.OFFLINE
@training_options.options
@click.pass_context
def command(context: click.Context, /, checkpoint: str, recipe: str, head: str | None, **options: Any) -> None:
    """Fine-tune CHECKPOINT (a name, a file, hf:OWNER/REPO) on RECIPE: `csv --data labels.csv` or `folder --data sounds/` for
    your own sounds, or a data set by its protocol. The last layer is replaced; --head keep keeps it, for more sounds of the
    same classes.

    --head probe trains no network: it embeds every clip once and fits a logistic regression as the head. That takes seconds,
    and with few clips it is often the best choice.

    A fifth of the training clips, by whole recordings, is held out to choose when to stop and which checkpoint to keep;
    --validation 0 trains on all clips. The path that is printed at the end is for `eranntag predict -c`.
    """
    from eranntag import recipes, registry
    from eranntag.cli._allocator import keep_memory
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
    found = common.find_checkpoint(checkpoint, options["registry"], options["offline"])
    base = found.network()
    family = registry.get("eranntag.models", base.checkpoint.family)
    head = head or family.HEADS[0]
    if head not in (*family.HEADS, KEEP):
        known = (*family.HEADS, KEEP, PROBE)
        raise UsageError(f"--head {head}: must be {', '.join(known[:-1])} or {known[-1]}{registry.did_you_mean(head, known)}")
    model = name_of(base.checkpoint.family, base.model.config)
    identity = f"{base.checkpoint.name} {found.sha256[:12]}"
    validation = 0.2 if options["validation"] is None else options["validation"]
    defaults = {"validation": validation, "patience": 10 if validation else 0, "ema_warm_up": bool(validation)}
    defaults |= {"model": model, "features": base.checkpoint.frontend_family, "base": identity, "head": head}
    settings = training_options.settings_from(dataset.recipe, options, **defaults)
    training_options.run(dataset, settings, options, f"{base.checkpoint.name}-{recipe}", options["select"], base)
