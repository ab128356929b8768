"""A name, a path or an address on a hub -> a verified weight file -> a Tagger. The only room with network access.

`catalog` reads checkpoints.toml, `fetch` downloads with `web` and `hub`, `header` and `weights` are the file format, and
`limits` bounds what is read of files that others wrote. docs/architecture.md lists the calls.
"""

from __future__ import annotations

import dataclasses
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from eranntag import registry as plug_ins
from eranntag.checkpoints import catalog, fetch, hub
from eranntag.checkpoints.catalog import Catalog, Row
from eranntag.checkpoints.digest import file_sha256
from eranntag.checkpoints.header import Header, read_header
from eranntag.checkpoints.transfer import ProgressCallback
from eranntag.errors import CheckpointError, FetchError, IntegrityError, UsageError
from eranntag.registry import did_you_mean

if TYPE_CHECKING:
    from eranntag.inference.network import Network
    from eranntag.inference.tagger import Tagger
    from eranntag.types import Checkpoint


def load(
    name: str | os.PathLike[str] | None = None,
    device: str = "auto",
    dtype: str = "auto",
    registry: str | None = None,
    offline: bool = False,
    report: ProgressCallback | None = None,
    engine: str = "auto",
    many: bool = False,
) -> Tagger:
    """Return the Tagger of a name in the catalog (default: its default), of a path, or of `hf:OWNER/REPO[@REVISION][/FILE]`.

    `engine`, `device` and `dtype` ("float32", "bfloat16", "float16", of the model alone) are chosen to suit the machine where
    they are "auto". `many`: for a lot of clips, some of which may be computed side by side. Raises UsageError for unknown
    names, NotPublished, IntegrityError, FetchError, CheckpointError.
    """
    from eranntag.engines import selection as engines

    engines.check(engine, device, dtype)  # first: a wrong device need not wait for a download
    ensemble, files = _find(name, registry, offline, report)
    taggers = []
    for file in files:
        source = engines.VerifiedCheckpoint(file.checkpoint, file.sha256, file.network)
        tagger = engines.build(source, engine, device, dtype, many)
        tagger.sha256 = (file.sha256,)
        taggers.append(tagger)
    if ensemble is None:
        return taggers[0]
    from eranntag.inference.ensemble import Ensemble

    result = Ensemble(ensemble.name, taggers, ensemble.fusion, ensemble.fusion_weights, ensemble.title)
    result.sha256 = tuple(file.sha256 for file in files)
    return result


class CheckpointFile:
    """A weight file on this machine, which is hashed and whose header is parsed once, when they are needed.

    `row` is its row in the catalog, None for a path or an `hf:` address; `sha256` is its digest where that is known already.
    """

    def __init__(self, name: str, path: Path, row: Row | None = None, sha256: str = "") -> None:
        self.name = name
        self.path = path
        self.row = row
        self._known_sha256 = sha256
        self._version = _file_version(path)

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the file. Raises CheckpointError for a file that cannot be read."""
        return self._known_sha256 or file_sha256(self.path)

    @cached_property
    def header(self) -> Header:
        """The header of the file. Raises CheckpointError for other files than weight files."""
        return read_header(self.path)

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The Checkpoint of the header, with the name of the row."""
        checkpoint = self.header.checkpoint
        return dataclasses.replace(checkpoint, name=self.row.name) if self.row else checkpoint

    def network(self) -> Network:
        """Return the Network on the CPU in float32. Raises IntegrityError if the file changed since this object was made."""
        from eranntag.checkpoints import weights

        try:
            return weights.load_network(self.header, self.checkpoint)
        finally:
            changed = _file_version(self.path) != self._version and file_sha256(self.path) != self.sha256
            if changed:  # what is compiled of it is cached under its SHA-256
                raise IntegrityError(f"{self.name}: {self.path} changed while it was read; try again")


def find(
    name: str | os.PathLike[str] | None = None,
    registry: str | None = None,
    offline: bool = False,
    report: ProgressCallback | None = None,
) -> CheckpointFile:
    """Return the verified file of a name, downloading it if necessary. Raises UsageError for an ensemble."""
    if row := _ensemble(name, catalog.load_catalog(registry)):
        raise UsageError(f"{row.name}: an ensemble, which has no weights of its own; name a member: {', '.join(row.members)}")
    return _find(name, registry, offline, report)[1][0]


def find_all(
    name: str | os.PathLike[str] | None = None,
    registry: str | None = None,
    offline: bool = False,
    report: ProgressCallback | None = None,
) -> list[CheckpointFile]:
    """Return the verified files of a name: one, or those of an ensemble's members in their order."""
    return _find(name, registry, offline, report)[1]


def _find(
    name: str | os.PathLike[str] | None, registry: str | None, offline: bool, report: ProgressCallback | None
) -> tuple[Row | None, list[CheckpointFile]]:
    """Return the row of an ensemble and its members' files; None and one file for other names."""
    table = catalog.load_catalog(registry)
    ensemble = _ensemble(name, table)
    names = _member_names(ensemble, table) if ensemble else [name]
    return ensemble, [_locate(each, table, offline, report) for each in names]


def _ensemble(name: str | os.PathLike[str] | None, table: Catalog) -> Row | None:
    """Return the row of an ensemble; None for other names."""
    row = table.rows.get(os.fspath(name) if name is not None else table.default)
    return row if row and row.members else None


def _member_names(row: Row, table: Catalog) -> list[str]:
    """Return the members of an ensemble: names and `hf:` addresses unchanged, files as paths beside the registry."""
    names = []
    for member in row.members:
        if member in table.rows and table.rows[member].members:
            raise CheckpointError(f"{row.registry}: {row.name}: its member {member} is an ensemble; name the members of that")
        if member in table.rows or member.startswith("hf:"):
            names.append(member)
            continue
        path = row.registry.parent / member
        if not os.path.exists(path):
            hint = did_you_mean(member, table.rows)
            raise CheckpointError(f"{row.registry}: {row.name}: no checkpoint is called {member!r}, nor a file there{hint}")
        names.append(str(path))
    return names


def _locate(
    name: str | os.PathLike[str] | None, table: Catalog, offline: bool, report: ProgressCallback | None
) -> CheckpointFile:
    """Return the file of a hub's address, a path, or a row: downloaded and verified, or verified in its place."""
    name = os.fspath(name) if name is not None else table.default
    if name.startswith("hf:"):
        return CheckpointFile(name, fetch.fetch_from_hub(name, "", name, offline, report))
    if name not in table.rows and (os.path.exists(name) or os.sep in name or name.endswith(".safetensors")):
        return CheckpointFile(name, Path(name))
    row = table.row(name)
    if row.is_published:
        path, sha256 = fetch.fetch_published(row, offline, report)
        return CheckpointFile(name, path, row, sha256)
    if row.weights.startswith("hf:"):
        path = fetch.fetch_from_hub(row.weights, row.sha256, name, offline, report, row.size_bytes)
        return CheckpointFile(name, path, row, row.sha256)
    file = CheckpointFile(name, local_path(row), row)
    _verify(file, row)
    return file


def _verify(file: CheckpointFile, row: Row) -> None:
    """Raise IntegrityError unless the file has the size and the SHA-256 of its row."""
    if not file.path.is_file():
        raise IntegrityError(f"{row.name}: {file.path} is missing; reinstall eranntag, or correct {row.registry}")
    remedy = f"reinstall it, or correct {row.registry}"
    size = file.path.stat().st_size
    if row.size_bytes and size != row.size_bytes:
        raise IntegrityError(f"{row.name}: {file.path} has {size} bytes, not {row.size_bytes}; {remedy}")
    if row.sha256 and file.sha256 != row.sha256:
        raise IntegrityError(f"{row.name}: {file.path} has SHA-256 {file.sha256}, not {row.sha256}; {remedy}")


def _file_version(path: Path) -> tuple[int, ...] | None:
    """Return what is different for a file that was replaced or written; None without a file."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def labels(name: str, registry: str | None = None) -> tuple[str, ...]:
    """Return the labels of a checkpoint in the order of its scores, without a download.

    Raises CheckpointError for one that is not on this machine and whose label set is not in the package.
    """
    table = catalog.load_catalog(registry)
    if ensemble := _ensemble(name, table):
        name = _member_names(ensemble, table)[0]
    if (row := table.rows.get(name)) and place(row) in ("download", "hub") and row.labels in catalog.LABEL_SETS:
        recipe = plug_ins.get("eranntag.recipes", catalog.LABEL_SETS[row.labels]).RECIPE
        return tuple(recipe.labels)
    try:
        return _locate(name, table, offline=True, report=None).checkpoint.labels
    except FetchError:
        raise CheckpointError(f"{name}: not on this machine; run `eranntag checkpoints pull {name}` first") from None


def place(row: Row, look: bool = True) -> str:
    """Return in a word where the weights of a row are: embedded, file, ensemble, download, hub or, if `look` finds them in
    the cache, cached."""
    if row.members:
        return "ensemble"
    if not row.is_published and not row.weights.startswith("hf:"):
        return "embedded" if row.weights.startswith("embedded:") else "file"
    path = fetch.published_path(row) if row.is_published else fetch.hub_path(hub.parse(row.weights))
    if look and path.is_file():
        return "cached"
    return "download" if row.is_published else "hub"


def local_path(row: Row) -> Path:
    """Return the path of an embedded file, or of one beside the registry."""
    kind, _, file = row.weights.partition(":")
    return Path(__file__).parent / "embedded" / file if kind == "embedded" else row.registry.parent / row.weights
