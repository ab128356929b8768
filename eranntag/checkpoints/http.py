"""One GET that ends: within seconds of silence, also from a server that drips, redirects for ever or compresses a bomb.

The only file that opens connections. huggingface_hub gives the address, the token and the session (HF_ENDPOINT, HF_TOKEN,
HF_HUB_OFFLINE, proxies).
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import eranntag
from eranntag.checkpoints.aside import Aside, Late, aside

if TYPE_CHECKING:
    from httpx2 import Request, Response  # of huggingface_hub 2; those of huggingface_hub 1, httpx's, have the same face

TIMEOUT_SECONDS = 10.0  # of silence: while connecting, and between two pieces of an answer
RETRY_SECONDS = 1.0  # before the one retry of a server's error
PATIENCE = 3  # timeouts: the longest for all headers of an answer, and for SLOWEST_BYTES of its body
SLOWEST_BYTES = 32 << 10  # in 30 seconds: 1.1 kB/s, a tenth of a slow modem
MAX_REDIRECTS = 10


class Unreachable(Exception):
    """The hub gave no answer that counts; `str` is the cause."""


class Refused(Exception):
    """The hub has no such file, or not for us."""


class Wrong(Exception):
    """What came is not the file, or not all of it."""


class Cut(Wrong):
    """The connection broke in the middle."""


@dataclass(frozen=True)
class Answer:
    """The hub's last `response` after its `redirects`; nothing of a body was read."""

    response: "Response"
    redirects: "tuple[Response, ...]"
    thread: Aside

    def header(self, name: str) -> str:
        """The first in the chain of redirects: the hub's own rather than that of the storage it redirects to."""
        return next((each.headers[name] for each in (*self.redirects, self.response) if name in each.headers), "")

    def size(self) -> int:
        """Of the file in bytes, as announced; 0 for unknown."""
        size = self.header("X-Linked-Size") or self.response.headers.get("Content-Length", "")
        return int(size) if re.fullmatch("[0-9]{1,15}", size) else 0

    def blocks(self) -> Iterator[bytes]:
        """The body. Raises Unreachable when it stops coming or comes too slowly, Wrong and Cut."""
        if (coding := self.response.headers.get("Content-Encoding", "identity").strip().lower()) not in ("identity", ""):
            raise Wrong(f"compressed ({coding[:40]!r}), which was not asked for and could be a bomb")
        body = self.response.iter_raw()  # as it comes: whatever its headers say, nothing is decompressed
        patience = PATIENCE * TIMEOUT_SECONDS
        until, received = time.monotonic() + patience, 0
        while block := self._next(body, until):
            yield block
            received += len(block)
            if received >= SLOWEST_BYTES:
                until, received = time.monotonic() + patience, 0

    def _next(self, body: Iterator[bytes], until: float) -> bytes:
        """A piece of the body; nothing at its end."""
        try:
            return self.thread.call(lambda: next(filter(None, body), b""), until - time.monotonic())
        except Late:
            raise Unreachable(f"less than {SLOWEST_BYTES} bytes in {PATIENCE * TIMEOUT_SECONDS:g} s") from None
        except Exception as error:  # see _answer
            raise _failure(error, Cut) from error


@contextmanager
def answered(url: str, pinned: bool) -> Iterator[Answer]:
    """The answer to GET, which is the file; a server's error is tried once more. Closed at the end.

    Raises Unreachable or Refused for all but a hub's answer with a file; a `pinned` file may come from anybody.
    """
    with aside() as thread:
        answer = _answer(url, thread)
        if answer.response.status_code >= 500:  # after our own wait: Retry-After may say an hour
            answer.response.close()
            time.sleep(RETRY_SECONDS)
            answer = _answer(url, thread)
        try:
            _check(answer, pinned)
            yield answer
        finally:
            with suppress(Exception):  # whatever a client makes of being closed while its thread waits
                answer.response.close()


def _answer(url: str, thread: Aside) -> Answer:
    """After redirects: the session drops the token where they leave the hub."""
    until = time.monotonic() + PATIENCE * TIMEOUT_SECONDS
    redirects: list[Response] = []
    try:
        request = thread.call(lambda: _request(url), until - time.monotonic())
        while True:
            response = thread.call(lambda each=request: _send(each), until - time.monotonic())  # type: ignore[misc]
            following = response.next_request
            if following is None:
                return Answer(response, tuple(redirects), thread)
            response.close()  # its body, which may be anything, stays unread
            redirects.append(response)
            if len(redirects) > MAX_REDIRECTS:
                raise Unreachable(f"more than {MAX_REDIRECTS} redirects")
            if request.url.scheme == "https" != following.url.scheme:
                raise Unreachable(f"a redirect from https to {following.url.scheme}")
            request = following
    except Unreachable:
        raise
    except Late:
        raise Unreachable(f"no answer for {PATIENCE * TIMEOUT_SECONDS:g} s") from None
    except Exception as error:  # httpx's or httpx2's by the release of huggingface_hub, or what a token or URL provokes
        raise _failure(error, Unreachable) from error


def _request(url: str) -> "Request":
    from huggingface_hub import constants, get_session, get_token

    # Not build_hf_headers: for its telemetry it may first wait for a request of its own, /api/agent-harnesses.
    headers = {"User-Agent": f"eranntag/{eranntag.__version__}", "Accept-Encoding": "identity"}
    if not constants.HF_HUB_DISABLE_IMPLICIT_TOKEN and (token := get_token()):
        if not re.fullmatch("[!-~]+", token):  # told here: the client's message would show it
            raise Unreachable("the token of HF_TOKEN, or of `hf auth login`, has characters that no token has")
        headers["Authorization"] = f"Bearer {token}"
    return get_session().build_request("GET", url, headers=headers, timeout=TIMEOUT_SECONDS)


def _send(request: "Request") -> "Response":
    from huggingface_hub import get_session

    return get_session().send(request, stream=True, follow_redirects=False)


def _failure(error: Exception, kind: type[Exception]) -> Exception:
    """What a client's error is to us: silence is Unreachable, anything else is of `kind`."""
    if type(error).__name__.endswith("Timeout"):
        return Unreachable(f"no answer for {TIMEOUT_SECONDS:g} s")
    return kind(" ".join(str(error).split())[:300] or type(error).__name__)


def _check(answer: Answer, pinned: bool) -> None:
    response = answer.response
    cause = f"HTTP {response.status_code} {response.reason_phrase[:100]} from {response.url.host}"
    asked = (*answer.redirects, response)[0].url
    if response.status_code in (401, 403, 404) and response.url.netloc == asked.netloc:
        raise Refused(f"{cause}: the repository, its revision or the file does not exist, or is private")
    if response.status_code != 200:
        raise Unreachable(cause)
    if not pinned and not answer.header("X-Repo-Commit"):
        raise Unreachable(f"{cause}, which is no hub (no X-Repo-Commit)")
