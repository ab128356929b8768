"""eranntag distill: teachers + unlabeled sound -> a student with their labels."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from eranntag import terminal
from eranntag.cli import _tagger, _training


@click.command()
@click.argument("teachers", nargs=-1, required=True, metavar="TEACHER...")
@click.option("--model", help="The student's architecture: erann-S-W, mn04, psla ...  [erann-2-2; that of --from]")
@click.option("--from", "base", metavar="CHECKPOINT", help="Begin with the weights of this checkpoint, not with random ones.")
@click.option("--data", required=True, metavar="PLACE", help="Unlabeled sound: a folder, a CSV table of files, or a pack.")
@click.option("--zero-shot", metavar="RECIPE", help="Select by the accuracy on this data set (esc50), by a map of labels.")
@click.option("--zero-shot-data", envvar="ERANNTAG_DATA", metavar="DIR", help="Where it is.  [$ERANNTAG_DATA]")
@click.option("--zero-shot-fold", type=int, metavar="N", help="Its fold.  [its test clips, or all]")
@click.option(
    "--embedding-weight",
    type=click.FloatRange(0),
    metavar="X",
    help="Weight of the cosine distance from the teacher's embedding.  [0.02; 0 with several teachers]",
)
@_training.run_options
@_tagger.REGISTRY
@_tagger.OFFLINE
def command(teachers: tuple[str, ...], data: str, **options: Any) -> None:
    """Train a student on the scores of TEACHER (a checkpoint, or several that are averaged) for sound without labels.

    Each example is a soundscape: random crops of one to three clips at random levels, sometimes in noise, reverberant or
    without treble. The teacher gets the very same waveform, and its scores are the targets. Clips of the part "test" of a CSV
    table are never trained on: on them the agreement with the teacher is measured.

    Interrupt it at any moment: the same command goes on where it stopped.
    """
    import dataclasses

    from eranntag import checkpoints, recipes, registry, render
    from eranntag.cli._allocator import keep_memory
    from eranntag.models import front_end, name_of
    from eranntag.recipes import unlabeled
    from eranntag.render import training as pages
    from eranntag.training import agreement, distillation, run
    from eranntag.training.augment.specaugment import STRIPES
    from eranntag.training.augmentations import parse
    from eranntag.training.settings import KEEP

    keep_memory()
    _training.check(options)
    if odd := [name for name in parse(_training.augmentations(options["augment"] or "")) if name not in STRIPES]:
        raise click.UsageError(f"--augment {odd[0]}: the student alone would get it; use {' or '.join(STRIPES)}")
    where = {"registry": options["registry"], "offline": options["offline"]}
    dataset = unlabeled(data)
    zero_shot = None
    if options["zero_shot"]:
        labeled = recipes.load(options["zero_shot"], options["zero_shot_data"])
        zero_shot = agreement.ZeroShot(labeled, options["zero_shot_fold"])
    with render.download_bar() as report:
        taggers = [checkpoints.load(name, options["device"], many=True, report=report, **where) for name in teachers]
        found = checkpoints.find(options["base"], report=report, **where) if options["base"] else None
    teacher = distillation.joined(taggers, teachers)
    weight = options["embedding_weight"]
    weight = (0.02 if len(taggers) == 1 else 0.0) if weight is None else weight
    if weight:
        teacher.embedding_size  # noqa: B018  # refuses several teachers before a folder is made
    digests = " ".join(digest[:12] for tagger in taggers for digest in tagger.sha256)
    fixed: dict[str, Any] = {"teacher": f"{teacher.checkpoint.name} {digests}", "embedding_weight": weight}
    base = None
    if found:
        base = checkpoints.open_found(found)
        family = registry.get("eranntag.models", base.checkpoint.family)
        ours = name_of(base.checkpoint.family, base.model.config)
        if options["model"] not in (None, ours):
            raise click.UsageError(f"--model {options['model']}: --from names a {ours}; leave out one of the two")
        same = base.checkpoint.labels == teacher.labels and base.checkpoint.activation == teacher.checkpoint.activation
        fixed |= {"model": ours, "features": base.checkpoint.frontend_family, "head": KEEP if same else family.HEADS[0]}
        fixed |= {"base": f"{base.checkpoint.name} {(found.sha256 or checkpoints.sha256(found.path))[:12]}"}
    else:
        model = options["model"] or "erann-2-2"
        fixed |= {"model": model, "features": front_end(model)[0]}
    settings = _training.settings_from(dataset.recipe, options, **fixed)
    lesson = distillation.Lesson(distillation.Teacher(teacher, bool(weight)), zero_shot=zero_shot)
    folder = options["out"] or Path("runs") / f"{settings.model}-distill-seed{settings.seed}"
    with ExitStack() as stack:
        machine, progress = _training.begun(dataset, options, stack)
        outcome = run.distill(dataset, settings, lesson, folder, machine, base, options["restart"], progress)
        if machine.world.first:
            pages.distilled(dataclasses.asdict(settings), outcome)
            terminal.give(f"{outcome.checkpoint('last')}\n")
