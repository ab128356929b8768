"""Rows of a registry as TOML text, for a user's own registry or checkpoints.toml."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eranntag.checkpoints import limits
from eranntag.checkpoints.limits import is_finite_number
from eranntag.errors import UsageError

if TYPE_CHECKING:
    from eranntag.types import Checkpoint


def ensemble_row(name: str, members: Sequence[str], spec: Checkpoint) -> str:
    """Return the TOML row of an ensemble of `members`; `spec` is `ensemble.described` of them.

    Raises UsageError for a name that registries refuse.
    """
    if wrong := limits.name_error(name):
        raise UsageError(f"the name of a checkpoint {wrong}")
    about = {"title": spec.title, "classes": len(spec.labels), "data": spec.data, "licence": spec.licence}
    return _toml(name, {**about, **spec.model, "members": list(members)})


def file_row(file: str) -> str:
    """Return the TOML row of a weight file. Raises CheckpointError."""
    from eranntag import models
    from eranntag.checkpoints import weights
    from eranntag.checkpoints.digest import file_sha256

    tagger = weights.load(file)
    spec = tagger.checkpoint
    row = {
        "title": spec.title or spec.name,
        "architecture": models.described(models.name_of(spec.family, tagger.model.config), spec.family, spec.frontend_family),
        "classes": len(spec.labels),
        "weights": os.path.abspath(file),
        "sha256": file_sha256(Path(file)),
        "size_bytes": Path(file).stat().st_size,
        "parameters": sum(parameter.numel() for parameter in tagger.parameters()),
        "sample_rate_hz": tagger.frontend.config.sample_rate_hz,
        "data": spec.data,
        "licence": spec.licence,
    }
    simple = {key: value for key, value in spec.metrics.items() if isinstance(value, str | bool) or is_finite_number(value)}
    metrics = ", ".join(f"{_toml_key(key)} = {_toml_value(value)}" for key, value in simple.items())
    return _toml(spec.name, row) + (f"metrics = {{ {metrics} }}\n" if metrics else "")


def _toml(name: str, row: dict[str, Any]) -> str:
    lines = [f"{key} = {_toml_value(value)}\n" for key, value in row.items() if value]
    return f"[checkpoints.{json.dumps(name)}]\n" + "".join(lines)


def _toml_value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # which JSON alone allows as it is


def _toml_key(key: str) -> str:
    """Bare where it can be; else quoted, so that no header can write rows of its own."""
    return key if re.fullmatch("[A-Za-z0-9_-]+", key) else json.dumps(key)
