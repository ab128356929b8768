"""eranntag distill: teachers + unlabeled sound -> a student with their labels."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from eranntag.cli._options import common, teacher as teacher_options, training as training_options
from eranntag.cli.display import terminal

EMBEDDING_WEIGHT = 0.02  # of one teacher, by default


@click.command()
@click.argument("teachers", nargs=-1, required=True, metavar="TEACHER...")
@click.option(
    "--model", show_default="erann-2-2, or that of --from", help="Architecture of the student: erann-S-W, mn04, psla ..."
)
@click.option("--from", "base", metavar="CHECKPOINT", help="Start from the weights of CHECKPOINT instead of random ones.")
@click.option(
    "--data", required=True, metavar="PLACE", help="Unlabeled sound: a folder, a CSV file that lists files, or a pack."
)
@click.option(
    "--zero-shot",
    metavar="RECIPE",
    help="Select the checkpoint by its zero-shot accuracy on RECIPE (esc50), whose labels are mapped.",
)
@click.option(
    "--zero-shot-data", envvar="ERANNTAG_DATA", show_envvar=True, metavar="PLACE", help="The data set of --zero-shot."
)
@click.option(
    "--zero-shot-fold",
    type=int,
    metavar="N",
    show_default="the test clips, or all clips",
    help="Fold of the data set of --zero-shot.",
)
@click.option(
    "--embedding-weight",
    type=click.FloatRange(0),
    metavar="X",
    show_default=f"{EMBEDDING_WEIGHT}, or 0 with several teachers",
    help="Weight of the cosine distance between the embeddings of student and teacher.",
)
@training_options.run_options
@common.REGISTRY
@common.OFFLINE
def command(teachers: tuple[str, ...], data: str, **options: Any) -> None:
    """Train a student on the scores of TEACHER (one checkpoint, or the average of several) for unlabeled sound.

    Each example is a soundscape: random crops of one to three clips at random levels, sometimes with noise, reverberation or
    a low-pass filter. Teacher and student get the same waveform, and the teacher's scores are the targets. Clips that a CSV
    file assigns to the part "test" are used only to measure the agreement with the teacher.

    An interrupted run is continued by the same command.
    """
    import dataclasses

    from eranntag import recipes
    from eranntag.cli._allocator import keep_memory
    from eranntag.cli.display import training as display
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
        machine, progress = training_options.start(dataset, options, stack)
        outcome = distill.distill(dataset, settings, lesson, folder, machine, base, options["restart"], progress)
        if machine.world.first:
            display.distilled(dataclasses.asdict(settings), outcome)
            terminal.write_output(f"{outcome.checkpoint('last')}\n")


def _embedding_weight(teacher: Any, weight: float | None, several: bool) -> float:
    """Return the weight of the distance between embeddings. Raises UsageError if `several` teachers have no common one."""
    if weight is None:
        weight = 0.0 if several else EMBEDDING_WEIGHT
    if weight:
        teacher.embedding_size  # noqa: B018  # raises before a folder is made
    return weight


def _student(teacher: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The Network that the student begins with, None for random weights, and the settings that name it."""
    from eranntag import registry
    from eranntag.models import front_end, name_of
    from eranntag.training.config import KEEP

    if not options["base"]:
        model = options["model"] or "erann-2-2"
        return None, {"model": model, "features": front_end(model)[0]}
    found = common.find_checkpoint(options["base"], options["registry"], options["offline"])
    base = found.network()
    spec, ours = base.checkpoint, name_of(base.checkpoint.family, base.model.config)
    if options["model"] not in (None, ours):
        raise click.UsageError(f"--model {options['model']}: --from names a {ours}; leave out one of the two")
    same = spec.labels == teacher.labels and spec.activation == teacher.checkpoint.activation
    head = KEEP if same else registry.get("eranntag.models", spec.family).HEADS[0]
    identity = f"{spec.name} {found.sha256[:12]}"
    return base, {"model": ours, "features": spec.frontend_family, "head": head, "base": identity}
