"""A protocol is runs: folds x seeds, one after the other, and what they come to beside the paper's number."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eranntag import atomic, metrics
from eranntag.checkpoints import weights
from eranntag.recipes import part
from eranntag.tagger import Tagger
from eranntag.training.data import Sounds
from eranntag.training.distributed import Machine
from eranntag.training.division import Division, divide
from eranntag.training.loop import Outcome, Report, train
from eranntag.training.settings import Settings, digest
from eranntag.training.validation import Validation, measure
from eranntag.types import Dataset, Example, Published, Recipe


@dataclass(frozen=True)
class Run:
    """One fold and seed: the run's outcome, its chosen checkpoint, and the metric on the clips that nothing was chosen by (None
    where the protocol leaves none)."""

    settings: Settings
    division: Division
    outcome: Outcome
    select: str
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
    select: str,
    machine: Machine,
    base: Tagger | None = None,
    restart: bool = False,
    report: Report = lambda _: None,
) -> Iterator[Run]:
    """Each seed's folds, from `settings.seed` on. `folder` is the run's own when there is one run, else it holds theirs."""
    several = len(folds) * repeats > 1
    for seed in range(settings.seed, settings.seed + repeats):
        for fold in folds:
            place = folder / (f"fold{fold}-seed{seed}" if fold is not None else f"seed{seed}") if several else folder
            division = divide(dataset, fold, settings.validation, seed)
            clips = digest(division.training, division.held_out)
            share = 0.0 if part(dataset, "validation") else settings.validation
            ours = dataclasses.replace(settings, fold=fold, seed=seed, clips=clips, validation=share)
            report({"event": "begin", "folder": str(place), "training": len(division.training), "fold": fold, "seed": seed})
            outcome = train(dataset.recipe, division, ours, place, machine, base, restart, report)
            calibrated = base is not None and (share > 0 or bool(part(dataset, "validation")))  # never on what is reported
            test = _finish(dataset.recipe, division, outcome.checkpoint(select), machine, calibrated)
            report({"event": "end", "folder": str(place)})
            yield Run(ours, division, outcome, select, test)


def _finish(recipe: Recipe, division: Division, path: Path, machine: Machine, calibrated: bool) -> float | None:
    """Measure the chosen checkpoint on the test clips, calibrate its thresholds on the held-out ones; both go into it."""
    tagger = weights.load(path).to(machine.device)
    spec = tagger.checkpoint
    if calibrated and division.held_out:
        scores, examples = _scores(tagger, division.held_out, machine)
        thresholds = metrics.best_thresholds(
            scores, metrics.multi_hot([example.targets for example in examples], len(recipe.labels))
        )
        spec = dataclasses.replace(spec, thresholds=tuple(map(float, thresholds)))
    test = None
    if division.test:
        test = measure(recipe.metric, *_scores(tagger, division.test, machine)).get(recipe.metric)
    if test is not None:
        spec = dataclasses.replace(spec, metrics={**spec.metrics, "test": test, "test_clips": len(division.test)})
    machine.world.wait()  # all have read it
    if machine.world.first and spec != tagger.checkpoint:
        tagger.checkpoint = spec
        weights.save(tagger.cpu(), path)
    return test


def _scores(tagger: Tagger, examples: list[Example], machine: Machine) -> tuple[np.ndarray, list[Example]]:
    sounds = Sounds(examples, tagger.frontend.config.sample_rate_hz, keep_bytes=0)
    return Validation(sounds, "", machine.world, machine.workers).scores(tagger)


def published(recipe: Recipe, settings: Settings) -> Published | None:
    """The paper's row for this model trained this way, if it has one."""
    how = "fine-tuned" if settings.base else "scratch"
    return next((row for row in recipe.paper if (row.model, row.how) == (settings.model, how)), None)


def summary(recipe: Recipe, done: Sequence[Run]) -> dict[str, Any]:
    """Mean and standard deviation over the runs of what was selected, and of both ways of selecting; the paper's row."""
    settings, select = done[0].settings, done[0].select
    result: dict[str, Any] = {"recipe": recipe.name, "model": settings.model, "metric": recipe.metric, "selection": select}
    result["runs"] = [
        {"fold": run.settings.fold, "seed": run.settings.seed, "iterations": run.outcome.iterations}
        | {"last": run.outcome.last, "best": run.outcome.best, "test": run.test, "checkpoint": str(run.path)}
        for run in done
    ]
    for name in ("last", "best", "test"):
        values = [row[name] for row in result["runs"]]
        if None not in values:
            result[name] = {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None}
    if row := published(recipe, settings):
        result["paper"] = {"value": row.value, "table": row.table, "how": row.how}
    return result


def write_summary(result: dict[str, Any], folder: Path) -> Path:
    path = folder / "summary.json"
    atomic.write_text(path, json.dumps(result, indent=1) + "\n")
    return path
