"""Each way in which a server fails or lies: within seconds one line, nothing wrong in the cache, and a good server works."""

import gzip
import hashlib
import os
import socket
import threading
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
from huggingface_hub import constants

from eranntag.checkpoints import fetch, transfer
from eranntag.cli import cli
from eranntag.errors import EranntagError, FetchError, IntegrityError

CONTENT = hashlib.shake_256(b"weights").digest(100_000)
OLD = hashlib.shake_256(b"older weights").digest(100_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SECONDS = 6.0  # the longest that any fault may take; most take a hundredth of that
HEADERS = f"HTTP/1.1 200 OK\r\nX-Repo-Commit: {COMMIT}\r\n".encode()
UNKNOWN = {"Content-Length": None, "X-Linked-Size": None}
PORTAL = {"X-Repo-Commit": None, "X-Linked-Etag": None, "X-Linked-Size": None, "ETag": None}
SELF = "/me/tiny/resolve/main/model.safetensors"

Setup = Callable[[Hub, pytest.MonkeyPatch], Any]


@dataclass(frozen=True)
class Fault:
    """`how` to bring it about; the errors of a row on the `web` and on a `hub`. `waits`: where only patience, which then is
    short, distinguishes it from a good server."""

    name: str
    how: Setup
    web: type[EranntagError] = FetchError
    hub: type[EranntagError] = FetchError
    waits: bool = False

    def bring_about(self, hub: Hub, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(transfer, "STALL_SECONDS", 0.4 if self.waits else 5.0)
        self.how(hub, patch)


def answers(*given: Answer) -> Setup:
    return lambda hub, patch: hub.answers.__setitem__(slice(None), given)


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
    Fault("without end, the size known", answers(Answer(headers={"Content-Length": None}, endless=True)), *WRONG),
    Fault("without end, the size unknown", answers(Answer(headers=UNKNOWN, endless=True)), *WRONG),
    Fault("an absurd length", answers(Answer(headers={**UNKNOWN, "Content-Length": str(10**14)}, endless=True)), *WRONG),
    Fault("too long", answers(Answer(body=CONTENT + b"!")), *WRONG),
    Fault("empty", answers(Answer(body=b"")), *WRONG),
    Fault("another file", answers(Answer(body=OLD[::-1])), *WRONG),
    Fault("compressed", answers(Answer(headers={"Content-Encoding": "gzip"}, body=gzip.compress(OLD))), *WRONG),
    Fault("a bomb", answers(Answer(headers={"Content-Encoding": "gzip"}, body=gzip.compress(bytes(50_000_000), 1))), *WRONG),
    Fault("the page of a hotel", answers(Answer(headers=PORTAL, body=b"<html>log in</html>")), IntegrityError, FetchError),
    *[
        Fault(f"status {status}", answers(Answer(status, {"Retry-After": "3600"}, b"no")))
        for status in (400, 401, 403, 404, 416, 418, 429, 500, 503)
    ],
    Fault("a redirect to itself", moved(SELF)),
    Fault("a redirect with a body without end", moved(SELF, endless=True)),
    Fault("a redirect to a file", moved("file:///etc/passwd")),
    Fault("a redirect to nowhere", moved("http://127.0.0.1:1/x"), waits=True),  # huggingface_hub tries for 5 s
    Fault("a redirect that is none", moved("http://[")),
]
EACH = [pytest.param(fault, id=fault.name, marks=[pytest.mark.slow] * fault.waits) for fault in FAULTS]
WAYS = ("web", "hub")


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub_server.isolated(tmp_path, monkeypatch)
    monkeypatch.setattr(transfer, "MAX_BYTES", 20_000_000)
    huggingface_hub.close_session()
    with Hub() as server:
        register(server, tmp_path, monkeypatch)
        yield server
    huggingface_hub.close_session()


def register(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry with the same file on the web and on a hub."""
    server.put(CONTENT)
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    row = f'title = "T"\narchitecture = "erann-1-3"\nclasses = 4\nsha256 = "{SHA256.upper()}"\nsize_bytes = {len(CONTENT)}\n'
    (tmp_path / "own.toml").write_text(
        f'[checkpoints.web]\n{row}weights = "{server.url}{SELF}"\nformat = "safetensors"\n'
        f'[checkpoints.hub]\n{row}weights = "hf:me/tiny@main/model.safetensors"\n'
    )


def pull(name: str, tmp_path: Path) -> Result:
    return CliRunner().invoke(cli, ["checkpoints", "pull", name, "--registry", str(tmp_path / "own.toml")])


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if not path.is_dir())


@pytest.fixture
def raised(monkeypatch: pytest.MonkeyPatch) -> list[type[BaseException]]:
    """The errors that downloads have raised."""
    seen: list[type[BaseException]] = []

    def spied(original: Callable[..., Any]) -> Callable[..., Any]:
        def spy(*args: Any, **options: Any) -> Any:
            try:
                return original(*args, **options)
            except Exception as error:
                seen.append(type(error))
                raise

        return spy

    for name in ("fetch_from_hub", "fetch_published"):
        monkeypatch.setattr(fetch, name, spied(getattr(fetch, name)))
    return seen


def check_line(result: Result, name: str, cache: Path) -> None:
    assert result.exit_code == 1 and result.stdout == ""
    assert result.stderr.count("\n") == 1 and result.stderr.startswith(f"eranntag: error: {name}: "), result.stderr
    assert str(cache) in result.stderr and "; " in result.stderr and len(result.stderr) < 1500
    assert SELF in result.stderr or "hf:" in result.stderr
    assert any(remedy in result.stderr for remedy in ("check the network", "check the name", "try later"))


def good_again(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A good server, whatever was done to the other."""
    monkeypatch.undo()
    with pytest.MonkeyPatch.context() as patch, Hub() as other:
        hub_server.isolated(tmp_path, patch)
        register(other, tmp_path, patch)
        result = pull(name, tmp_path)
        assert result.exit_code == 0, result.stderr
        path = Path(result.stdout.strip())
        assert path.read_bytes() == CONTENT
    assert files(tmp_path / "cache") == [f".{path.name}.sha256", path.name]


@pytest.mark.parametrize("fault", EACH)
@pytest.mark.parametrize("way", WAYS)
def test_a_pinned_file(
    way: str, fault: Fault, hub: Hub, raised: list[type], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault.bring_about(hub, monkeypatch)
    start = time.monotonic()
    result = pull(way, tmp_path)
    assert time.monotonic() - start < SECONDS
    assert raised == [getattr(fault, way)], result.output + repr(result.exception)
    check_line(result, way, tmp_path / "cache")
    assert files(tmp_path / "cache") == []
    good_again(way, monkeypatch, tmp_path)


@pytest.mark.parametrize("fault", EACH)
def test_a_branch_of_which_there_is_an_older_copy(
    fault: Fault, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    if result.exit_code:
        check_line(result, "hf:me/tiny", tmp_path / "cache")
        assert fault.hub is IntegrityError or fault.name in ("status 401", "status 403", "status 404")
    assert copy.read_bytes() == OLD and files(tmp_path / "cache") == [".model.safetensors.sha256", "model.safetensors"]


@pytest.mark.parametrize("way", WAYS)
def test_a_thread_that_was_given_up_writes_nothing(way: str, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of the file arrives after the error."""
    earlier = set(threading.enumerate())  # those of other tests may still wait for a server
    monkeypatch.setattr(transfer, "STALL_SECONDS", 0.3)
    monkeypatch.setattr(transfer, "POLL_SECONDS", 0.02)
    release = threading.Event()
    original = transfer.ByteCounter.add

    def held(meter: transfer.ByteCounter, count: int) -> None:
        release.wait(5)
        original(meter, count)

    monkeypatch.setattr(transfer.ByteCounter, "add", held)
    check_line(pull(way, tmp_path), way, tmp_path / "cache")
    release.set()
    left = [thread for thread in set(threading.enumerate()) - earlier if thread.name == "download"]
    assert left
    for thread in left:
        assert thread.daemon
        thread.join(5)
        assert not thread.is_alive()
    assert files(tmp_path / "cache") == [] and list((tmp_path / "cache/downloads").iterdir()) == []


@pytest.mark.parametrize("way", WAYS)
def test_damaged_in_the_cache_and_wrong_from_the_server(way: str, hub: Hub, tmp_path: Path) -> None:
    """It is not used, and the next download replaces it."""
    copy = Path(pull(way, tmp_path).stdout.strip())
    for damaged, given in ((OLD, Answer(body=OLD)), (CONTENT[:500], Answer(body=CONTENT[:500])), (b"", Answer(500))):
        copy.write_bytes(damaged)
        hub.answers = [given]
        check_line(pull(way, tmp_path), way, tmp_path / "cache")
        hub.answers = [Answer()]
        assert Path(pull(way, tmp_path).stdout.strip()).read_bytes() == CONTENT


@pytest.mark.parametrize("way", WAYS)
def test_a_slow_but_honest_line(way: str, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As slow as can be told from one that drips: the whole takes longer than the patience for a part of it."""
    monkeypatch.setattr(transfer, "STALL_BYTES", 4_000)
    monkeypatch.setattr(transfer, "CHUNK_BYTES", 1_000)
    monkeypatch.setattr(transfer, "STALL_SECONDS", 1.0)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", constants.DOWNLOAD_CHUNK_SIZE)
    original = hub_server._Handler._give

    def slowly(handler: Any, content: bytes, answer: Answer) -> None:
        for start in range(0, len(content), 5_000):
            original(handler, content[start : start + 5_000], answer)
            handler.wfile.flush()
            time.sleep(0.07)

    monkeypatch.setattr(hub_server._Handler, "_give", slowly)
    start = time.monotonic()
    assert Path(pull(way, tmp_path).stdout.strip()).read_bytes() == CONTENT
    assert time.monotonic() - start > transfer.STALL_SECONDS


@pytest.mark.parametrize("way", WAYS)
def test_what_killed_downloads_left_is_removed_in_time(way: str, hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "cache/downloads"
    for name, days in (("old", 2), ("new", 0)):
        (folder / name).mkdir(parents=True)
        (folder / name / "part").write_bytes(b"part")
        os.utime(folder / name, (time.time() - 86_400 * days,) * 2)
    pull(way, tmp_path)
    assert [path.name for path in folder.iterdir()] == ["new"]


@pytest.mark.parametrize(
    "endpoint", ["http://[", "file:///etc", "nonsense", "ftp://127.0.0.1", "http://127.0.0.1:99999", "http://"]
)
def test_an_endpoint_that_is_none(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    check_line(pull("hub", tmp_path), "hub", tmp_path / "cache")


def test_tls_with_a_server_without(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url.replace("http", "https"))
    check_line(pull("hub", tmp_path), "hub", tmp_path / "cache")
    (tmp_path / "own.toml").write_text((tmp_path / "own.toml").read_text().replace("http:", "https:"))
    check_line(pull("web", tmp_path), "web", tmp_path / "cache")


@pytest.mark.parametrize("token", ["hf_se\tcret\x0bX: y", "é"])
def test_a_token_that_is_none_is_not_shown(token: str, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    result = pull("hub", tmp_path)
    check_line(result, "hub", tmp_path / "cache")
    assert "HF_TOKEN" in result.stderr and "cret" not in result.stderr and hub.requests == []
