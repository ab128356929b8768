"""What runs come to together, beside the paper's number, and in which settings they differ from the paper's."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eranntag import models
from eranntag.files import atomic
from eranntag.training.config import Settings, from_recipe
from eranntag.training.cross_validation import Run
from eranntag.types import Published, Recipe

LEFT_OUT = {"spec-augment": "no SpecAugment", "pitch-shift": "no pitch shift", "time-frequency-mask": "no masking"}
COMPARED = (
    "iterations learning_rate schedule warm_up batch crop_seconds sampler mixup_alpha mixup_rate mixup_partner weight_decay "
    "ema_decay ema_warm_up validation"
).split()


def published(recipe: Recipe, settings: Settings) -> tuple[Published, str] | None:
    """The paper's row for this model, trained from scratch or fine-tuned, with these augmentations, if it has one; and in
    which settings the run differs from it, "" if in none."""
    how = ["fine-tuned" if settings.base else "scratch"]
    theirs = vars(from_recipe(recipe, settings.model, settings.base))
    if theirs["pretrained"] and not settings.pretrained:
        how.append("no ImageNet")
    if theirs["sampler"] == "weighted" and settings.sampler == "shuffle":  # PSLA's steps begin without
        how.append("no balanced sampling")
        theirs["sampler"] = settings.sampler
    if settings.mixup != theirs["mixup"]:
        how.append(f"{'no' if settings.mixup == 'none' else settings.mixup} mixup")
    how += [text for name, text in LEFT_OUT.items() if name in theirs["augment"] and name not in settings.augment]
    how += [f"alpha {settings.reconstruction:g}"] if settings.reconstruction != theirs["reconstruction"] else []
    how += ["enhanced labels"] if settings.added_labels else []
    usual = settings.features == models.front_end(settings.model)[0]
    asked = (models.name_of(*models.resolve(settings.model)), ", ".join(how), "")  # the recipe's metric
    row = next((row for row in recipe.paper if usual and (row.model, row.how, row.metric) == asked), None)
    if row is None:
        return None
    ours = {name: getattr(settings, name) for name in COMPARED}
    odd = [f"{name} {value}, not {theirs[name]}" for name, value in ours.items() if value != theirs[name]]
    odd += ["more augmentation"] if set(settings.augment) - set(theirs["augment"]) else []
    odd += ["another base than AudioSet"] if settings.base and not re.search(r"audioset(?!_balanced)", settings.base) else []
    return row, "; ".join(odd)


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
