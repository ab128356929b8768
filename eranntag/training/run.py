"""A run from its beginning to its end: data + settings -> checkpoints in a folder, resumable at any moment."""

import dataclasses
from contextlib import ExitStack
from pathlib import Path

from eranntag import models
from eranntag.errors import DataError, TrainingError
from eranntag.inference.network import Network
from eranntag.recipes import part
from eranntag.training import initialization, run_directory, state
from eranntag.training.agreement import METRIC, ZERO_SHOT
from eranntag.training.config import Settings, digest
from eranntag.training.distillation import Lesson
from eranntag.training.distributed import Machine
from eranntag.training.loop import Outcome, Report, Run
from eranntag.training.soft_labels import SoftLabels
from eranntag.training.splits import Splits
from eranntag.types import Dataset, Recipe


def train(
    recipe: Recipe,
    splits: Splits,
    settings: Settings,
    folder: Path,
    machine: Machine,
    held: ExitStack,
    base: Network | None = None,
    restart: bool = False,
    report: Report = lambda _: None,
    lesson: Lesson | None = None,
    soft_labels: SoftLabels | None = None,
) -> Outcome:
    """Train to `settings.iterations`, going on from `folder` when a run is there. `base` is fine-tuned; None starts anew. The
    folder is `held` until that ends. With a `lesson` its teacher labels the clips (distillation); `soft_labels` mix a
    teacher's scores into the clips' own labels.

    `report` receives a dict with `event` ("resume", "pace", "broken", "train", "evaluate", "stopped", "saved") and numbers.
    However a run is stopped, it goes on from the last whole iteration that was saved, at most a minute ago (several processes:
    at the first note after that minute), and ends with the same numbers.
    """
    resumed = (folder / run_directory.STATE).exists() and not restart
    network = initialization.network(recipe, settings, base, settings.pretrained and not resumed)
    if not (base or resumed) and isinstance(network.model, models.StandardizingModel):
        initialization.standardize(network, splits.training, machine)
    augment = initialization.augmentation(settings, network)
    shares = machine.world.shares(settings.batch, settings.accumulate)
    run_directory.begin(folder, machine.world, restart, held)
    run = Run(recipe, settings, folder, machine, augment, shares, network, report, lesson, soft_labels)
    if machine.world.gather([(folder / run_directory.STATE).exists()])[0]:
        state.resume(run.state, settings, folder / run_directory.STATE)
        run.write_history()  # it may have ended between the two
    if len(set(machine.world.gather([run.state.iteration]))) > 1:
        raise TrainingError(f"{folder}: the processes see different states there; it must be one folder for all of them")
    outcome = run.go(splits)
    machine.world.wait()
    return outcome


def distill(
    dataset: Dataset,
    settings: Settings,
    lesson: Lesson,
    folder: Path,
    machine: Machine,
    base: Network | None = None,
    restart: bool = False,
    report: Report = lambda _: None,
) -> Outcome:
    """Train a student on the clips of `dataset` that are to train on, with the labels of the lesson's teacher.

    The test and validation clips are held out, to measure the agreement with the teacher. Raises what `train` raises, and
    DataError where nothing could be measured.
    """
    spec = lesson.teacher.tagger.checkpoint
    metric = ZERO_SHOT if lesson.zero_shot else METRIC
    title = f"{dataset.recipe.title}, labels by {spec.name}"
    recipe = dataclasses.replace(dataset.recipe, labels=spec.labels, activation=spec.activation, metric=metric, title=title)
    held_out = [example for example in dataset.examples if example.split != "train"]
    training = part(dataset, "train")
    if not training:
        raise DataError(f"{recipe.name}: all clips are held out, and none is left to train on; see the column split")
    if not held_out and not lesson.zero_shot:
        what = "no clip is held out, and there is no --zero-shot data set: nothing could be measured"
        raise DataError(f"{recipe.name}: {what}; give the table a column split with clips of the part test")
    settings = dataclasses.replace(settings, clips=digest(training, held_out))
    splits = Splits(training, held_out, [])
    report({"event": "begin", "folder": str(folder), "fold": None, "seed": settings.seed}
           | {"splits": splits, "silent": [], "known": 0, "leaked": 0})  # fmt: skip
    with ExitStack() as held:
        outcome = train(recipe, splits, settings, folder, machine, held, base, restart, report, lesson)
    report({"event": "end", "folder": str(folder)})
    return outcome
