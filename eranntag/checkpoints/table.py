"""checkpoints.toml: the names that users type, and what stands behind each. No torch: help and listings stay instant."""

from __future__ import annotations

import dataclasses
import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import eranntag
from eranntag.errors import CheckpointError, UsageError
from eranntag.registry import did_you_mean

_TYPES: dict[str, Any] = {"str": str, "int": int, "int | None": int, "Mapping": Mapping}


@dataclass(frozen=True)
class Row:
    """One named checkpoint.

    `weights` is "embedded:FILE" (in the package), "hf:OWNER/REPO@REVISION/FILE", or a path beside the registry file; ""
    while nobody has published any, and then `command` trains it. `metrics` are this project's measurements,
    `paper` the published ones.
    """

    name: str
    title: str
    architecture: str
    classes: int
    weights: str = ""
    sha256: str = ""
    parameters: int | None = None
    size_bytes: int | None = None
    data: str = ""
    licence: str = ""
    source: str = ""
    command: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    paper: Mapping[str, Any] = field(default_factory=dict)
    registry: Path = Path()


@dataclass(frozen=True)
class Table:
    rows: Mapping[str, Row]
    default: str

    def row(self, name: str) -> Row:
        """UsageError with a suggestion when there is no such name."""
        if name not in self.rows:
            hint = did_you_mean(name, self.rows) or "; `eranntag checkpoints` lists the names"
            raise UsageError(f"no checkpoint is called {name!r}, and there is no such file{hint}")
        return self.rows[name]


def builtin_path() -> Path:
    """checkpoints.toml lies in the package when installed, beside it in a checkout."""
    package = Path(eranntag.__file__).parent
    return next(path for path in (package / "checkpoints.toml", package.parent / "checkpoints.toml") if path.exists())


def read(user_registry: str | None = None) -> Table:
    """The built-in table, and over it the rows of a user's own file, by default that of $ERANNTAG_REGISTRY.

    Raises CheckpointError for a file that is wrong.
    """
    table = _parse(builtin_path())
    if user_registry := user_registry or os.environ.get("ERANNTAG_REGISTRY"):
        own = _parse(Path(user_registry))
        table = Table({**table.rows, **own.rows}, own.default or table.default)
    return table


def _parse(path: Path) -> Table:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path}: the registry cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a TOML file ({error})") from None
    rows = content.get("checkpoints", {})
    if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
        raise CheckpointError(f"{path}: checkpoints must be tables, written [checkpoints.NAME]")
    return Table({name: _row(name, row, path) for name, row in rows.items()}, str(content.get("default", "")))


def _row(name: str, values: dict[str, Any], path: Path) -> Row:
    known = {item.name for item in dataclasses.fields(Row)} - {"name", "registry"}
    for key in values.keys() - known:
        raise CheckpointError(f"{path}: {name}: unknown key {key!r}{did_you_mean(key, known)}")
    for key in ("title", "architecture", "classes"):
        if key not in values:
            raise CheckpointError(f"{path}: {name}: {key} is missing")
    for item in dataclasses.fields(Row):
        if item.name in values and not isinstance(values[item.name], _TYPES[str(item.type).partition("[")[0]]):
            raise CheckpointError(f"{path}: {name}: {item.name} must be {item.type}, not {values[item.name]!r}")
    if values.get("weights", "").startswith("hf:") and len(values.get("sha256", "")) != 64:
        raise CheckpointError(f"{path}: {name}: weights on a hub need their sha256 in the registry")
    return Row(name=name, registry=path, **values)


def describe(file: str) -> str:
    """The TOML row of a weight file, its path as it is given. Raises CheckpointError."""
    from eranntag import models
    from eranntag.checkpoints import sha256, weights

    tagger = weights.load(file)
    spec = tagger.checkpoint
    row = {
        "title": spec.title or spec.name,
        "architecture": models.name_of(spec.family, tagger.model.config),
        "classes": len(spec.labels),
        "weights": os.path.abspath(file),
        "sha256": sha256(Path(file)),
        "size_bytes": Path(file).stat().st_size,
        "parameters": sum(parameter.numel() for parameter in tagger.model.parameters()),
        "data": spec.data,
        "licence": spec.licence,
    }
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in row.items() if value]
    metrics = ", ".join(f"{key} = {json.dumps(value)}" for key, value in spec.metrics.items() if value is not None)
    return f"[checkpoints.{json.dumps(spec.name)}]\n" + "".join(lines) + (f"metrics = {{ {metrics} }}\n" if metrics else "")
