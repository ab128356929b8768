"""checkpoints.toml: the names that users type, and what stands behind each. No torch: help and listings stay instant."""

from __future__ import annotations

import dataclasses
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import eranntag
from eranntag.errors import CheckpointError, UsageError
from eranntag.registry import did_you_mean

if TYPE_CHECKING:
    from eranntag.types import Checkpoint

_TYPES: dict[str, Any] = {"str": str, "int": int, "int | None": int, "Mapping": Mapping, "tuple": list}
_OF_FILES, _OF_ENSEMBLES = ("architecture", "weights", "sha256", "size_bytes", "parameters"), ("fusion", "fusion_weights")


@dataclass(frozen=True)
class Row:
    """One named checkpoint.

    `weights` is "embedded:FILE" (in the package), "hf:OWNER/REPO@REVISION/FILE", or a path beside the registry file; ""
    while nobody has published any, and then `command` trains it. `metrics` are this project's measurements,
    `paper` the published ones. An ensemble has `members` instead: names, `hf:` addresses, or paths beside the registry file;
    `fusion` is one of `fusion.RULES`.
    """

    name: str
    title: str
    classes: int
    architecture: str = ""
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
    members: tuple[str, ...] = ()
    fusion: str = ""
    fusion_weights: tuple[float, ...] = ()
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
    for key in ("title", "classes", "members" if "members" in values else "architecture"):
        if key not in values:
            raise CheckpointError(f"{path}: {name}: {key} is missing")
    for item in dataclasses.fields(Row):
        if item.name in values and not isinstance(values[item.name], _TYPES[str(item.type).partition("[")[0]]):
            kind = str(item.type).replace("tuple", "list")
            raise CheckpointError(f"{path}: {name}: {item.name} must be {kind}, not {values[item.name]!r}")
    if values.get("weights", "").startswith("hf:") and len(values.get("sha256", "")) != 64:
        raise CheckpointError(f"{path}: {name}: weights on a hub need their sha256 in the registry")
    if wrong := _wrong_of_ensemble(values):
        raise CheckpointError(f"{path}: {name}: {wrong}")
    defaults = {"fusion": "weighted-average"} if "members" in values else {}
    lists: dict[str, Any] = {key: tuple(values[key]) for key in ("members", "fusion_weights") if key in values}
    return Row(name=name, registry=path, **(defaults | values | lists))


def _wrong_of_ensemble(values: dict[str, Any]) -> str:
    """What is wrong with a row's members and their fusion, "" if nothing is."""
    odd = [key for key in (_OF_FILES if "members" in values else _OF_ENSEMBLES) if key in values]
    if odd:
        return f"{odd[0]} is for rows {'without' if 'members' in values else 'with'} members"
    if "members" not in values:
        return ""
    from eranntag import fusion

    members, weights = values["members"], values.get("fusion_weights", [])
    if len(members) < 2 or not all(isinstance(member, str) for member in members):
        return f"members must be two texts or more, not {members!r}"
    if not all(isinstance(weight, int | float) for weight in weights):
        return f"fusion_weights must be numbers, not {weights!r}"
    return fusion.flaw(len(members), values.get("fusion", fusion.WEIGHTED), weights)


def describe_ensemble(name: str, members: Sequence[str], spec: Checkpoint) -> str:
    """The TOML row of an ensemble of `members`, as they are given; `spec` is `ensemble.described` of them."""
    about = {"title": spec.title, "classes": len(spec.labels), "data": spec.data, "licence": spec.licence}
    return _toml(name, {**about, **spec.model, "members": list(members)})


def describe(file: str) -> str:
    """The TOML row of a weight file, its path as it is given. Raises CheckpointError."""
    from eranntag import models
    from eranntag.checkpoints import sha256, weights

    tagger = weights.load(file)
    spec = tagger.checkpoint
    row = {
        "title": spec.title or spec.name,
        "architecture": models.described(models.name_of(spec.family, tagger.model.config), spec.family, spec.frontend_family),
        "classes": len(spec.labels),
        "weights": os.path.abspath(file),
        "sha256": sha256(Path(file)),
        "size_bytes": Path(file).stat().st_size,
        "parameters": sum(parameter.numel() for parameter in tagger.parameters()),
        "data": spec.data,
        "licence": spec.licence,
    }
    metrics = ", ".join(f"{key} = {json.dumps(value)}" for key, value in spec.metrics.items() if value is not None)
    return _toml(spec.name, row) + (f"metrics = {{ {metrics} }}\n" if metrics else "")


def _toml(name: str, row: dict[str, Any]) -> str:
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in row.items() if value]
    return f"[checkpoints.{json.dumps(name)}]\n" + "".join(lines)
