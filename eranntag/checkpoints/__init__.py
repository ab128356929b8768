"""Checkpoints: a name -> a verified file -> a Tagger. The only package with network access (`fetch`).

`table` reads checkpoints.toml, `fetch` downloads, `header` and `weights` are the file format. What a user types is resolved
here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import eranntag
from eranntag.checkpoints import header, table
from eranntag.checkpoints.table import Row
from eranntag.errors import IntegrityError, NotPublished

if TYPE_CHECKING:
    from eranntag.network import Network
    from eranntag.tagger import Tagger

Report = Callable[[int, int], None]  # bytes done, bytes in all


@dataclass(frozen=True)
class Found:
    """A checkpoint's file, verified; `row` is its line in the table, None for a path or an `hf:` address. `sha256` is the
    file's where it was computed."""

    name: str
    path: Path
    row: Row | None = None
    sha256: str = ""


def load(
    name: str | os.PathLike[str] | None = None,
    device: str = "auto",
    dtype: str = "auto",
    registry: str | None = None,
    offline: bool = False,
    report: Report | None = None,
    engine: str = "auto",
    many: bool = False,
) -> Tagger:
    """The Tagger behind a name of the table (default: its default), a path, or `hf:OWNER/REPO[@REVISION][/FILE]`.

    `engine`, `device` and `dtype` ("float32", "bfloat16", "float16", of the model alone) are chosen to suit the machine where
    they are "auto". `many`: for a lot of clips, some of which may be computed side by side. Raises UsageError for unknown
    names, NotPublished, IntegrityError, FetchError, CheckpointError.
    """
    from eranntag import engine as engines

    engines.check(engine, device, dtype)  # first: a wrong device need not wait for a download
    found = find(name, registry, offline, report)
    digest = found.sha256 or sha256(found.path)
    spec = header.read(found.path)
    if found.row:
        spec = dataclasses.replace(spec, name=found.row.name)

    def network() -> Network:
        opened = open_found(found)
        if sha256(found.path) != digest or opened.checkpoint != spec:  # what is compiled is kept under that digest
            raise IntegrityError(f"{found.name}: {found.path} changed while it was read; try again")
        return opened

    return engines.build(engines.Source(spec, digest, network), engine, device, dtype, many)


def open_found(found: Found) -> Network:
    """The Network of a file that `find` has verified, on the CPU in float32."""
    from eranntag.checkpoints import weights

    return weights.load(found.path, found.row.name if found.row else None)


def find(
    name: str | os.PathLike[str] | None = None,
    registry: str | None = None,
    offline: bool = False,
    report: Report | None = None,
) -> Found:
    """Resolve a name to a file on this machine, downloading it if need be, and check its SHA-256."""
    rows = table.read(registry)
    name = os.fspath(name) if name is not None else rows.default
    if name.startswith("hf:"):
        return Found(name, _fetch(name, "", name, offline, report))
    if name not in rows.rows and (os.path.exists(name) or os.sep in name or name.endswith(".safetensors")):
        return Found(name, Path(name))
    row = rows.row(name)
    if not row.weights:
        raise NotPublished(f"{name}: its weights are not published; train them with `{row.command}`")
    if row.weights.startswith("hf:"):
        return Found(name, _fetch(row.weights, row.sha256, name, offline, report), row)
    return Found(name, _verified(row), row, row.sha256)


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def local_path(row: Row) -> Path:
    """Where an embedded or registry-relative file is."""
    kind, _, file = row.weights.partition(":")
    return Path(eranntag.__file__).parent / "embedded" / file if kind == "embedded" else row.registry.parent / row.weights


def _verified(row: Row) -> Path:
    path = local_path(row)
    if not path.is_file():
        raise IntegrityError(f"{row.name}: {path} is missing; reinstall eranntag, or correct {row.registry}")
    if row.sha256 and (found := sha256(path)) != row.sha256:
        remedy = f"reinstall it, or correct {row.registry}"
        raise IntegrityError(f"{row.name}: {path} has SHA-256 {found}, not {row.sha256}; {remedy}")
    return path


def _fetch(weights: str, digest: str, name: str, offline: bool, report: Report | None) -> Path:
    from eranntag.checkpoints import fetch

    return fetch.fetch(weights, digest, name, offline=offline, report=report)
