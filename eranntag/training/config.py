"""Everything that decides the numbers of a run."""

import dataclasses
import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

from eranntag import models
from eranntag.errors import UsageError
from eranntag.registry import did_you_mean
from eranntag.training.samplers import PARTNERS, SAMPLERS
from eranntag.training.schedules import SCHEDULES
from eranntag.types import Example, Recipe, TrainingConfig

KEEP = "keep"  # a `head` that is none of the family's HEADS: no layer is replaced


@dataclass(frozen=True, kw_only=True)
class Settings(TrainingConfig):
    """A run: how it trains, and on what. A run is resumed only under the same settings.

    `features`: the front-end; `validation`: the share of the training clips that is held out instead of the fold. `base` is the
    checkpoint that was fine-tuned and `head` its new layers, or keep; `clips` a digest of the clips and their labels,
    `added_labels` the file of more of these, with its digest. `teacher` labels the clips of a distillation, and
    `embedding_weight` is the weight of the distance from its embedding; or it has the share
    `teacher_weight` of the targets of labeled clips.
    """

    recipe: str
    model: str
    fold: int | None = None
    seed: int = 0
    features: str = "logmel"
    validation: float = 0.0
    base: str = ""
    head: str = ""
    clips: str = ""
    added_labels: str = ""
    teacher: str = ""
    embedding_weight: float = 0.0
    teacher_weight: float = 0.0

    def __post_init__(self) -> None:
        known_values: dict[str, Collection[str]] = {
            "schedule": SCHEDULES,
            "sampler": SAMPLERS,
            "mixup_partner": PARTNERS,
            "dtype": ("float32", "bfloat16"),
        }
        for name, known in known_values.items():
            if (value := getattr(self, name)) not in known:
                raise UsageError(f"{name} {value!r} is none of {', '.join(known)}{did_you_mean(value, known)}")
        for name in ("iterations", "learning_rate", "evaluate_every", "crop_seconds", "batch", "accumulate", "mixup_alpha"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UsageError(f"{name} must be above 0 and finite, not {getattr(self, name)}")
        if self.crop_seconds != int(self.crop_seconds):
            raise UsageError(f"crop_seconds must be whole seconds, not {self.crop_seconds}")
        if self.batch % self.accumulate:
            raise UsageError(f"a batch of {self.batch} cannot be divided into {self.accumulate} equal parts")
        if self.warm_up >= self.iterations:
            raise UsageError(f"a warm_up of {self.warm_up} iterations does not fit a run of {self.iterations}; --set warm_up=N")
        if self.seed < 0:
            raise UsageError(f"seed must not be below 0, as {self.seed} is")
        for name in ("validation", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 0 and below 1, not {getattr(self, name)}")
        if not 0 <= self.teacher_weight <= 1:
            raise UsageError(f"teacher_weight must be from 0 to 1, not {self.teacher_weight}")
        if not 0 < self.mixup_rate <= 1:
            raise UsageError(f"mixup_rate must be above 0 (--mixup none is without) and at most 1, not {self.mixup_rate}")
        weights = ("reconstruction", "weight_decay", "embedding_weight")
        for name in ("clip_gradients", "patience", "warm_up", "keep_every", *weights):
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name} must not be below 0, as {getattr(self, name)} is")

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON reads them back: lists for tuples."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return values


def from_recipe(recipe: Recipe, model: str, base: str = "", **changes: Any) -> Settings:
    """The recipe's protocol for `model`, from scratch or for fine-tuning (with `base`), with the changes that are not None."""
    differences = recipe.fine_tuning if base else recipe.families.get(models.resolve(model)[0], {})
    protocol = {**vars(recipe.training), **differences}
    run = {"recipe": recipe.name, "model": model, "features": models.front_end(model)[0], "base": base}
    return Settings(**(protocol | run | {name: value for name, value in changes.items() if value is not None}))


def parse(assignments: Sequence[str]) -> dict[str, Any]:
    """`NAME=VALUE` for any Settings field with a plain value, as its type. Raises UsageError."""
    fixed = {"recipe", "model", "features", "fold", "base", "head", "clips", "added_labels", "augment"}
    fixed |= {"teacher", "teacher_weight"}
    kinds = {name: kind for name, kind in get_type_hints(Settings).items() if name not in fixed}
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if name in kinds and not equals:
            raise UsageError(f"--set {assignment}: which value? Write {name}=VALUE")
        if name not in kinds:
            raise UsageError(f"--set {assignment}: not NAME=VALUE with one of {', '.join(kinds)}{did_you_mean(name, kinds)}")
        try:
            values[name] = {"true": True, "false": False}[text] if kinds[name] is bool else kinds[name](text)
        except (KeyError, ValueError):
            raise UsageError(f"--set {assignment}: {name} takes a value of type {kinds[name].__name__}") from None
    return values


def digest(*parts: Sequence[Example]) -> str:
    """A fingerprint of clips and labels, whatever folder they lie in: `1600+400 clips 0f3a...`."""
    sha = hashlib.sha256()
    for examples in parts:
        for example in examples:
            name = str(example.path).replace("\\", "/").rpartition("/")[2]
            sha.update(f"{name} {example.targets}\n".encode("utf-8", "surrogateescape"))
        sha.update(b"-\n")
    return f"{'+'.join(str(len(examples)) for examples in parts)} clips {sha.hexdigest()[:12]}"
