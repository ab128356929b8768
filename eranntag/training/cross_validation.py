"""Cross-validation: runs over folds and seeds, each measured on clips that were not used for selection."""

import csv
import dataclasses
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eranntag.checkpoints import weights
from eranntag.engines.eager import Eager
from eranntag.errors import CheckpointError, DataError, TrainingError, UsageError
from eranntag.evaluation import metrics
from eranntag.files import atomic
from eranntag.inference.network import Network
from eranntag.recipes import part
from eranntag.training.config import Settings, digest
from eranntag.training.data import WaveformCache, report_skipped
from eranntag.training.distributed import Machine
from eranntag.training.events import Report, RunFinished, RunStarted
from eranntag.training.loop import Outcome, train
from eranntag.training.soft_labels import SoftLabels
from eranntag.training.splits import Splits, review, split_dataset
from eranntag.training.validation import Validation, measure
from eranntag.types import Dataset, Example, Recipe, ShardEntry


@dataclass(frozen=True)
class Run:
    """One fold and seed: the run's outcome, which checkpoint is its result, whether that has calibrated thresholds, and the
    metric on the clips that nothing was chosen by (None where the protocol leaves none)."""

    settings: Settings
    splits: Splits
    outcome: Outcome
    select: str
    calibrated: bool
    test: float | None

    @property
    def path(self) -> Path:
        return self.outcome.checkpoint(self.select)

    @property
    def value(self) -> float | None:
        return self.test if self.test is not None else getattr(self.outcome, self.select)


def runs(
    dataset: Dataset,
    settings: Settings,
    folds: Sequence[int | None],
    repeats: int,
    folder: Path,
    select: str | None,
    machine: Machine,
    base: Network | None = None,
    restart: bool = False,
    report: Report = lambda _: None,
    added: Mapping[str | ShardEntry, tuple[int, ...]] | None = None,
    soft_labels: Mapping[int | None, SoftLabels] | None = None,
) -> Iterator[Run]:
    """Each seed's folds, from `settings.seed` on. `folder` is the run's own when there is one run, else it holds theirs.

    `added`: classes that training clips get besides their own; `soft_labels`: what mixes a teacher's scores into the targets of
    a fold's run. Nothing is measured by either.

    `select` "best" needs held-out clips, else UsageError. None takes the best if they are not what is reported, else the last.
    """
    recipe, several = dataset.recipe, len(folds) * repeats > 1
    for seed in range(settings.seed, settings.seed + repeats):
        for fold in folds:
            place = folder / (f"fold{fold}-seed{seed}" if fold is not None else f"seed{seed}") if several else folder
            splits = split_dataset(dataset, fold, settings.validation, seed)
            share = 0.0 if part(dataset, "validation") else settings.validation
            if select == "best" and not splits.held_out:
                raise UsageError(f"{recipe.name}: --select best needs clips to select by: a --fold or a --validation share")
            chosen = select or ("best" if splits.has_validation else "last")
            clips, splits = digest(splits.training, splits.held_out), enhanced(splits, added or {})
            ours = dataclasses.replace(settings, fold=fold, seed=seed, clips=clips, validation=share)
            soft = (soft_labels or {}).get(fold)
            if soft:
                ours = dataclasses.replace(ours, teacher=soft.identity, teacher_weight=soft.weight)
            reviewed = review(recipe, splits, base.checkpoint if base else None, soft.checkpoint if soft else None)
            report(RunStarted(place, fold, seed, reviewed))
            calibrated = base is not None and splits.has_validation  # never on what is reported
            with ExitStack() as held:
                outcome = train(recipe, splits, ours, place, machine, held, base, restart, report, soft_labels=soft)
                if share and machine.world.first:
                    _write_split(splits, place)
                test = _finish(recipe, splits, outcome.checkpoint(chosen), machine, calibrated, report)
            report(RunFinished(place))
            yield Run(ours, splits, outcome, chosen, calibrated, test)


def enhanced(splits: Splits, added: Mapping[str | ShardEntry, tuple[int, ...]]) -> Splits:
    """The splits with `added` classes, by the clips' paths, for what is trained on."""
    training = [
        dataclasses.replace(each, targets=tuple(sorted({*each.targets, *added[each.path]}))) if each.path in added else each
        for each in splits.training
    ]
    return dataclasses.replace(splits, training=training)


def _write_split(splits: Splits, folder: Path) -> None:
    """Write split.csv, which the recipe csv reads, so that the validation clips can be evaluated again."""
    lines = io.StringIO()
    table = csv.writer(lines)
    table.writerow(("filename", "split"))
    for name, examples in (("train", splits.training), ("validation", splits.held_out), ("test", splits.test)):
        table.writerows((str(example.path), name) for example in examples)
    atomic.write_text(folder / "split.csv", lines.getvalue())


def _finish(recipe: Recipe, splits: Splits, path: Path, machine: Machine, calibrated: bool, report: Report) -> float | None:
    """Measure the chosen checkpoint on the test clips, calibrate its thresholds on the held-out ones; both go into it."""
    try:
        network = weights.load(path).to(machine.device)
    except CheckpointError as error:
        raise TrainingError(f"{error}; the run is finished: --restart makes it again, from the beginning") from None
    spec, tagger = network.checkpoint, Eager(network)
    if calibrated:
        scores, examples = _scores(tagger, splits.held_out, machine, lambda _: None)  # the run has reported the broken ones
        thresholds = metrics.best_thresholds(scores, metrics.multi_hot([e.targets for e in examples], len(recipe.labels)))
        spec = dataclasses.replace(spec, thresholds=tuple(map(float, thresholds)))
    test = None
    if splits.test:
        scores, examples = _scores(tagger, splits.test, machine, report)
        if not examples:
            raise DataError(f"{recipe.name}: none of the {len(splits.test)} test clips can be read; {path} is not measured")
        test = measure(recipe.metric, scores, examples).get(recipe.metric)
        spec = dataclasses.replace(spec, metrics={**spec.metrics, "test": test, "test_clips": len(examples)})
    machine.world.wait()  # all have read it
    if machine.world.first and spec != network.checkpoint:
        network.checkpoint = spec
        weights.save(network.cpu(), path)
    return test


def _scores(tagger: Eager, examples: list[Example], machine: Machine, report: Report) -> tuple[np.ndarray, list[Example]]:
    sounds = WaveformCache(examples, tagger.frontend.sample_rate_hz, 0, report_skipped(report))
    return Validation(sounds, "", machine.world, machine.workers).scores(tagger)
