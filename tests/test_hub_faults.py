"""Each way in which a hub fails or lies: within seconds one line, nothing wrong in the cache, and a good hub still works."""

import gzip
import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hub_server
import huggingface_hub
import pytest
from click.testing import CliRunner, Result
from hub_server import COMMIT, Answer, Hub
from huggingface_hub.utils._http import default_client_factory

from eranntag.checkpoints import fetch, http, untrusted
from eranntag.cli import cli
from eranntag.errors import EranntagError, FetchError, IntegrityError

CONTENT = hashlib.shake_256(b"weights").digest(100_000)
OLD = hashlib.shake_256(b"older weights").digest(100_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SECONDS = 4.0  # the longest that any fault may take; most take a hundredth of that
HEADERS = f"HTTP/1.1 200 OK\r\nX-Repo-Commit: {COMMIT}\r\n".encode()
UNKNOWN = {"Content-Length": None, "X-Linked-Size": None}
PORTAL = {"X-Repo-Commit": None, "X-Linked-Etag": None, "X-Linked-Size": None, "ETag": None}
SELF = "/me/tiny/resolve/main/model.safetensors"

Setup = Callable[[Hub, pytest.MonkeyPatch], Any]


@dataclass(frozen=True)
class Fault:
    """`how` to bring it about; the error that a `pinned` file and a branch, whose hash nobody knows, make of it. `waits`: where
    only patience tells it from a good hub, which then is short."""

    name: str
    how: Setup
    pinned: type[EranntagError] = FetchError
    branch: type[EranntagError] = FetchError
    waits: bool = False

    def bring_about(self, hub: Hub, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(http, "TIMEOUT_SECONDS", 0.1 if self.waits else 5.0)
        self.how(hub, patch)


def answers(*given: Answer) -> Setup:
    return lambda hub, patch: hub.answers.__setitem__(slice(None), given)


def endpoint(url: str) -> Setup:
    return lambda hub, patch: patch.setenv("HF_ENDPOINT", url)


def moved(location: str, **more: Any) -> Setup:
    return answers(Answer(302, {"Location": location}, **more))


def no_address(*_: object, **__: object) -> Any:
    raise socket.gaierror(-2, "Name or service not known")


def slow_address(*_: object, **__: object) -> Any:
    time.sleep(1)
    raise socket.gaierror(-3, "Temporary failure in name resolution")


WRONG = (IntegrityError, IntegrityError)
FAULTS = [
    Fault("refused", lambda hub, patch: hub.stop()),
    Fault("no such host", lambda hub, patch: patch.setattr(socket, "getaddrinfo", no_address)),
    Fault("a resolver that hangs", lambda hub, patch: patch.setattr(socket, "getaddrinfo", slow_address), waits=True),
    Fault("an endpoint that is none", endpoint("http://[")),
    Fault("an endpoint of another kind", endpoint("file:///etc")),
    Fault("TLS asked of a server without", lambda hub, patch: patch.setenv("HF_ENDPOINT", hub.url.replace("http", "https"))),
    Fault("a token in two lines", lambda hub, patch: patch.setenv("HF_TOKEN", "hf_se\tcret\x0bX: y")),
    Fault("silence", answers(Answer(silent=True)), waits=True),
    Fault("a status line that drips", answers(Answer(raw=HEADERS * 50, pause=0.02)), waits=True),
    Fault("headers that drip", answers(Answer(raw=HEADERS + b"X: " + b"y" * 9000, pause=0.02)), waits=True),
    Fault("a body that drips", answers(Answer(pause=0.02)), waits=True),
    Fault(
        "chunks that drip",
        answers(Answer(raw=HEADERS + b"Transfer-Encoding: chunked\r\n\r\n5;" + b"x" * 9000, pause=0.005)),
        waits=True,
    ),
    Fault("silence in the body", answers(Answer(sent=60_000, stalls=True)), waits=True),
    Fault("closed before the status line", answers(Answer(raw=b""))),
    Fault("reset before the status line", answers(Answer(raw=b"", reset=True))),
    Fault("reset in the headers", answers(Answer(raw=HEADERS, reset=True))),
    Fault("reset in the body", answers(Answer(sent=60_000, reset=True)), *WRONG),
    Fault("cut", answers(Answer(sent=60_000)), *WRONG),
    Fault("cut, the size unknown", answers(Answer(headers=UNKNOWN, sent=60_000)), *WRONG),
    Fault("no HTTP", answers(Answer(raw=b"\x16\x03\x01\x02\x00" + bytes(range(256)) * 9))),
    Fault("headers of megabytes", answers(Answer(raw=HEADERS + b"X: " + b"y" * 3_000_000))),
    Fault("a hundred thousand headers", answers(Answer(raw=HEADERS + b"X: y\r\n" * 100_000 + b"\r\n"))),
    Fault("a header with a zero byte", answers(Answer(raw=HEADERS + b"ETag: a\x00b\r\n\r\n"))),
    Fault("a length that is none", answers(Answer(raw=HEADERS + b"Content-Length: -5\r\n\r\n"))),
    Fault("two lengths", answers(Answer(raw=HEADERS + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n"))),
    Fault("without end, the size known", answers(Answer(headers={"Content-Length": None}, endless=True)), *WRONG),
    Fault("without end, the size unknown", answers(Answer(headers=UNKNOWN, endless=True)), *WRONG),
    Fault("an absurd length", answers(Answer(headers={**UNKNOWN, "Content-Length": str(10**14)}, endless=True)), *WRONG),
    Fault(
        "an absurd size", answers(Answer(headers={"X-Linked-Size": str(10**14), "Content-Length": None}, endless=True)), *WRONG
    ),
    Fault("too long", answers(Answer(body=CONTENT + b"!")), *WRONG),
    Fault("empty", answers(Answer(body=b"")), *WRONG),
    Fault("another file", answers(Answer(body=OLD[::-1])), *WRONG),
    Fault("compressed", answers(Answer(headers={"Content-Encoding": "gzip"}, body=gzip.compress(CONTENT))), *WRONG),
    Fault("a bomb", answers(Answer(headers={"Content-Encoding": "gzip"}, body=gzip.compress(bytes(50_000_000), 1))), *WRONG),
    Fault("the page of a hotel", answers(Answer(headers=PORTAL, body=b"<html>log in</html>")), IntegrityError, FetchError),
    *[
        Fault(f"status {status}", answers(Answer(status, {"Retry-After": "3600"}, b"no")))
        for status in (204, 206, 304, 400, 401, 403, 404, 416, 418, 429, 500, 503)
    ],
    Fault("a redirect to itself", moved(SELF)),
    Fault("a redirect with a body without end", moved(SELF, endless=True)),
    Fault("a redirect to a file", moved("file:///etc/passwd")),
    Fault("a redirect to nowhere", moved("http://127.0.0.1:1/x")),
    Fault("a redirect that is none", moved("http://[")),
    Fault("a redirect without a place", answers(Answer(302))),
]


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub_server.isolated(tmp_path, monkeypatch)
    monkeypatch.setattr(http, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(untrusted, "MAX_FILE", 20_000_000)
    huggingface_hub.close_session()
    (tmp_path / "own.toml").write_text(
        f'[checkpoints.tiny]\ntitle = "T"\narchitecture = "erann-1-3"\nclasses = 4\n'
        f'weights = "hf:me/tiny@main/model.safetensors"\nsha256 = "{SHA256.upper()}"\nsize_bytes = {len(CONTENT)}\n'
    )
    with Hub() as server:
        server.put(CONTENT)
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server
    huggingface_hub.close_session()


def pull(name: str, tmp_path: Path) -> Result:
    return CliRunner().invoke(cli, ["checkpoints", "pull", name, "--registry", str(tmp_path / "own.toml")])


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if not path.is_dir())


@pytest.fixture
def raised(monkeypatch: pytest.MonkeyPatch) -> list[type[BaseException]]:
    """The errors that `fetch.fetch` has raised."""
    seen: list[type[BaseException]] = []
    original = fetch.fetch

    def spied(*args: Any, **options: Any) -> Path:
        try:
            return original(*args, **options)
        except Exception as error:
            seen.append(type(error))
            raise

    monkeypatch.setattr(fetch, "fetch", spied)
    return seen


def check_line(result: Result, name: str, cache: Path) -> None:
    assert result.exit_code == 1 and result.stdout == ""
    assert result.stderr.count("\n") == 1 and result.stderr.startswith(f"eranntag: error: {name}: "), result.stderr
    assert str(cache) in result.stderr and "; " in result.stderr and len(result.stderr) < 1500
    assert any(remedy in result.stderr for remedy in ("check the network", "check the name", "try later"))


def good_again(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A good hub, whatever was done to the other: both ways to the file work."""
    monkeypatch.undo()
    monkeypatch.setenv("ERANNTAG_CACHE", str(tmp_path / "cache"))
    with Hub() as other:
        other.put(CONTENT)
        monkeypatch.setenv("HF_ENDPOINT", other.url)
        for name in ("tiny", "hf:me/tiny"):
            result = pull(name, tmp_path)
            assert result.exit_code == 0, result.stderr
            assert Path(result.stdout.strip()).read_bytes() == CONTENT
    assert files(tmp_path / "cache") == [".model.safetensors.sha256", "model.safetensors"]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_pinned_file(fault: Fault, hub: Hub, raised: list[type], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fault.bring_about(hub, monkeypatch)
    start = time.monotonic()
    result = pull("tiny", tmp_path)
    assert time.monotonic() - start < SECONDS
    assert raised == [fault.pinned], result.output + repr(result.exception)
    check_line(result, "tiny", tmp_path / "cache")
    assert files(tmp_path / "cache") == [] and len(hub.requests) <= 11
    assert "cret" not in result.stderr
    good_again(hub, monkeypatch, tmp_path)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_branch_of_which_there_is_an_older_copy(
    fault: Fault, hub: Hub, raised: list[type], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy is kept; and used where the hub is only away."""
    hub.put(OLD)
    copy = Path(pull("hf:me/tiny", tmp_path).stdout.strip())
    assert copy.read_bytes() == OLD
    hub.put(CONTENT)
    fault.bring_about(hub, monkeypatch)
    start = time.monotonic()
    result = pull("hf:me/tiny", tmp_path)
    assert time.monotonic() - start < SECONDS
    if refused := fault.branch is IntegrityError or fault.name in ("status 401", "status 403", "status 404"):
        check_line(result, "hf:me/tiny", tmp_path / "cache")
    assert raised == [fault.branch] * refused and result.exit_code == refused
    assert copy.read_bytes() == OLD and files(tmp_path / "cache") == [".model.safetensors.sha256", "model.safetensors"]


def test_damaged_in_the_cache_and_wrong_from_the_hub(hub: Hub, tmp_path: Path) -> None:
    """Nothing is left of it, and nothing used."""
    copy = Path(pull("tiny", tmp_path).stdout.strip())
    for damaged, given in ((OLD, Answer(body=OLD)), (CONTENT[:500], Answer(sent=500)), (b"", Answer(500))):
        copy.write_bytes(damaged)
        hub.answers = [given]
        check_line(pull("tiny", tmp_path), "tiny", tmp_path / "cache")
        assert files(tmp_path / "cache") == []
        hub.answers = [Answer()]
        assert Path(pull("tiny", tmp_path).stdout.strip()).read_bytes() == CONTENT


def test_a_slow_but_honest_line(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As slow as can be told from one that drips: the whole takes longer than the patience for a part of it."""
    monkeypatch.setattr(http, "SLOWEST_BYTES", 20)
    monkeypatch.setattr(http, "TIMEOUT_SECONDS", 0.25)
    hub.put(CONTENT[:300])
    hub.answers = [Answer(headers={"X-Linked-Etag": None}, pause=0.003)]
    start = time.monotonic()
    assert Path(pull("hf:me/tiny", tmp_path).stdout.strip()).read_bytes() == CONTENT[:300]
    assert time.monotonic() - start > http.PATIENCE * http.TIMEOUT_SECONDS


def test_what_killed_downloads_left_is_removed_in_time(hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "cache/hub/me/tiny/main"
    folder.mkdir(parents=True)
    for name, days in (("old", 2), ("new", 0)):
        part = folder / f".model.safetensors.{name}.part"
        part.write_bytes(b"part")
        os.utime(part, (time.time() - 86_400 * days,) * 2)
    pull("tiny", tmp_path)
    assert files(folder) == [".model.safetensors.new.part", ".model.safetensors.sha256", "model.safetensors"]


def test_a_redirect_from_https_to_http_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    httpx = pytest.importorskip("httpx2")
    asked: list[str] = []

    def answer(request: Any) -> Any:
        asked.append(str(request.url))
        return httpx.Response(302, headers={"Location": "http://hub.test/other"})

    monkeypatch.setenv("HF_ENDPOINT", "https://hub.test")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    huggingface_hub.set_client_factory(lambda: httpx.Client(transport=httpx.MockTransport(answer)))
    try:
        result = pull("tiny", tmp_path)
    finally:
        huggingface_hub.set_client_factory(default_client_factory)
    check_line(result, "tiny", tmp_path / "cache")
    assert "from https to http" in result.stderr and asked == [f"https://hub.test{SELF}"]
