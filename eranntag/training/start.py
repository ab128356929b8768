"""The Network that a run begins with, and what the checkpoints that it writes say of themselves."""

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from eranntag import models, registry
from eranntag.network import Network
from eranntag.training.settings import Settings
from eranntag.training.state import State
from eranntag.types import Checkpoint, Recipe

FRONTEND = "logmel"


def network(recipe: Recipe, settings: Settings, base: Network | None) -> Network:
    """Random weights, or those of `base` with new last layers (Section 2 of ERANN v2); either from `settings.seed`."""
    torch.manual_seed(settings.seed)
    if base is None:
        return Network(_from_scratch(recipe, settings))
    model = copy.deepcopy(base.model).cpu()
    model.replace_head(len(recipe.labels), settings.head)
    return _around(_fine_tuned(recipe, settings, base.checkpoint), model)


def sharing(network: Network, model: torch.nn.Module) -> Network:
    """`network` with another model of its kind, for evaluation."""
    return _around(network.checkpoint, model).to(network.device)


def _around(checkpoint: Checkpoint, model: torch.nn.Module) -> Network:
    """A Network of `model` itself; the one that it would begin with costs nothing."""
    with torch.device("meta"):
        network = Network(checkpoint)
    network.model = model
    return network


def measured(checkpoint: Checkpoint, recipe: Recipe, settings: Settings, state: State, select: str) -> Checkpoint:
    """`checkpoint` with the run's settings and its measures: those of the weights at hand, and which of them these are."""
    rows = [row for row in state.history if recipe.metric in row]
    numbers: dict[str, Any] = {}
    if rows:
        row = next(r for r in rows if r["iteration"] == state.best_iteration) if select == "best" else rows[-1]
        last, best = rows[-1][recipe.metric], max(row[recipe.metric] for row in rows)
        numbers = {"metric": recipe.metric, "value": row[recipe.metric], "data": _held_out(recipe, settings)}
        numbers |= {"iteration": row["iteration"], "selection": select, "last": last, "best": best}
    training = {**settings.to_dict(), "iteration": state.iteration}
    if bases := checkpoint.training.get("bases"):
        training["bases"] = bases
    return dataclasses.replace(checkpoint, metrics=numbers, training=training)


def _held_out(recipe: Recipe, settings: Settings) -> str:
    if settings.validation:
        return f"{recipe.name}, a validation part of its training clips"
    return f"{recipe.name} fold {settings.fold}" if settings.fold is not None else f"{recipe.name}, held-out part"


def _without(settings: Settings) -> str:
    left_out = [f"fold {settings.fold}"] if settings.fold is not None else []
    left_out += ["the validation share of the rest" if left_out else "a validation share"] if settings.validation else []
    return f"without {' and '.join(left_out)}" if left_out else "all training clips"


def _from_scratch(recipe: Recipe, settings: Settings) -> Checkpoint:
    family, config = models.resolve(settings.model)
    frontend = registry.get("eranntag.features", FRONTEND).Config(min_seconds=recipe.min_seconds)
    return Checkpoint(
        name=f"{settings.model}-{recipe.name}" + (f"-fold{settings.fold}" if settings.fold is not None else ""),
        family=family,
        model=dataclasses.asdict(config),
        frontend_family=FRONTEND,
        frontend=dataclasses.asdict(frontend),
        labels=recipe.labels,
        activation=recipe.activation,
        title=f"{settings.model} trained on {recipe.title} ({_without(settings)})",
        data=f"{recipe.title}, {_without(settings)}",
        licence=recipe.licence,
    )


def _without_bases(training: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in training.items() if name != "bases"}


def _fine_tuned(recipe: Recipe, settings: Settings, base: Checkpoint) -> Checkpoint:
    return dataclasses.replace(
        base,
        name=f"{base.name}-{recipe.name}" + (f"-fold{settings.fold}" if settings.fold is not None else ""),
        frontend={**base.frontend, "min_seconds": recipe.min_seconds},
        labels=recipe.labels,
        activation=recipe.activation,
        thresholds=(),
        training={"bases": [_without_bases(base.training), *base.training.get("bases", ())]} if base.training else {},
        title=f"{base.name} fine-tuned on {recipe.title} ({_without(settings)})",
        data="; ".join(filter(None, (base.data, f"{recipe.title}, {_without(settings)}"))),
        licence="; ".join(dict.fromkeys(filter(None, (base.licence, recipe.licence)))),
    )
