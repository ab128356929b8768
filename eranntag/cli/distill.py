"""eranntag distill: teachers + unlabeled sound -> a student with their labels."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from eranntag.cli._options import tagger as tagger_options, teacher as teacher_options, training as training_options
from eranntag.cli.display import terminal

EMBEDDING_WEIGHT = 0.02  # of one teacher, where no other is named


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
@training_options.run_options
@tagger_options.REGISTRY
@tagger_options.OFFLINE
def command(teachers: tuple[str, ...], data: str, **options: Any) -> None:
    """Train a student on the scores of TEACHER (a checkpoint, or several that are averaged) for sound without labels.

    Each example is a soundscape: random crops of one to three clips at random levels, sometimes in noise, reverberant or
    without treble. The teacher gets the very same waveform, and its scores are the targets. Clips of the part "test" of a CSV
    table are never trained on: on them the agreement with the teacher is measured.

    Interrupt it at any moment: the same command goes on where it stopped.
    """
    import dataclasses

    from eranntag import recipes
    from eranntag.cli._allocator import keep_memory
    from eranntag.cli.display import training as pages
    from eranntag.training import agreement, distill, distillation
    from eranntag.training.augment.options import parse
    from eranntag.training.augment.specaugment import STRIPES

    keep_memory()
    training_options.check(options)
    if odd := [name for name in parse(training_options.augmentations(options["augment"] or "")) if name not in STRIPES]:
        raise click.UsageError(f"--augment {odd[0]}: the student alone would get it; use {' or '.join(STRIPES)}")
    dataset = recipes.unlabeled(data)
    zero_shot = None
    if options["zero_shot"]:
        labeled = recipes.load(options["zero_shot"], options["zero_shot_data"])
        zero_shot = agreement.ZeroShot(labeled, options["zero_shot_fold"])
    teacher, identity = teacher_options.load(teachers, options)
    weight = _embedding_weight(teacher, options["embedding_weight"], several=len(teachers) > 1)
    base, student = _student(teacher, options)
    fixed = {"teacher": identity, "embedding_weight": weight, **student}
    settings = training_options.settings_from(dataset.recipe, options, **fixed)
    lesson = distillation.Lesson(distillation.Teacher(teacher, bool(weight)), zero_shot=zero_shot)
    folder = options["out"] or Path("runs") / f"{settings.model}-distill-seed{settings.seed}"
    with ExitStack() as stack:
        machine, progress = training_options.begun(dataset, options, stack)
        outcome = distill.distill(dataset, settings, lesson, folder, machine, base, options["restart"], progress)
        if machine.world.first:
            pages.distilled(dataclasses.asdict(settings), outcome)
            terminal.write_output(f"{outcome.checkpoint('last')}\n")


def _embedding_weight(teacher: Any, weight: float | None, several: bool) -> float:
    """The weight of the distance from the teacher's embedding. Raises UsageError for a weight where `several` have none."""
    if weight is None:
        weight = 0.0 if several else EMBEDDING_WEIGHT
    if weight:
        teacher.embedding_size  # noqa: B018  # raises before a folder is made
    return weight


def _student(teacher: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The Network that the student begins with, None for random weights, and the settings that name it."""
    from eranntag import registry
    from eranntag.checkpoints import loading
    from eranntag.cli.display import predictions
    from eranntag.models import front_end, name_of
    from eranntag.training.config import KEEP

    if not options["base"]:
        model = options["model"] or "erann-2-2"
        return None, {"model": model, "features": front_end(model)[0]}
    with predictions.download_bar() as report:
        found = loading.find(options["base"], options["registry"], options["offline"], report)
    base = found.network()
    spec, ours = base.checkpoint, name_of(base.checkpoint.family, base.model.config)
    if options["model"] not in (None, ours):
        raise click.UsageError(f"--model {options['model']}: --from names a {ours}; leave out one of the two")
    same = spec.labels == teacher.labels and spec.activation == teacher.checkpoint.activation
    head = KEEP if same else registry.get("eranntag.models", spec.family).HEADS[0]
    identity = f"{spec.name} {found.sha256[:12]}"
    return base, {"model": ours, "features": spec.frontend_family, "head": head, "base": identity}
