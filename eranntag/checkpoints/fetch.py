"""Weights from elsewhere: downloaded once, verified, kept; from then on without a connection.

The cache holds, each beside a note `.FILE.sha256` with its SHA-256 (and for a hub the ETag):

* hub/OWNER/REPO/REVISION/FILE: a file of the Hugging Face Hub, as it is;
* published/SHA256/NAME.safetensors: the weight file made of a published file with that SHA-256.

Libraries download into folders below `downloads`, which are removed; only this module puts a file into its place.
"""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from eranntag.checkpoints import hub, transfer, web
from eranntag.checkpoints.catalog import Row
from eranntag.checkpoints.digest import file_sha256
from eranntag.checkpoints.transfer import ConnectionFailed, InvalidDownload, NotAvailable, ProgressCallback
from eranntag.errors import CheckpointError, FetchError, IntegrityError, error_reason
from eranntag.files import atomic, cache

T = TypeVar("T")

MAX_NOTE = 4096  # characters of a note that are read
LEFT_SECONDS = 86_400  # after which the folder of a download was left by a process that was killed


def published_path(row: Row) -> Path:
    """Return the path in the cache of the weight file that was converted from a row's published file."""
    return cache.folder() / "published" / row.sha256 / f"{row.name}.safetensors"


def hub_path(source: hub.HubFile) -> Path:
    """Return the path in the cache of a file of the hub."""
    return cache.folder() / "hub" / source.repo / source.revision / source.file


def fetch_published(row: Row, offline: bool = False, report: ProgressCallback | None = None) -> tuple[Path, str]:
    """Return the weight file made of the published file of an `https://` row, and its SHA-256.

    An intact copy is returned without any connection. Else the published file is downloaded, checked, converted in float32 and
    removed. Raises FetchError, IntegrityError after two invalid downloads, and CheckpointError for a published file of
    another form than the row's.
    """
    path, size = published_path(row), row.size_bytes or transfer.MAX_BYTES
    noted = _read_note(path)[0]
    if _is_intact(path, noted):
        return path, noted
    use = "give its path with -c"
    if row.format == "torch":
        made = f"{row.architecture}.safetensors"
        use = f"run `eranntag checkpoints convert FILE --model {row.architecture} -o {made}`; then use -c {made}"
    first = "leave out --offline" if offline else "check the network and try again"
    with _translate_download_errors(row.name, row.weights, f"{first}; or download it by hand and {use}"):
        if offline:
            raise ConnectionFailed("offline, and the cache has no intact copy")
        put = _converter(row) if row.format == "torch" else _move  # refuses a row before anything is downloaded
        with _temporary_folder() as folder:
            file = _retry_once(
                lambda: transfer.run_with_stall_timeout(
                    lambda counter: web.download(row.weights, row.sha256, size, folder, counter), size, report
                )
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            put(file, path)
        digest = file_sha256(path)
        _write_note(path, digest)
    return path, digest


def _converter(row: Row) -> Callable[[Path, Path], None]:
    """Return what makes the weight file of a row's published file."""
    from eranntag.checkpoints import convert

    if (form := convert.PUBLISHED.get(row.architecture)) is None or len(form.checkpoint.labels) != row.classes:
        known = ", ".join(f"{name} ({len(each.checkpoint.labels)} classes)" for name, each in convert.PUBLISHED.items())
        raise CheckpointError(f"{row.name}: published weights are read for {known}; correct {row.registry}")
    facts = {key: value for key in ("title", "data", "licence", "source") if (value := getattr(row, key))}
    spec = replace(form.checkpoint, name=row.name, **facts)

    def put(file: Path, path: Path) -> None:
        try:
            convert.write_converted(file, path, form, spec, half=False)
        except CheckpointError as error:
            reason = error_reason(error, str(file))
            raise CheckpointError(f"{row.name}: {row.weights}: {reason}; correct {row.registry}") from None

    return put


def fetch_from_hub(
    weights: str, sha256: str, name: str, offline: bool = False, report: ProgressCallback | None = None, size: int | None = None
) -> Path:
    """Return the verified file of the `hf:` address `weights`; `name` is for messages.

    With `sha256`, or at a commit, an intact copy in the cache is returned without any connection. A branch or a tag without
    `sha256` may have moved: the hub is queried, and the copy used if it is still the same, if `offline` (or HF_HUB_OFFLINE), or
    if the hub cannot be reached. Without `sha256` the hub's own hash of the file (LFS) is checked at the download, and the hash
    that was found then at every use.

    Raises UsageError for a malformed address, FetchError, and IntegrityError after two invalid downloads.
    """
    source, sha256 = hub.parse(weights), sha256.lower()
    path = hub_path(source)
    noted, etag = _read_note(path)
    intact = _is_intact(path, sha256 or noted)
    if intact and (sha256 or source.is_fixed):
        return path
    pull = f"run `eranntag checkpoints pull {name}` on a connected machine and copy its cache; or give a local file"
    remedy = f"check the name and the network, or set HF_ENDPOINT or HF_TOKEN; or {pull}"
    with _translate_download_errors(name, weights if offline else hub.address(source), remedy):
        try:
            if offline:
                raise ConnectionFailed("offline, and the cache has no intact copy")
            _retry_once(lambda: _from_hub(source, path, sha256, size, etag if intact else None, report))
        except ConnectionFailed:
            if not intact:
                _remove_damaged(path, sha256)
                raise
        except InvalidDownload:
            _remove_damaged(path, sha256)
            raise
    return path


def _from_hub(
    source: hub.HubFile, path: Path, sha256: str, size: int | None, copy: str | None, report: ProgressCallback | None
) -> None:
    """Put the hub's file and its note into place, unless it still has what `copy` is the ETag of."""
    most = size or transfer.MAX_BYTES
    with _temporary_folder() as folder, hub.without_warnings():
        got = transfer.run_with_stall_timeout(lambda counter: hub.download(source, size, copy, folder, counter), most, report)
        if got is None:
            return
        file, etag = got
        found, expected = file_sha256(file), sha256 or (etag if re.fullmatch("[0-9a-f]{64}", etag) else "")
        if expected and found != expected:
            raise InvalidDownload(f"{file.stat().st_size} bytes with SHA-256 {found}, not {expected}")
        path.parent.mkdir(parents=True, exist_ok=True)
        _move(file, path)
    _write_note(path, f"{found} {etag}")


def _retry_once(download: Callable[[], T]) -> T:
    """Return what `download` returns; an invalid download is tried once more."""
    try:
        return download()
    except InvalidDownload:
        return download()


@contextmanager
def _translate_download_errors(name: str, url: str, remedy: str) -> Iterator[None]:
    """Turn the errors of a download into one line with the name, the address, the cache and what to do."""
    folder = cache.folder()
    try:
        yield
    except (ConnectionFailed, NotAvailable) as error:
        raise FetchError(f"{name}: cannot fetch {url} into {folder}: {error}; {remedy}") from error
    except InvalidDownload as error:
        late = "try later; or a proxy alters downloads, or the file is not the one of the registry"
        raise IntegrityError(f"{name}: {url} sent twice {error}; nothing of it was kept in {folder}; {late}") from error
    except OSError as error:
        cause = f"{error.strerror or error} ({error.filename or folder})"
        room = "make room there, or set ERANNTAG_CACHE to a folder that can be written"
        raise FetchError(f"{name}: cannot fetch {url}: cannot use the cache {folder}: {cause}; {room}") from error


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """Yield a folder for one download, removed at the end; those of killed processes are removed after a day."""
    downloads = cache.folder() / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    for left in downloads.iterdir():
        with suppress(OSError):  # another process was faster
            if left.stat().st_mtime < time.time() - LEFT_SECONDS:
                shutil.rmtree(left)
    folder = Path(tempfile.mkdtemp(dir=downloads))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _move(file: Path, path: Path) -> None:
    with atomic.replace(path) as temporary:
        os.replace(file, temporary)


def _read_note(path: Path) -> tuple[str, str]:
    """Return the SHA-256 and the ETag in the note beside a copy, "" where there is none."""
    try:
        with open(path.with_name(f".{path.name}.sha256"), encoding="utf-8", errors="replace") as file:
            sha256, _, etag = file.read(MAX_NOTE).strip().partition(" ")
    except OSError:
        return "", ""
    return sha256, etag


def _write_note(path: Path, text: str) -> None:
    atomic.write_text(path.with_name(f".{path.name}.sha256"), f"{text}\n")


def _is_intact(path: Path, sha256: str) -> bool:
    with suppress(CheckpointError):  # what cannot be read is as good as none
        return bool(sha256) and path.is_file() and file_sha256(path) == sha256
    return False


def _remove_damaged(path: Path, sha256: str) -> None:
    """Remove a copy that has neither the requested SHA-256 nor that of its note."""
    with suppress(OSError):  # the cache may be read-only
        if path.is_file() and not (_is_intact(path, sha256) or _is_intact(path, _read_note(path)[0])):
            path.unlink()
            path.with_name(f".{path.name}.sha256").unlink(missing_ok=True)
