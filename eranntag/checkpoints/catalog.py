"""checkpoints.toml: the named checkpoints. Without torch, so that help and listings stay instant."""

from __future__ import annotations

import dataclasses
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import eranntag
from eranntag.checkpoints import limits
from eranntag.checkpoints.limits import is_finite_number, short_repr
from eranntag.errors import CheckpointError, NotPublished, UsageError
from eranntag.registry import did_you_mean

_TYPES: dict[str, Any] = {"str": str, "int": int, "int | None": int, "Mapping": Mapping, "tuple": list}
_OF_FILES = ("architecture", "weights", "format", "sha256", "size_bytes", "parameters", "sample_rate_hz")
_OF_ENSEMBLES = ("fusion", "fusion_weights")
FORMATS = ("torch", "safetensors")  # of a file on the web: tensors as torch.save writes them, a weight file as it is
LOOPBACK = ("127.0.0.1", "localhost", "::1")  # where http is as good as https
LABEL_SETS = {"AudioSet": "audioset", "ESC-50": "esc50"}  # whose labels are in the package: the recipe that has them
MAX_DOTS = 256  # in a line of a registry


@dataclass(frozen=True)
class Row:
    """One named checkpoint.

    `weights` is "embedded:FILE" (in the package), "hf:OWNER/REPO@REVISION/FILE", "https://..." (the file that others published,
    in a `format` of FORMATS), or a path beside the registry file. `sha256` and `size_bytes` are those of that file. `labels` is
    the name of the label set. `metrics` are this project's measurements, `paper` the published ones. An ensemble has `members`
    instead: names, `hf:` addresses, or paths beside the registry file; `fusion` is one of `fusion.RULES`.
    """

    name: str
    title: str
    classes: int
    architecture: str = ""
    weights: str = ""
    format: str = ""
    sha256: str = ""
    parameters: int | None = None
    size_bytes: int | None = None
    sample_rate_hz: int | None = None
    labels: str = ""
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

    @property
    def is_published(self) -> bool:
        """Whether the weights are a file on the web that is converted on first use."""
        return "://" in self.weights


@dataclass(frozen=True)
class Paper:
    """A model of a paper whose weights are not published: `command` trains it, `paper` is its result there."""

    name: str
    title: str
    classes: int
    architecture: str
    command: str
    paper: Mapping[str, Any]
    parameters: int | None = None
    source: str = ""
    registry: Path = Path()


@dataclass(frozen=True)
class Catalog:
    """Checkpoints that can be loaded, and models of papers that can be trained, by name."""

    rows: Mapping[str, Row]
    default: str
    papers: Mapping[str, Paper] = field(default_factory=dict)

    def row(self, name: str) -> Row:
        """Return the checkpoint of a name. Raises NotPublished for a paper's model, UsageError for other names."""
        if name in self.rows:
            return self.rows[name]
        if name in self.papers:
            raise NotPublished(f"{name}: its weights are not published; train them with `{self.papers[name].command}`")
        hint = did_you_mean(name, {**self.rows, **self.papers}) or "; `eranntag checkpoints` lists the names"
        raise UsageError(f"no checkpoint is called {name!r}, and there is no such file{hint}")


def builtin_path() -> Path:
    """checkpoints.toml lies in the package when installed, beside it in a checkout."""
    package = Path(eranntag.__file__).parent
    return next(path for path in (package / "checkpoints.toml", package.parent / "checkpoints.toml") if path.exists())


def load_catalog(user_registry: str | None = None) -> Catalog:
    """Return the built-in catalog, updated with the rows of a user's own file (default: that of $ERANNTAG_REGISTRY).

    Raises CheckpointError for a file that is wrong.
    """
    table = _parse(builtin_path())
    if user_registry := user_registry or os.environ.get("ERANNTAG_REGISTRY"):
        own = _parse(Path(user_registry))
        table = Catalog({**table.rows, **own.rows}, own.default or table.default, {**table.papers, **own.papers})
    return table


def _parse(path: Path) -> Catalog:
    content = _load_toml(path)
    for kind in ("checkpoints", "papers"):
        rows = content.get(kind, {})
        if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
            raise CheckpointError(f"{path}: {kind} must be tables, written [{kind}.NAME]")
    if not isinstance(default := content.get("default", ""), str):
        raise CheckpointError(f"{path}: default must be the name of a checkpoint, not {short_repr(default)}")
    rows = {name: _row(name, row, path) for name, row in content.get("checkpoints", {}).items()}
    papers = {name: _paper(name, paper, path) for name, paper in content.get("papers", {}).items()}
    return Catalog(rows, default, papers)


def _load_toml(path: Path) -> dict[str, Any]:
    """Return the content of a registry, in bounded time: tomllib takes quadratic time and memory in the dots of a key."""
    remedy = "name a registry with --registry or $ERANNTAG_REGISTRY, or neither"
    try:
        text = limits.read_bytes(path, f"the registry cannot be read; {remedy}", limits.MAX_REGISTRY).decode()
        if any(line.count(".") > MAX_DOTS for line in text.splitlines()):
            raise ValueError(f"a line has more than {MAX_DOTS} dots")
        content = tomllib.loads(text)
        if wrong := limits.value_error(content):
            raise ValueError(wrong)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such file; the registry cannot be read; {remedy}") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a TOML file ({error}); correct it, or {remedy}") from None
    return content


def _row(name: str, values: dict[str, Any], path: Path) -> Row:
    _check_keys(Row, ("title", "classes", *(() if "members" in values else ("architecture", "weights"))), name, values, path)
    if wrong := _numbers_error(values) or _file_error(values) or _ensemble_error(values):
        raise CheckpointError(f"{path}: {name}: {wrong}")
    defaults = {"fusion": "weighted-average"} if "members" in values else {}
    lists: dict[str, Any] = {key: tuple(values[key]) for key in ("members", "fusion_weights") if key in values}
    digest = {"sha256": values["sha256"].lower()} if "sha256" in values else {}
    return Row(name=name, registry=path, **(defaults | values | lists | digest))


def _paper(name: str, values: dict[str, Any], path: Path) -> Paper:
    _check_keys(Paper, ("title", "classes", "architecture", "command", "paper"), name, values, path)
    if wrong := _numbers_error(values):
        raise CheckpointError(f"{path}: {name}: {wrong}")
    return Paper(name=name, registry=path, **values)


def _check_keys(kind: type[Row] | type[Paper], needed: tuple[str, ...], name: str, values: dict[str, Any], path: Path) -> None:
    """Raise CheckpointError for a name that is none, and for keys that are unknown, missing, or of another type."""
    if wrong := limits.name_error(name):
        raise CheckpointError(f"{path}: the name of a checkpoint {wrong}")
    known = {item.name for item in dataclasses.fields(kind)} - {"name", "registry"}
    for key in values.keys() - known:
        raise CheckpointError(f"{path}: {name}: unknown key {short_repr(key)}{did_you_mean(key, known)}")
    for key in needed:
        if key not in values:
            hint = "; models without weights belong under [papers.NAME]" if key == "weights" else ""
            raise CheckpointError(f"{path}: {name}: {key} is missing{hint}")
    for item in (item for item in dataclasses.fields(kind) if item.name in values):
        allowed, value = _TYPES[str(item.type).partition("[")[0]], values[item.name]
        if not isinstance(value, allowed) or isinstance(value, bool):
            wanted = str(item.type).replace("tuple", "list")
            raise CheckpointError(f"{path}: {name}: {item.name} must be {wanted}, not {short_repr(value)}")


def _file_error(values: dict[str, Any]) -> str:
    """Return what is wrong with a row's weights and their hash, "" if nothing is."""
    weights, sha256 = values.get("weights", "-"), values.get("sha256")
    if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        return f"sha256 must be 64 hexadecimal digits, not {short_repr(sha256)}"
    if weights.startswith("hf:") and sha256 is None:
        return "weights on a hub need their sha256 in the registry"
    if "://" in weights:
        return _web_error(values)
    if "format" in values:
        return "format is for weights on the web"
    if weights.startswith("embedded:") and not re.fullmatch(r"embedded:[A-Za-z0-9_][A-Za-z0-9_.-]*", weights):
        return f"embedded weights are a file of the package, without a folder, not {short_repr(weights)}"
    if not weights or "\0" in weights:
        return f"weights must be a path, not {short_repr(weights)}"
    return ""


def _web_error(values: dict[str, Any]) -> str:
    """Return what is wrong with a row whose weights are on the web, "" if nothing is."""
    weights = values["weights"]
    try:
        url = urlsplit(weights)
        local = url.scheme == "http" and url.hostname in LOOPBACK
        good = (url.scheme == "https" or local) and url.hostname and url.username is None and url.port != 0
    except ValueError:
        good = False
    if not good or not re.fullmatch("[!-~]+", weights):
        forms = "https://HOST/FILE, embedded:FILE, hf:OWNER/REPO@REVISION/FILE or a path"
        return f"weights must be {forms}, not {short_repr(weights)}"
    for key in ("sha256", "size_bytes", "format"):
        if key not in values:
            return f"weights on the web need {key}"
    if values["format"] not in FORMATS:
        return f"format must be {' or '.join(FORMATS)}, not {short_repr(values['format'])}"
    return ""


def _numbers_error(values: dict[str, Any]) -> str:
    """Return what is wrong with a row's numbers and results, "" if nothing is."""
    maxima = {"classes": 10**6, "size_bytes": limits.MAX_FILE, "parameters": 10**10, "sample_rate_hz": 10**6}
    for key, most in maxima.items():
        if not 1 <= values.get(key, 1) <= most:
            return f"{key} must be 1 to {most}, not {values[key]}"
    for key in ("metrics", "paper"):
        if not isinstance(values.get(key, {}).get("metric", ""), str) or not is_finite_number(
            values.get(key, {}).get("value", 0)
        ):
            return f"{key} must have a text as its metric and a finite number as its value"
    return ""


def _ensemble_error(values: dict[str, Any]) -> str:
    """Return what is wrong with a row's members and their fusion, "" if nothing is."""
    odd = [key for key in (_OF_FILES if "members" in values else _OF_ENSEMBLES) if key in values]
    if odd:
        return f"{odd[0]} is for rows {'without' if 'members' in values else 'with'} members"
    if "members" not in values:
        return ""
    from eranntag.inference import fusion

    members, weights = values["members"], values.get("fusion_weights", [])
    if len(members) < 2 or not all(isinstance(member, str) and "\0" not in member for member in members):
        return f"members must be two texts or more, not {short_repr(members)}"
    if not all(map(is_finite_number, weights)):
        return f"fusion_weights must be numbers, not {short_repr(weights)}"
    return fusion.rule_error(len(members), values.get("fusion", fusion.WEIGHTED), weights)
