"""The hub: download a weight file once (`http`), verify it, keep it.

huggingface_hub's own download is not used: it checks sizes alone, names files in its cache after the server's ETag, waits
as long as Retry-After says and asks a silent server for minutes. Xet, its second protocol, is left out too: it has
timeouts and retries of its own, and plain HTTP serves the same files.

The cache is hub/OWNER/REPO/REVISION/FILE, and beside each file a note, .FILE.sha256: its SHA-256 and the hub's ETag.
"""

import glob
import hashlib
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from eranntag import atomic, cache, checkpoints
from eranntag.checkpoints import Report, http, untrusted
from eranntag.checkpoints.http import Cut, Refused, Unreachable, Wrong
from eranntag.errors import CheckpointError, FetchError, IntegrityError, UsageError

MAX_NOTE = 4096  # characters of a note that are read
MAX_ETAG = 1000  # characters of an ETag that are kept
LEFT_SECONDS = 86_400  # after which a part of a file is nobody's any more

_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"  # what the hub allows for an owner and a repository
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,127}"  # of a revision or a path: nothing that is hidden or leaves its folder
_FORM = re.compile(rf"hf:({_NAME}/{_NAME})(?:@({_PART}))?(?:/({_PART}(?:/{_PART})*))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class HubFile:
    """A file on the hub; `repo` is OWNER/REPO."""

    repo: str
    revision: str = "main"
    file: str = "model.safetensors"


def parse(weights: str) -> HubFile:
    """hf:OWNER/REPO[@REVISION][/FILE], where FILE may have folders. UsageError for anything else, also for what the
    hub would allow but a path in the cache should not hold: "..", hidden names, characters beyond A-Z a-z 0-9 _ . + -
    """
    match = _FORM.fullmatch(weights)
    if match is None or ".." in weights or "--" in match[1] or match[1].endswith(".git"):
        form = "hf:OWNER/REPO[@REVISION][/FILE], such as hf:someone/erann@main/model.safetensors"
        raise UsageError(f"{weights!r} is not the address of a file on the hub; it must be {form}")
    return HubFile(match[1], match[2] or HubFile.revision, match[3] or HubFile.file)


def fetch(
    weights: str, sha256: str, name: str, offline: bool = False, report: Report | None = None, size: int | None = None
) -> Path:
    """The file of the `hf:` address `weights` on this machine, verified; `name` is what the user calls it.

    With `sha256`, or at a commit hash, an intact copy in the cache is returned without any connection. A branch or a
    tag without `sha256` may have moved: the hub is asked, and the copy used if it is still the same, if `offline` (or
    HF_HUB_OFFLINE), or if the hub cannot be reached. Without `sha256` the hub's own hash of the file (LFS) is checked
    at the download, and the hash that was found then at every use. `report(done, total)` counts bytes, and no more are taken
    than `size`, or else than the hub announces, or than MAX_FILE. A copy that proves damaged is removed.

    Raises UsageError for a malformed address, FetchError, and IntegrityError after two downloads that were wrong.
    """
    source, sha256, url = parse(weights), sha256.lower(), weights
    path = cache.folder() / "hub" / source.repo / source.revision / source.file
    copy = None  # the ETag of an intact copy
    try:
        copy = _intact(path, sha256)
        if copy is not None and (sha256 or _COMMIT.fullmatch(source.revision)):
            return path
        url = _url(source)
        if offline:
            raise Unreachable("offline, and the cache has no intact copy")
        try:
            _download(url, path, sha256, size, copy, report)
        except Wrong:
            _download(url, path, sha256, size, copy, report)
    except Unreachable as error:
        if copy is None:
            _remove_damaged(path, sha256)
            pull = f"`eranntag checkpoints pull {name}` on a connected machine and copy its cache to {cache.folder()}"
            remedy = f"check the network or set HF_ENDPOINT; or run {pull}; or give a local file"
            raise FetchError(f"{name}: cannot fetch {url}: {error}; {remedy}") from error
    except Refused as error:
        remedy = f"check the name, or set HF_TOKEN; the cache {cache.folder()} has no copy of it"
        raise FetchError(f"{name}: cannot fetch {url}: {error}; {remedy}") from error
    except Wrong as error:
        _remove_damaged(path, sha256)
        remedy = "try later; or a proxy alters downloads, or the hub's file is not the one of the registry"
        raise IntegrityError(f"{name}: {url} came twice {error}; it was not kept as {path}; {remedy}") from error
    except OSError as error:
        cause = f"{error.strerror or error} ({error.filename or path})"
        remedy = "make room there, or set ERANNTAG_CACHE to a folder that can be written"
        raise FetchError(f"{name}: cannot use the cache {cache.folder()}: {cause}; {remedy}") from error
    return path


def _intact(path: Path, sha256: str) -> str | None:
    """The ETag ("" for unknown) of a copy with the SHA-256 that is asked for or else noted; None for no such copy."""
    if not path.is_file():
        return None
    noted, etag = _noted(path)
    with suppress(CheckpointError):  # what cannot be read is as good as none
        return etag if checkpoints.sha256(path) == (sha256 or noted) else None
    return None


def _noted(path: Path) -> tuple[str, str]:
    """The SHA-256 and the ETag of the note beside a copy, "" where it has none."""
    note = _note(path)
    if not note.is_file():
        return "", ""
    with open(note, encoding="utf-8", errors="replace") as file:
        sha256, _, etag = file.read(MAX_NOTE).strip().partition(" ")
    return sha256, etag


def _note(path: Path) -> Path:
    return path.with_name(f".{path.name}.sha256")


def _remove_damaged(path: Path, sha256: str) -> None:
    """A copy that is not what is asked for is removed, unless it is what it was when it came: another version."""
    with suppress(OSError, CheckpointError):  # a cache may be there to be read alone
        if path.is_file() and checkpoints.sha256(path) not in (sha256, _noted(path)[0]):
            path.unlink()
            _note(path).unlink(missing_ok=True)


def _url(source: HubFile) -> str:
    from huggingface_hub import constants, hf_hub_url  # here: half a second that a file in the cache need not cost

    endpoint = os.environ.get("HF_ENDPOINT") or constants.ENDPOINT or constants.HUGGINGFACE_CO_URL_HOME
    return hf_hub_url(source.repo, source.file, revision=source.revision, endpoint=endpoint.rstrip("/"))


def _download(url: str, path: Path, sha256: str, size: int | None, copy: str | None, report: Report | None) -> None:
    """Write the file and its note, unless the hub still has what `copy` is the ETag of.

    Raises Unreachable, Refused, Wrong and the disk's OSError; the cache is then as it was.
    """
    with http.answered(url, pinned=bool(sha256)) as answer:
        etag = answer.header("X-Linked-Etag") or answer.header("ETag")
        etag = etag.removeprefix("W/").strip('" ')[:MAX_ETAG]
        if copy and copy == etag:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        _tidy(path)
        with atomic.replace(path) as temporary:
            found = _receive(answer, temporary, sha256 or (etag if _SHA256.fullmatch(etag) else ""), size, report)
    atomic.write_text(_note(path), f"{found} {etag}\n")


def _tidy(path: Path) -> None:
    """Remove what downloads that were killed have left: of this file, and untouched for a day."""
    for rest in path.parent.glob(f".{glob.escape(path.name[:80])}.*.part"):
        with suppress(OSError):  # another process was faster
            if rest.stat().st_mtime < time.time() - LEFT_SECONDS:
                rest.unlink()


def _receive(answer: http.Answer, temporary: Path, expected: str, size: int | None, report: Report | None) -> str:
    """Write the body and return its SHA-256. Raises Wrong unless that is `expected` or, for "", the body is whole."""
    digest, done, cut = hashlib.sha256(), 0, ""
    total = answer.size()
    most = size or total or untrusted.MAX_FILE
    if most > untrusted.MAX_FILE:
        raise Wrong(f"with {most} bytes announced, more than the {untrusted.MAX_FILE} of any weight file")
    with open(temporary, "wb") as file:
        try:
            for block in answer.blocks():
                done += len(block)
                if done > most:
                    raise Wrong(f"with more than {most} bytes")
                file.write(block)
                digest.update(block)
                if report is not None:
                    report(done, max(done, total))
        except Cut as error:
            cut = f", cut after {done} of {total or 'unknown'} bytes ({error})"
    found = digest.hexdigest()
    if found != expected and (expected or cut):
        raise Wrong(f"with SHA-256 {found}, not {expected or 'that of all of it'}{cut}")
    return found
