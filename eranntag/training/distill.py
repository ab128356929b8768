"""Distillation from its beginning to its end: unlabeled clips + a teacher -> the checkpoints of a student."""

import dataclasses
from contextlib import ExitStack
from pathlib import Path

from eranntag.errors import DataError
from eranntag.inference.network import Network
from eranntag.recipes import part
from eranntag.training.agreement import METRIC, ZERO_SHOT
from eranntag.training.config import Settings, digest
from eranntag.training.distillation import Lesson
from eranntag.training.distributed import Machine
from eranntag.training.events import Report, RunFinished, RunStarted
from eranntag.training.loop import Outcome, train
from eranntag.training.splits import SplitReview, Splits
from eranntag.types import Dataset


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
    """Train a student on the training clips of `dataset`, with the labels of the lesson's teacher.

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
    report(RunStarted(folder, None, settings.seed, SplitReview(splits)))
    with ExitStack() as held:
        outcome = train(recipe, splits, settings, folder, machine, held, base, restart, report, lesson)
    report(RunFinished(folder))
    return outcome
