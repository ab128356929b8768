"""Runs beside the paper's number: their mean, and the settings in which they differ from the paper's."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eranntag import models
from eranntag.files import atomic
from eranntag.training.config import Settings, from_recipe
from eranntag.training.cross_validation import Run
from eranntag.types import Published, Recipe

COMPARED = (
    "iterations learning_rate schedule warm_up batch crop_seconds sampler mixup_alpha mixup_rate mixup_partner weight_decay "
    "ema_decay ema_warm_up validation"
).split()


def published(recipe: Recipe, settings: Settings) -> tuple[Published, str] | None:
    """The paper's row for this model and variant of the training, or None; and the settings that differ, "" if none does."""
    if settings.features != models.front_end(settings.model)[0]:
        return None
    name = models.name_of(*models.resolve(settings.model))
    protocol = vars(from_recipe(recipe, settings.model, settings.base))
    for row in recipe.paper:
        if (row.model, row.metric, row.fine_tuned) == (name, "", bool(settings.base)) and _is_variant(row, settings, protocol):
            return row, "; ".join(_differences(settings, {**protocol, **row.changes}))
    return None


def _is_variant(row: Published, settings: Settings, protocol: Mapping[str, Any]) -> bool:
    """Whether a run left out what the row left out: mixup, augmentations, pretraining, PSLA's sampling, enhanced labels."""
    expected = {**protocol, **row.changes}
    unbalanced = protocol["sampler"] == "weighted" and settings.sampler == "shuffle"
    return (
        settings.mixup == expected["mixup"]
        and settings.reconstruction == expected["reconstruction"]
        and settings.pretrained == expected["pretrained"]
        and bool(settings.added_labels) == bool(expected["added_labels"])
        and set(settings.augment) & set(protocol["augment"]) == set(expected["augment"])
        and unbalanced == ("sampler" in row.changes)
    )


def _differences(settings: Settings, expected: Mapping[str, Any]) -> Iterator[str]:
    for name in COMPARED:
        if getattr(settings, name) != expected[name]:
            yield f"{name} {getattr(settings, name)}, not {expected[name]}"
    if set(settings.augment) - set(expected["augment"]):
        yield "more augmentation"
    if settings.teacher_weight:
        yield "soft labels of a teacher"
    if settings.base and not re.search(r"audioset(?!_balanced)", settings.base):
        yield "another base than AudioSet"


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
    if found := published(recipe, settings):
        row, odd = found
        result["paper"] = {"value": row.value, "table": row.table, "how": row.how, "other_settings": odd}
    return result


def write_summary(result: dict[str, Any], folder: Path) -> Path:
    path = folder / "summary.json"
    atomic.write_text(path, json.dumps(result, indent=1) + "\n")
    return path
