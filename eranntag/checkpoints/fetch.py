"""The hub: download a weight file once, verify it, keep it. The only file that opens connections.

huggingface_hub gives the address, the token and the session (HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, proxies). Its own
download is not used: it checks sizes alone, names files in its cache after the server's ETag, waits as long as
Retry-After says and asks a silent server for minutes. Xet, its second protocol, is left out too: it has timeouts and
retries of its own, and plain HTTP serves the same files.

The cache is hub/OWNER/REPO/REVISION/FILE, and beside each file a note, .FILE.sha256: its SHA-256 and the hub's ETag.
"""

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import eranntag
from eranntag import atomic, cache, checkpoints
from eranntag.checkpoints import Report
from eranntag.errors import FetchError, IntegrityError, UsageError

if TYPE_CHECKING:
    from httpx2 import Response  # of huggingface_hub 2; that of huggingface_hub 1, httpx's, has the same face

TIMEOUT_SECONDS = 10.0  # of silence: while connecting, and between two pieces of an answer
RETRY_SECONDS = 1.0  # before the one retry of a server's error

_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"  # what the hub allows for an owner and a repository
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,127}"  # of a revision or a path: nothing that is hidden or leaves its folder
_FORM = re.compile(rf"hf:({_NAME}/{_NAME})(?:@({_PART}))?(?:/({_PART}(?:/{_PART})*))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class _Unreachable(Exception):
    """The hub gave no answer that counts; `str` is the cause."""


class _Refused(Exception):
    """The hub has no such file, or not for us."""


class _Wrong(Exception):
    """What came is not the file, or not all of it."""


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


def fetch(weights: str, sha256: str, name: str, offline: bool = False, report: Report | None = None) -> Path:
    """The file of the `hf:` address `weights` on this machine, verified; `name` is what the user calls it.

    With `sha256`, or at a commit hash, an intact copy in the cache is returned without any connection. A branch or a
    tag without `sha256` may have moved: the hub is asked, and the copy used if it is still the same, if `offline` (or
    HF_HUB_OFFLINE), or if the hub cannot be reached. Without `sha256` the hub's own hash of the file (LFS) is checked
    at the download, and the hash that was found then at every use. `report(done, total)` counts bytes.

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
            raise _Unreachable("offline, and the cache has no intact copy")
        try:
            _download(url, path, sha256, copy, report)
        except _Wrong:
            _download(url, path, sha256, copy, report)
    except _Unreachable as error:
        if copy is None:
            pull = f"`eranntag checkpoints pull {name}` on a connected machine and copy its cache to {cache.folder()}"
            remedy = f"check the network or set HF_ENDPOINT; or run {pull}; or give a local file"
            raise FetchError(f"{name}: cannot fetch {url}: {error}; {remedy}") from error
    except _Refused as error:
        raise FetchError(f"{name}: cannot fetch {url}: {error}; check the name, or set HF_TOKEN") from error
    except _Wrong as error:
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
    note = _note(path).read_text(encoding="utf-8", errors="replace") if _note(path).is_file() else ""
    noted, _, etag = note.strip().partition(" ")
    return etag if checkpoints.sha256(path) == (sha256 or noted) else None


def _note(path: Path) -> Path:
    return path.with_name(f".{path.name}.sha256")


def _url(source: HubFile) -> str:
    from huggingface_hub import constants, hf_hub_url  # here: half a second that a file in the cache need not cost

    endpoint = os.environ.get("HF_ENDPOINT") or constants.ENDPOINT or constants.HUGGINGFACE_CO_URL_HOME
    return hf_hub_url(source.repo, source.file, revision=source.revision, endpoint=endpoint.rstrip("/"))


def _download(url: str, path: Path, sha256: str, copy: str | None, report: Report | None) -> None:
    """Write the file and its note, unless the hub still has what `copy` is the ETag of.

    Raises _Unreachable, _Refused, _Wrong and the disk's OSError; the cache is then as it was.
    """
    response = _send(url)
    if response.status_code >= 500:  # once more, after our own wait: Retry-After may say an hour
        response.close()
        time.sleep(RETRY_SECONDS)
        response = _send(url)
    with closing(response):
        _check_answer(response, pinned=bool(sha256))
        etag = (_header(response, "X-Linked-Etag") or _header(response, "ETag")).removeprefix("W/").strip('" ')
        if copy and copy == etag:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic.replace(path) as temporary:
            found = _receive(response, temporary, sha256 or (etag if _SHA256.fullmatch(etag) else ""), report)
    atomic.write_text(_note(path), f"{found} {etag}\n")


def _send(url: str) -> "Response":
    """The answer to GET, its body unread, after redirects: the session drops the token where they leave the hub."""
    from huggingface_hub import constants, get_session, get_token

    # Not build_hf_headers: for its telemetry it may first wait for a request of its own, /api/agent-harnesses.
    headers = {"User-Agent": f"eranntag/{eranntag.__version__}", "Accept-Encoding": "identity"}
    try:
        if not constants.HF_HUB_DISABLE_IMPLICIT_TOKEN and (token := get_token()):
            headers["Authorization"] = f"Bearer {token}"
        client = get_session()
        request = client.build_request("GET", url, headers=headers, timeout=TIMEOUT_SECONDS)
        return client.send(request, stream=True, follow_redirects=True)
    except Exception as error:  # httpx's or httpx2's by the release of huggingface_hub, or what a token or URL provokes
        raise _failure(error, _Unreachable) from error


def _failure(error: Exception, kind: type[Exception]) -> Exception:
    """What a client's error is to us: silence is _Unreachable, anything else is of `kind`."""
    if type(error).__name__.endswith("Timeout"):
        return _Unreachable(f"no answer for {TIMEOUT_SECONDS:g} s")
    return kind(" ".join(str(error).split()) or type(error).__name__)


def _header(response: "Response", name: str) -> str:
    """The first in the chain of redirects: the hub's own rather than that of the storage it redirects to."""
    return next((answer.headers[name] for answer in (*response.history, response) if name in answer.headers), "")


def _check_answer(response: "Response", pinned: bool) -> None:
    """Raises _Unreachable or _Refused for all but a hub's answer with a file; a `pinned` file may come from anybody."""
    cause = f"HTTP {response.status_code} {response.reason_phrase} from {response.url.host}"
    asked = (*response.history, response)[0].url
    if response.status_code in (401, 403, 404) and response.url.netloc == asked.netloc:
        raise _Refused(f"{cause}: the repository, its revision or the file does not exist, or is private")
    if response.status_code != 200:
        raise _Unreachable(cause)
    if not pinned and not _header(response, "X-Repo-Commit"):
        raise _Unreachable(f"{cause}, which is no hub (no X-Repo-Commit)")


def _receive(response: "Response", temporary: Path, expected: str, report: Report | None) -> str:
    """Write the body and return its SHA-256. Raises _Wrong unless that is `expected` or, for "", the body is whole."""
    digest, done, cut = hashlib.sha256(), 0, ""
    size = _header(response, "X-Linked-Size") or response.headers.get("Content-Length", "")
    total = int(size) if re.fullmatch("[0-9]{1,15}", size) else 0
    with open(temporary, "wb") as file:
        try:
            for block in _blocks(response):
                file.write(block)
                digest.update(block)
                done += len(block)
                if report is not None:
                    report(done, max(done, total))
        except _Wrong as error:
            cut = f", cut after {done} of {total or 'unknown'} bytes ({error})"
    found = digest.hexdigest()
    if found != expected and (expected or cut):
        raise _Wrong(f"with SHA-256 {found}, not {expected or 'that of all of it'}{cut}")
    return found


def _blocks(response: "Response") -> Iterator[bytes]:
    """The body. Raises _Unreachable when it stops coming, _Wrong when the connection breaks."""
    try:
        yield from response.iter_bytes()
    except Exception as error:  # see _send
        raise _failure(error, _Wrong) from error
