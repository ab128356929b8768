"""A probe: a checkpoint with its body as it is, and a linear head for the classes of a data set, in seconds.

Alain, Bengio, "Understanding intermediate layers using linear classifier probes", 2016. Every clip is embedded once by the
fastest engine; each fold is then a logistic regression.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eranntag.checkpoints import header, weights
from eranntag.errors import CheckpointError, DataError, UsageError
from eranntag.evaluation import metrics
from eranntag.inference.activations import ACTIVATIONS
from eranntag.inference.embedding import Embedder
from eranntag.inference.network import Network
from eranntag.inference.pipeline import predict_examples
from eranntag.inference.tagger import Tagger
from eranntag.training import initialization, logistic
from eranntag.training.config import digest
from eranntag.training.logistic import Regression
from eranntag.training.splits import Splits, recording_of, split_dataset
from eranntag.types import Checkpoint, Dataset, Example, Failure, Recipe, ShardEntry

PROBE = "probe.safetensors"  # the checkpoint of a run
CALIBRATED_CLIPS = 10  # of a class, from which on a threshold can be learned

Vectors = Mapping[str | ShardEntry, np.ndarray]  # by the clips' paths


@dataclass(frozen=True)
class Probe:
    """A fold's result: `value` is the recipe's metric on the fold's clips, or on the data's own test or validation clips (None
    where there are none), `measured` their number. `validated` is the metric in the cross-validation inside the training clips,
    None without one. `path` is the checkpoint."""

    fold: int | None
    seed: int
    splits: Splits
    regression: Regression
    trained: int
    measured: int
    value: float | None
    validated: float | None
    calibrated: bool
    path: Path


def embedded(tagger: Tagger, dataset: Dataset, failures: list[Failure], batch: int | None, step: Any) -> Vectors:
    """The embedding (size,) of every clip that can be read; `failures` gets the others, and `step` is called after each."""
    results = predict_examples(Embedder(tagger), dataset.recipe.name, dataset.examples, failures, batch, step)
    return {example.path: embedding.vectors[0] for example, embedding in results}


def probes(
    dataset: Dataset,
    vectors: Vectors,
    base: Network,
    identity: str,
    folds: Sequence[int | None],
    seeds: Sequence[int],
    folder: Path,
    restart: bool = False,
) -> Iterator[Probe]:
    """Fits each seed's folds and writes their checkpoints: into `folder`, or below it where there are several.

    `identity` names the base in their headers. Raises UsageError for a family without a linear head, for one class alone,
    and, without `restart`, for a file that holds a probe on other clips; DataError where no training clip can be read.
    """
    several = len(folds) * len(seeds) > 1
    for seed in seeds:
        for fold in folds:
            place = folder / (f"fold{fold}-seed{seed}" if fold is not None else f"seed{seed}") if several else folder
            yield _probe(dataset, vectors, base, identity, fold, seed, place / PROBE, restart)


def summary(recipe: Recipe, base: str, done: Sequence[Probe]) -> dict[str, Any]:
    """Mean and standard deviation over the probes, as `comparison.summary` has them for runs."""
    runs: list[dict[str, Any]] = [
        {"fold": each.fold, "seed": each.seed, "strength": each.regression.strength}
        | {"test": each.value, "checkpoint": str(each.path)}
        for each in done
    ]
    result: dict[str, Any] = {"recipe": recipe.name, "model": f"probe on {base}", "metric": recipe.metric}
    values = [each.value for each in done if each.value is not None]
    result |= {"selection": "test", "runs": runs}
    if len(values) == len(done):
        result["test"] = {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1))}
    return result


def _probe(
    dataset: Dataset, vectors: Vectors, base: Network, identity: str, fold: int | None, seed: int, path: Path, restart: bool
) -> Probe:
    recipe, splits = dataset.recipe, split_dataset(dataset, fold, seed=seed)
    training = [example for example in splits.training if example.path in vectors]
    if not training:
        raise DataError(f"{recipe.name}: none of the {len(splits.training)} clips to train on can be read")
    run = {"recipe": recipe.name, "fold": fold, "seed": seed, "base": identity, "head": "probe"}
    run |= {"clips": digest(splits.training, splits.held_out)}
    if path.exists() and not restart:
        _check_same(path, run)
    inputs, targets = _stacked(training, vectors, recipe)
    groups = np.array([recording_of(example) for example in training])
    regression = logistic.fit(inputs, targets, groups, recipe.activation, seed)
    validated = None if regression.scores is None else metrics.recipe_metric(recipe.metric, regression.scores, targets)
    measured = [example for example in splits.test or splits.held_out if example.path in vectors]
    value = _measured(regression, measured, vectors, recipe) if measured else None
    thresholds = _thresholds(regression, targets)
    spec = initialization.derived(base.checkpoint, recipe, fold, "linear probe", initialization.without(fold))
    spec = dataclasses.replace(
        spec,
        frontend=base.checkpoint.frontend,
        thresholds=thresholds,
        metrics={} if value is None else _numbers(recipe, fold, value, len(measured)),
        training={**run, "strength": regression.strength, **spec.training},
    )
    _write(base, spec, regression, path)
    return Probe(fold, seed, splits, regression, len(training), len(measured), value, validated, bool(thresholds), path)


def _check_same(path: Path, run: Mapping[str, Any]) -> None:
    """The probe that is there may be replaced by one of the same clips, base, fold and seed. UsageError for another."""
    try:
        theirs = header.read_checkpoint(path).training
    except CheckpointError as error:
        raise UsageError(f"{error}; or use another --out or --restart") from None
    if odd := [name for name, value in run.items() if theirs.get(name) != value]:
        raise UsageError(f"{path}: is a probe with another {odd[0]}; use another --out, or --restart to replace it")


def _stacked(examples: Sequence[Example], vectors: Vectors, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """(clips, size) float32 and (clips, classes) bool."""
    inputs = np.stack([vectors[example.path] for example in examples])
    return inputs, metrics.multi_hot([example.targets for example in examples], len(recipe.labels))


def _measured(regression: Regression, examples: Sequence[Example], vectors: Vectors, recipe: Recipe) -> float:
    inputs, targets = _stacked(examples, vectors, recipe)
    return metrics.recipe_metric(recipe.metric, ACTIVATIONS[recipe.activation](regression.logits(inputs)), targets)


def _thresholds(regression: Regression, targets: np.ndarray) -> tuple[float, ...]:
    """The scores with the best F1 of clips that the regression was not fitted on; none where a class has too few clips."""
    if regression.scores is None or targets.sum(0).min() < CALIBRATED_CLIPS:
        return ()
    return tuple(map(float, metrics.best_thresholds(regression.scores, targets)))


def _numbers(recipe: Recipe, fold: int | None, value: float, clips: int) -> dict[str, Any]:
    data = f"{recipe.name} fold {fold}" if fold is not None else f"{recipe.name}, held-out part"
    return {"metric": recipe.metric, "value": value, "data": data, "clips": clips}


def _write(base: Network, spec: Checkpoint, regression: Regression, path: Path) -> None:
    network = initialization.copied(base, spec)
    head = network.model.linear_head(len(spec.labels))
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(regression.weight))
        head.bias.copy_(torch.from_numpy(regression.bias))
    network.checkpoint = dataclasses.replace(spec, model=dataclasses.asdict(network.model.config))
    path.parent.mkdir(parents=True, exist_ok=True)
    weights.save(network, path)
