"""The published results of a recipe: a row of a paper's table, in words and as the settings that it was trained with."""

from collections.abc import Mapping
from typing import Any

from eranntag.types import Published

VARIANTS: Mapping[str, Mapping[str, Any]] = {  # words of a table -> what differs from the recipe's protocol
    "no mixup": {"mixup": "none"},
    "standard mixup": {"mixup": "standard"},
    "log-mel mixup": {"mixup": "log-mel"},
    "no SpecAugment": {"augment": ()},
    "no pitch shift": {"augment": ("spec-augment",)},
    "no masking": {"augment": ()},
    "no ImageNet": {"pretrained": False},
    "no balanced sampling": {"sampler": "shuffle"},
    "enhanced labels": {"added_labels": True},
    "alpha 0": {"reconstruction": 0.0},
    "alpha 0.01": {"reconstruction": 0.01},
}


def row(model: str, value: float, table: str, how: str = "scratch", metric: str = "") -> Published:
    """A row of `table`; `how` is "scratch" or "fine-tuned", and after commas the names of VARIANTS."""
    start, *variants = how.split(", ")
    changes = {name: value for variant in variants for name, value in VARIANTS[variant].items()}
    return Published(model, value, table, how, metric, start == "fine-tuned", changes)


def erann_rows(table: str, values: Mapping[str, float], how: str = "scratch") -> tuple[Published, ...]:
    """ERANN's rows of a table: "S-W" -> the published value."""
    return tuple(row(f"erann-{model}", value, table, how) for model, value in values.items())
