"""A file of the Hugging Face Hub, by `huggingface_hub`, which reads HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE and proxies.

It downloads into a folder (`local_dir`) that is removed afterwards, not into a cache of its own: there files are named after
the server's ETag, whatever that is, and a thread that was given up could still add one.
"""

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import eranntag
from eranntag.checkpoints import limits, transfer
from eranntag.checkpoints.transfer import ByteCounter, ConnectionFailed, InvalidDownload, NotAvailable, cause_text
from eranntag.errors import UsageError

_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"  # what the hub allows for an owner and a repository
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,127}"  # of a revision or a path: nothing that is hidden or leaves its folder
_FORM = re.compile(rf"hf:({_NAME}/{_NAME})(?:@({_PART}))?(?:/({_PART}(?:/{_PART})*))?")
_ETAG = re.compile(r"[A-Za-z0-9_.+=-]{1,128}")
_AGENT = {"library_name": "eranntag", "library_version": eranntag.__version__}


@dataclass(frozen=True)
class HubFile:
    """A file on the hub; `repo` is OWNER/REPO."""

    repo: str
    revision: str = "main"
    file: str = "model.safetensors"

    @property
    def is_fixed(self) -> bool:
        """Whether the revision is a commit, which never changes."""
        return re.fullmatch("[0-9a-f]{40}", self.revision) is not None


def parse(weights: str) -> HubFile:
    """Return the file of hf:OWNER/REPO[@REVISION][/FILE], where FILE may have folders.

    Raises UsageError for anything else, also for what the hub would allow but a path in the cache should not hold: "..",
    hidden names, characters beyond A-Z a-z 0-9 _ . + -
    """
    match = _FORM.fullmatch(weights)
    if match is None or ".." in weights or "--" in match[1] or match[1].endswith(".git"):
        form = "hf:OWNER/REPO[@REVISION][/FILE], such as hf:someone/erann@main/model.safetensors"
        raise UsageError(f"{weights!r} is not the address of a file on the hub; it must be {form}")
    return HubFile(match[1], match[2] or HubFile.revision, match[3] or HubFile.file)


def address(source: HubFile) -> str:
    """Return the URL of a file."""
    return str(_import_hub().hf_hub_url(source.repo, source.file, revision=source.revision, endpoint=_endpoint()))


def download(
    source: HubFile, size: int | None, copy: str | None, folder: Path, counter: ByteCounter
) -> tuple[Path, str] | None:
    """Return the path in `folder` of a file and its ETag, the SHA-256 of large files; None if the ETag is that of `copy`.

    `size` in bytes where it is known. Raises ConnectionFailed, NotAvailable, InvalidDownload, and OSError of the disk.
    """
    library, url = _import_hub(), address(source)
    with _translate_errors(url, counter):
        _check_token(library)
        about = library.get_hf_file_metadata(url, timeout=transfer.TIMEOUT, **_AGENT)  # one attempt, its error as it is
        if about.commit_hash is None:
            raise ConnectionFailed("the answer is no hub's (no X-Repo-Commit)")
        if about.etag is None or not _ETAG.fullmatch(about.etag):
            raise ConnectionFailed(f"the answer has no usable ETag: {limits.short_repr(about.etag)}")
        if url.startswith("https:") and not about.location.startswith("https:"):
            raise ConnectionFailed("a redirect from https to another protocol")
        if about.etag == copy:
            return None
        if about.size is not None and about.size != (size or about.size):
            raise InvalidDownload(f"a file of {about.size} bytes, not {size}")
        if (about.size or 0) > transfer.MAX_BYTES:
            raise InvalidDownload(f"a file of {about.size} bytes, where weight files have at most {transfer.MAX_BYTES}")
        counter.check()
        counter.most = about.size or counter.most
        where = {"local_dir": folder, "cache_dir": folder / "cache", "endpoint": _endpoint()}
        options = {
            "revision": source.revision,
            "etag_timeout": transfer.TIMEOUT,
            "tqdm_class": _progress_bar_class(counter),
            **_AGENT,
        }
        return Path(library.hf_hub_download(source.repo, source.file, **where, **options)), about.etag


@contextmanager
def without_warnings() -> Iterator[None]:
    """Suppress the warnings that huggingface_hub prints about each attempt: the last error is reported."""
    logging = _import_hub().logging
    level = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)


def _import_hub() -> Any:
    """Return huggingface_hub, imported late: it takes half a second, which a file in the cache need not cost.

    Its telemetry is off, and Xet, which has timeouts of its own, unless the environment wants them.
    """
    for name in ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_XET"):
        os.environ.setdefault(name, "1")
    import huggingface_hub
    from huggingface_hub import constants

    constants.DOWNLOAD_CHUNK_SIZE = transfer.CHUNK_BYTES  # it waits for 10 MiB otherwise, and a slow line seems to be silent
    return huggingface_hub


def _endpoint() -> str:
    from huggingface_hub import constants

    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def _check_token(library: Any) -> None:
    """Raise ConnectionFailed for a token that no header can carry: the message of the HTTP library would show it."""
    if (token := library.get_token()) and not re.fullmatch("[!-~]+", token):
        raise ConnectionFailed("the token of HF_TOKEN, or of `hf auth login`, has characters that no token has")


def _progress_bar_class(counter: ByteCounter) -> type:
    """Return a progress bar for huggingface_hub, which calls it with the bytes that arrive."""

    class Bar:
        def __init__(self, **_: Any) -> None:
            pass

        def __enter__(self) -> "Bar":
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def update(self, count: int) -> None:
            counter.add(count)

    return Bar


@contextmanager
def _translate_errors(url: str, counter: ByteCounter) -> Iterator[None]:
    """Translate the errors of huggingface_hub and its HTTP library; those of the disk stay OSError."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except (ConnectionFailed, NotAvailable, InvalidDownload):
        raise
    except HfHubHTTPError as error:
        raise _status_error(error.response, url) from error
    except Exception as error:  # of httpx or httpx2, by the release of huggingface_hub, or what a URL provokes
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
            raise
        if type(error) is OSError:  # huggingface_hub's for another size than the announced one
            raise InvalidDownload(f"a file of {counter.done} bytes, not {counter.most}") from error
        if type(error).__name__.endswith("Timeout"):
            raise ConnectionFailed(f"no answer for {transfer.TIMEOUT:g} s") from error
        if counter.done:
            raise InvalidDownload(f"a file that was cut after {counter.done} bytes ({cause_text(error)})") from error
        raise ConnectionFailed(cause_text(error)) from error


def _status_error(response: Any, url: str) -> Exception:
    text = f"HTTP {response.status_code} {response.reason_phrase[:100]} from {response.url.host}"
    if response.status_code in (401, 403, 404) and response.url.netloc.decode() == urlsplit(url).netloc:
        return NotAvailable(f"{text}: the repository, its revision or the file does not exist, or is private")
    return ConnectionFailed(text)
