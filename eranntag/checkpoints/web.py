"""A file of any web server, by `pooch`: its size and SHA-256 are known before."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urljoin, urlsplit

import eranntag
from eranntag.checkpoints import transfer
from eranntag.checkpoints.transfer import ByteCounter, ConnectionFailed, InvalidDownload, NotAvailable, cause_text

if TYPE_CHECKING:
    from requests import Response

HEADERS = {"User-Agent": f"eranntag/{eranntag.__version__}", "Accept-Encoding": "identity"}


class _Metered:
    """A file whose writes are counted."""

    def __init__(self, file: BinaryIO, counter: ByteCounter) -> None:
        self._file, self._meter = file, counter

    def write(self, content: bytes) -> None:
        self._meter.add(len(content))
        self._file.write(content)

    def flush(self) -> None:
        self._file.flush()


def download(url: str, sha256: str, size: int, folder: Path, counter: ByteCounter) -> Path:
    """Return the path in `folder` of the file at `url`, which has `size` bytes and the SHA-256 `sha256`.

    Raises ConnectionFailed, NotAvailable, InvalidDownload, and OSError of the disk.
    """
    import pooch  # here: with requests a fifth of a second that a file in the cache need not cost

    pooch.get_logger().setLevel("WARNING")

    answers: list[Response] = []

    def check(response: "Response", **_: Any) -> None:
        answers.append(response)
        _check_response(response, size)

    get = pooch.HTTPDownloader(
        chunk_size=transfer.CHUNK_BYTES, timeout=transfer.TIMEOUT, headers=HEADERS, hooks={"response": check}
    )

    def metered(url: str, output_file: str | os.PathLike[str], _: Any) -> None:
        with open(output_file, "wb") as file:
            _download_with(get, url, _Metered(file, counter))
        if counter.done != size:
            raise InvalidDownload(f"{counter.done} bytes, not {size}")

    try:
        return Path(pooch.retrieve(url, f"sha256:{sha256}", "published", folder, downloader=metered))
    except ValueError:
        raise InvalidDownload(f"{size} bytes whose SHA-256 is not {sha256}") from None
    finally:
        for answer in answers:  # pooch leaves them open after an error
            answer.close()


def _download_with(get: Any, url: str, file: _Metered) -> None:
    """Call pooch's downloader, and translate its errors and those of requests."""
    import requests

    try:
        get(url, file, None)
    except requests.HTTPError as error:
        assert error.response is not None, "raise_for_status() sets it"
        raise _status_error(error.response) from error
    except (requests.RequestException, ValueError) as error:
        if isinstance(transfer.root_cause(error), TimeoutError):
            raise ConnectionFailed(f"no answer for {transfer.TIMEOUT:g} s") from error
        if done := file._meter.done:
            raise InvalidDownload(f"a file that was cut after {done} bytes ({cause_text(error)})") from error
        raise ConnectionFailed(cause_text(error)) from error


def _check_response(response: "Response", size: int) -> None:
    """Check a response before its body is read: that of a redirect stays unread, and a file of another size is refused."""
    if response.is_redirect:
        response.close()
        target = urljoin(response.url, response.headers["location"])
        if response.url.startswith("https:") and urlsplit(target).scheme != "https":
            raise ConnectionFailed("a redirect from https to another protocol")
    announced = response.headers.get("content-length", "")
    plain = response.headers.get("content-encoding", "identity") == "identity"
    if response.status_code == 200 and plain and announced.isdecimal() and int(announced[:20]) != size:
        raise InvalidDownload(f"a file of {announced[:20]} bytes, not {size}")


def _status_error(response: "Response") -> Exception:
    text = f"HTTP {response.status_code} {response.reason[:100]} from {urlsplit(response.url).hostname}"
    kind = NotAvailable if response.status_code in (401, 403, 404, 410) else ConnectionFailed
    return kind(text)
