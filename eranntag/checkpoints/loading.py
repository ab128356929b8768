"""Checkpoints: a name -> a verified file -> a Tagger. The only package with network access.

`table` reads checkpoints.toml, `rows` writes such rows, `fetch` downloads with `web` and `hub`, `convert` reads weights that
others published, `header` and `weights` are the file format, and `untrusted` bounds what any of them reads. What a user types
is resolved here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eranntag import registry as plug_ins
from eranntag.checkpoints import catalog, header, limits
from eranntag.checkpoints.catalog import Row, Table
from eranntag.checkpoints.transfer import Report
from eranntag.errors import CheckpointError, FetchError, IntegrityError, UsageError
from eranntag.registry import did_you_mean

if TYPE_CHECKING:
    from eranntag.inference.network import Network
    from eranntag.inference.tagger import Tagger
    from eranntag.types import Checkpoint


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
    from eranntag.engines import selection as engines

    engines.check(engine, device, dtype)  # first: a wrong device need not wait for a download
    taggers = [_tagger(found, engine, device, dtype, many) for found in find_all(name, registry, offline, report)]
    if (row := _ensemble(name, catalog.read(registry))) is None:
        return taggers[0]
    from eranntag.inference.ensemble import Ensemble

    ensemble = Ensemble(row.name, taggers, row.fusion, row.fusion_weights, row.title)
    ensemble.sha256 = tuple(digest for tagger in taggers for digest in tagger.sha256)
    return ensemble


def spec(found: Found) -> Checkpoint:
    """What the header of a file that `find` has verified says, under the name that was asked for."""
    read = header.read(found.path)
    return dataclasses.replace(read, name=found.row.name) if found.row else read


def _tagger(found: Found, engine: str, device: str, dtype: str, many: bool) -> Tagger:
    from eranntag.engines import selection as engines

    about = spec(found)  # says what is wrong with a file that is none
    digest = found.sha256 or sha256(found.path)

    def network() -> Network:
        opened = open_found(found)
        if sha256(found.path) != digest or opened.checkpoint != about:  # what is compiled is kept under that digest
            raise IntegrityError(f"{found.name}: {found.path} changed while it was read; try again")
        return opened

    tagger = engines.build(engines.Source(about, digest, network), engine, device, dtype, many)
    tagger.sha256 = (digest,)
    return tagger


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
    """Resolve a name to a file on this machine, downloading it if need be, and check its SHA-256.

    An ensemble is a UsageError here: `find_all` is for those who take one.
    """
    rows = catalog.read(registry)
    if row := _ensemble(name, rows):
        raise UsageError(f"{row.name}: an ensemble, which has no weights of its own; name a member: {', '.join(row.members)}")
    return _find(name, rows, offline, report)


def find_all(
    name: str | os.PathLike[str] | None = None,
    registry: str | None = None,
    offline: bool = False,
    report: Report | None = None,
) -> list[Found]:
    """The files behind a name, as `find` does: one, or those of an ensemble's members in their order."""
    rows = catalog.read(registry)
    row = _ensemble(name, rows)
    return [_find(each, rows, offline, report) for each in (_members(row, rows) if row else [name])]


def _ensemble(name: str | os.PathLike[str] | None, rows: Table) -> Row | None:
    """The row of an ensemble; None for other names."""
    row = rows.rows.get(os.fspath(name) if name is not None else rows.default)
    return row if row and row.members else None


def _members(row: Row, rows: Table) -> list[str]:
    """What stands for the members of an ensemble: names and `hf:` addresses as they are, files beside the registry."""
    found = []
    for member in row.members:
        if member in rows.rows and rows.rows[member].members:
            raise CheckpointError(f"{row.registry}: {row.name}: its member {member} is an ensemble; name the members of that")
        known = member in rows.rows or member.startswith("hf:")
        found.append(member if known else str(row.registry.parent / member))
        if not known and not os.path.exists(found[-1]):
            hint = did_you_mean(member, rows.rows)
            raise CheckpointError(f"{row.registry}: {row.name}: no checkpoint is called {member!r}, nor a file there{hint}")
    return found


def _find(name: str | os.PathLike[str] | None, rows: Table, offline: bool, report: Report | None) -> Found:
    name = os.fspath(name) if name is not None else rows.default
    if name.startswith("hf:"):
        return Found(name, _fetch(name, None, name, offline, report))
    if name not in rows.rows and (os.path.exists(name) or os.sep in name or name.endswith(".safetensors")):
        return Found(name, Path(name))
    row = rows.row(name)
    if row.is_published:
        from eranntag.checkpoints import fetch

        path, digest = fetch.published(row, offline, report)
        return Found(name, path, row, digest)
    if row.weights.startswith("hf:"):
        return Found(name, _fetch(row.weights, row, name, offline, report), row, row.sha256)
    return Found(name, _verified(row), row, row.sha256)


def sha256(path: Path) -> str:
    """Of a regular file. Raises CheckpointError for others, and for one that is larger than weight files are."""
    try:
        with limits.opened(path, header.REMEDY)[0] as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint file; {header.REMEDY}") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); {header.REMEDY}") from None


def labels(name: str, registry: str | None = None) -> tuple[str, ...]:
    """Return the labels of a checkpoint in the order of its scores, without a download.

    Raises CheckpointError for one that is not on this machine and whose label set is not in the package.
    """
    rows = catalog.read(registry)
    if ensemble := _ensemble(name, rows):
        name = _members(ensemble, rows)[0]
    if (row := rows.rows.get(name)) and place(row) in ("download", "hub") and row.labels in catalog.LABEL_SETS:
        recipe = plug_ins.get("eranntag.recipes", catalog.LABEL_SETS[row.labels]).RECIPE
        return tuple(recipe.labels)
    try:
        return header.read(_find(name, rows, offline=True, report=None).path).labels
    except FetchError:
        raise CheckpointError(f"{name}: not on this machine; run `eranntag checkpoints pull {name}` first") from None


def place(row: Row, look: bool = True) -> str:
    """Return in a word where the weights of a row are: embedded, file, ensemble, download, hub or, if `look` finds them in
    the cache, cached."""
    if row.members:
        return "ensemble"
    if not row.is_published and not row.weights.startswith("hf:"):
        return "embedded" if row.weights.startswith("embedded:") else "file"
    from eranntag.checkpoints import fetch, hub

    path = fetch.published_path(row) if row.is_published else fetch.hub_path(hub.parse(row.weights))
    return "cached" if look and path.is_file() else "download" if row.is_published else "hub"


def local_path(row: Row) -> Path:
    """Where an embedded or registry-relative file is."""
    kind, _, file = row.weights.partition(":")
    return Path(__file__).parent / "embedded" / file if kind == "embedded" else row.registry.parent / row.weights


def _verified(row: Row) -> Path:
    path = local_path(row)
    if not path.is_file():
        raise IntegrityError(f"{row.name}: {path} is missing; reinstall eranntag, or correct {row.registry}")
    remedy = f"reinstall it, or correct {row.registry}"
    if row.size_bytes and (size := path.stat().st_size) != row.size_bytes:
        raise IntegrityError(f"{row.name}: {path} has {size} bytes, not {row.size_bytes}; {remedy}")
    if row.sha256 and (found := sha256(path)) != row.sha256:
        raise IntegrityError(f"{row.name}: {path} has SHA-256 {found}, not {row.sha256}; {remedy}")
    return path


def _fetch(weights: str, row: Row | None, name: str, offline: bool, report: Report | None) -> Path:
    from eranntag.checkpoints import fetch

    digest, size = (row.sha256, row.size_bytes) if row else ("", None)
    return fetch.fetch(weights, digest, name, offline=offline, report=report, size=size)
