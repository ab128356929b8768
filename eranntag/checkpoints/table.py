"""checkpoints.toml: the names that users type, and what stands behind each. No torch: help and listings stay instant."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import eranntag
from eranntag.checkpoints import untrusted
from eranntag.checkpoints.untrusted import is_number, shown
from eranntag.errors import CheckpointError, UsageError
from eranntag.registry import did_you_mean

if TYPE_CHECKING:
    from eranntag.types import Checkpoint

_TYPES: dict[str, Any] = {"str": str, "int": int, "int | None": int, "Mapping": Mapping, "tuple": list}
_OF_FILES, _OF_ENSEMBLES = ("architecture", "weights", "sha256", "size_bytes", "parameters"), ("fusion", "fusion_weights")
MAX_DOTS = 256  # in a line of a registry


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
    content, default = _content(path), ""
    rows = content.get("checkpoints", {})
    if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
        raise CheckpointError(f"{path}: checkpoints must be tables, written [checkpoints.NAME]")
    if not isinstance(default := content.get("default", ""), str):
        raise CheckpointError(f"{path}: default must be the name of a checkpoint, not {shown(default)}")
    return Table({name: _row(name, row, path) for name, row in rows.items()}, default)


def _content(path: Path) -> dict[str, Any]:
    """What a registry says, read in bounded time: tomllib takes a square of the number of dots in a key, and its memory."""
    remedy = "name a registry with --registry or $ERANNTAG_REGISTRY, or neither"
    try:
        text = untrusted.content(path, f"the registry cannot be read; {remedy}", untrusted.MAX_REGISTRY).decode()
        if any(line.count(".") > MAX_DOTS for line in text.splitlines()):
            raise ValueError(f"a line has more than {MAX_DOTS} dots")
        content = tomllib.loads(text)
        if wrong := untrusted.wrong_value(content):
            raise ValueError(wrong)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such file; the registry cannot be read; {remedy}") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a TOML file ({error}); correct it, or {remedy}") from None
    return content


def _row(name: str, values: dict[str, Any], path: Path) -> Row:
    if wrong := untrusted.wrong_name(name):
        raise CheckpointError(f"{path}: the name of a checkpoint {wrong}")
    known = {item.name for item in dataclasses.fields(Row)} - {"name", "registry"}
    for key in values.keys() - known:
        raise CheckpointError(f"{path}: {name}: unknown key {shown(key)}{did_you_mean(key, known)}")
    for key in ("title", "classes", "members" if "members" in values else "architecture"):
        if key not in values:
            raise CheckpointError(f"{path}: {name}: {key} is missing")
    for item in (item for item in dataclasses.fields(Row) if item.name in values):
        kind, value = _TYPES[str(item.type).partition("[")[0]], values[item.name]
        if not isinstance(value, kind) or isinstance(value, bool):
            wanted = str(item.type).replace("tuple", "list")
            raise CheckpointError(f"{path}: {name}: {item.name} must be {wanted}, not {shown(value)}")
    if wrong := _wrong_of_file(values) or _wrong_of_ensemble(values):
        raise CheckpointError(f"{path}: {name}: {wrong}")
    defaults = {"fusion": "weighted-average"} if "members" in values else {}
    lists: dict[str, Any] = {key: tuple(values[key]) for key in ("members", "fusion_weights") if key in values}
    digest = {"sha256": values["sha256"].lower()} if "sha256" in values else {}
    return Row(name=name, registry=path, **(defaults | values | lists | digest))


def _wrong_of_file(values: dict[str, Any]) -> str:
    """What is wrong with where a row's weights are, their hash and the numbers beside them, "" if nothing is."""
    weights, sha256 = values.get("weights", ""), values.get("sha256")
    if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        return f"sha256 must be 64 hexadecimal digits, not {shown(sha256)}"
    if weights.startswith("hf:") and sha256 is None:
        return "weights on a hub need their sha256 in the registry"
    if "://" in weights:
        return f"weights must be embedded:FILE, hf:OWNER/REPO@REVISION/FILE or a path, not {shown(weights)}"
    if weights.startswith("embedded:") and not re.fullmatch(r"embedded:[A-Za-z0-9_][A-Za-z0-9_.-]*", weights):
        return f"embedded weights are a file of the package, without a folder, not {shown(weights)}"
    if "\0" in weights:
        return f"weights must be a path, not {shown(weights)}"
    for key, most in (("classes", 1_000_000), ("size_bytes", untrusted.MAX_FILE), ("parameters", 10**10)):
        if not 1 <= values.get(key, 1) <= most:
            return f"{key} must be 1 to {most}, not {values[key]}"
    for key in ("metrics", "paper"):
        if not isinstance(values.get(key, {}).get("metric", ""), str) or not is_number(values.get(key, {}).get("value", 0)):
            return f"{key} must have a text as its metric and a finite number as its value"
    return ""


def _wrong_of_ensemble(values: dict[str, Any]) -> str:
    """What is wrong with a row's members and their fusion, "" if nothing is."""
    odd = [key for key in (_OF_FILES if "members" in values else _OF_ENSEMBLES) if key in values]
    if odd:
        return f"{odd[0]} is for rows {'without' if 'members' in values else 'with'} members"
    if "members" not in values:
        return ""
    from eranntag import fusion

    members, weights = values["members"], values.get("fusion_weights", [])
    if len(members) < 2 or not all(isinstance(member, str) and "\0" not in member for member in members):
        return f"members must be two texts or more, not {shown(members)}"
    if not all(map(is_number, weights)):
        return f"fusion_weights must be numbers, not {shown(weights)}"
    return fusion.flaw(len(members), values.get("fusion", fusion.WEIGHTED), weights)


def describe_ensemble(name: str, members: Sequence[str], spec: Checkpoint) -> str:
    """The TOML row of an ensemble of `members`, as they are given; `spec` is `ensemble.described` of them. Raises UsageError
    for a name that no registry takes."""
    if wrong := untrusted.wrong_name(name):
        raise UsageError(f"the name of a checkpoint {wrong}")
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
    simple = {key: value for key, value in spec.metrics.items() if isinstance(value, str | bool) or is_number(value)}
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
