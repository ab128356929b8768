"""The Network that a run begins with, and the headers of the checkpoints that it writes."""

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from eranntag import models, registry
from eranntag.engines.eager import Eager
from eranntag.errors import UsageError
from eranntag.inference.network import Network
from eranntag.prefetch import prefetch_map
from eranntag.recipes import check_classes, check_scores
from eranntag.training.augment import Augment
from eranntag.training.config import KEEP, Settings
from eranntag.training.data import WaveformCache
from eranntag.training.distributed import Machine
from eranntag.training.state import State
from eranntag.types import Checkpoint, Example, Recipe

STANDARD = 1000  # clips: their rows have the means of all within a hundredth of a deviation
FEW = 5  # evaluations at the end of a run whose mean PSLA reports (Section II-C)


def network(recipe: Recipe, settings: Settings, base: Network | None, pretrained: bool = False) -> Network:
    """Random weights, or those of `base` with new last layers (Section 2 of ERANN v2); either from `settings.seed`.

    `pretrained`: then the family loads weights of another task, if it has some (else UsageError). A head that is kept is for
    the recipe's own classes (else UsageError).
    """
    if base and pretrained:
        raise UsageError("--set pretrained=true: a run begins with the weights of its base or with those of another task")
    torch.manual_seed(settings.seed)
    if base is None:
        begun = Network(_from_scratch(recipe, settings))
        if pretrained and not isinstance(begun.model, models.PretrainedModel):
            raise UsageError(f"--set pretrained=true: {settings.model} has no weights of another task to begin with")
        if pretrained:
            begun.model.load_pretrained()
        return begun
    if settings.head == KEEP:
        _check_kept(recipe, base.checkpoint)
    network = copied(base, derived(base.checkpoint, recipe, settings.fold, "fine-tuned", _without(settings)))
    if settings.head != KEEP:
        network.model.replace_head(len(recipe.labels), settings.head)
    return network


def copied(base: Network, spec: Checkpoint) -> Network:
    """A copy of `base` on the CPU with another spec; its head is still the base's."""
    network = _around(spec, copy.deepcopy(base.model).cpu())
    network.frontend.load_state_dict(copy.deepcopy(base.frontend).cpu().state_dict(), assign=True)
    return network


def standardize(network: Network, examples: Sequence[Example], machine: Machine) -> None:
    """Set the model's mean and standard deviation of each row of the training clips' images, from STANDARD clips spread over
    all of them, the same in every process."""
    chosen = examples[:: -(-len(examples) // STANDARD)]
    sounds = WaveformCache(chosen, network.frontend.config.sample_rate_hz, 0)
    tagger = Eager(network.eval())
    count = 0
    total = squares = torch.zeros((), dtype=torch.float64)
    for clip in prefetch_map(sounds.clip, range(len(chosen)), machine.workers):
        if clip is not None:
            with torch.inference_mode():
                rows = network.frontend(torch.from_numpy(tagger.prepare(clip))[None])[0, 0].double()  # (rows, frames)
            count, total, squares = count + rows.shape[1], total + rows.sum(1), squares + rows.square().sum(1)
    if count:
        mean = total / count
        network.model.standardize(mean, (squares / count - mean.square()).clamp(min=0).sqrt())


def augmentation(settings: Settings, network: Network) -> Augment:
    """The run's augmentation. UsageError for unknown names, impossible values, and image mixup of learned images."""
    if network.learned and settings.mixup == "log-mel":
        raise UsageError(f"--mixup log-mel mixes images, which {settings.features} learns to make; use another mixup")
    rate_hz = network.frontend.config.sample_rate_hz
    return Augment(settings.augment, settings.mixup, settings.mixup_alpha, rate_hz, settings.mixup_rate)


def sharing(network: Network, trained: torch.nn.Module) -> Network:
    """`network` with other weights of what it trains, for evaluation."""
    return trained if isinstance(trained, Network) else _around(network.checkpoint, trained).to(network.device)


def _around(checkpoint: Checkpoint, model: torch.nn.Module) -> Network:
    """A Network of `model` itself; the one that it would begin with costs nothing."""
    with torch.device("meta"):
        network = Network(checkpoint)
    network.model = model
    return network


def measured(checkpoint: Checkpoint, recipe: Recipe, settings: Settings, state: State, select: str) -> Checkpoint:
    """`checkpoint` with the run's settings and its measures: those of the weights at hand, and which of them these are."""
    rows = [row for row in state.history if recipe.metric in row]
    at = state.best_iteration if select == "best" else state.iteration
    row = next((row for row in rows if row["iteration"] == at), None)
    numbers: dict[str, Any] = {}
    if row:
        last, best = rows[-1][recipe.metric], max(row[recipe.metric] for row in rows)
        numbers = {"metric": recipe.metric, "value": row[recipe.metric], "data": _held_out(recipe, settings)}
        numbers |= {"iteration": row["iteration"], "selection": select, "last": last, "best": best}
        if len(rows) >= FEW:
            numbers["last_5"] = sum(each[recipe.metric] for each in rows[-FEW:]) / FEW
    training = {**settings.to_dict(), "iteration": state.iteration}
    if bases := checkpoint.training.get("bases"):
        training["bases"] = bases
    return dataclasses.replace(checkpoint, metrics=numbers, training=training)


def _held_out(recipe: Recipe, settings: Settings) -> str:
    if settings.validation:
        return f"{recipe.name}, a validation part of its training clips"
    return f"{recipe.name} fold {settings.fold}" if settings.fold is not None else f"{recipe.name}, held-out part"


def _without(settings: Settings) -> str:
    labels = f", labels added from {settings.added_labels}" if settings.added_labels else ""
    soft = f", soft labels of {settings.teacher}" if settings.teacher_weight else ""
    return without(settings.fold, bool(settings.validation)) + labels + soft


def without(fold: int | None, validation: bool = False) -> str:
    """The training clips in words: without this fold, and without the validation share."""
    left_out = [f"fold {fold}"] if fold is not None else []
    left_out += ["the validation share of the rest" if left_out else "a validation share"] if validation else []
    return f"without {' and '.join(left_out)}" if left_out else "all training clips"


def _from_scratch(recipe: Recipe, settings: Settings) -> Checkpoint:
    family, config = models.resolve(settings.model)
    title = models.described(settings.model, family, settings.features)
    usual, arguments = models.front_end(settings.model)
    module = registry.get("eranntag.models", family)
    if settings.features != usual:
        config = module.config_for_other_frontend(config)
    changes = {**(arguments if settings.features == usual else {}), "min_seconds": recipe.min_seconds}
    frontend = registry.get("eranntag.features", settings.features).Config(**changes)
    return Checkpoint(
        name=f"{title}-{recipe.name}" + (f"-fold{settings.fold}" if settings.fold is not None else ""),
        family=family,
        model=dataclasses.asdict(config),
        frontend_family=settings.features,
        frontend=dataclasses.asdict(frontend),
        labels=recipe.labels,
        activation=recipe.activation,
        title=f"{title} trained on {recipe.title} ({_without(settings)})",
        data=f"{'ImageNet; ' if settings.pretrained else ''}{recipe.title}, {_without(settings)}",
        licence=recipe.licence,
    )


def _check_kept(recipe: Recipe, base: Checkpoint) -> None:
    try:
        check_classes(base, recipe)
        check_scores(base, recipe)
        if recipe.labels != base.labels:
            raise UsageError(f"{base.name} has the classes of {recipe.name} in another order")
    except UsageError as error:
        raise UsageError(f"--head {KEEP}: {error}; leave --head out to replace the last layer") from None


def _without_bases(training: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in training.items() if name != "bases"}


def derived(base: Checkpoint, recipe: Recipe, fold: int | None, how: str, clips: str) -> Checkpoint:
    """The spec of what is made of `base` for the classes of `recipe`: "fine-tuned" or another `how`, on `clips` in words."""
    return dataclasses.replace(
        base,
        name=f"{base.name}-{recipe.name}" + (f"-fold{fold}" if fold is not None else ""),
        frontend={**base.frontend, "min_seconds": recipe.min_seconds},
        labels=recipe.labels,
        activation=recipe.activation,
        thresholds=(),
        training={"bases": [_without_bases(base.training), *base.training.get("bases", ())]} if base.training else {},
        title=f"{base.name} {how} on {recipe.title} ({clips})",
        data=_both(base.data, f"{recipe.title}, {clips}"),
        licence=_both(base.licence, recipe.licence),
    )


def _both(earlier: str, ours: str) -> str:
    return "; ".join(dict.fromkeys(filter(None, (*earlier.split("; "), ours))))
