"""The hub over loopback: a file that is whole and right, kept, and used again. How it fails is in test_hub_faults."""

import errno
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import hub_server
import huggingface_hub
import pytest
from hub_server import COMMIT, Answer, Hub
from huggingface_hub import constants

from eranntag.checkpoints import fetch, transfer
from eranntag.checkpoints.hub import HubFile, parse
from eranntag.errors import EranntagError, FetchError, IntegrityError, UsageError
from eranntag.files import atomic, cache as caches

CONTENT = hashlib.shake_256(b"weights").digest(700_000)
OTHER = hashlib.shake_256(b"others").digest(700_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER_SHA256 = hashlib.sha256(OTHER).hexdigest()
WRONG = Answer(body=OTHER)
DOWNLOAD = ["HEAD", "HEAD", "GET"]  # the requests of a download


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of its own, no token, no proxy, no patience."""
    hub_server.isolated(tmp_path, monkeypatch)
    monkeypatch.setattr(transfer, "STALL_SECONDS", 5.0)
    huggingface_hub.close_session()
    yield tmp_path / "cache"
    huggingface_hub.close_session()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub() as server:
        server.put(CONTENT)
        server.put(CONTENT, revision=COMMIT)
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def pinned() -> Path:
    return fetch.fetch_from_hub("hf:me/tiny", SHA256, "tiny")


def direct(weights: str = "hf:me/tiny", offline: bool = False) -> Path:
    return fetch.fetch_from_hub(weights, "", weights, offline=offline)


def downloads(hub: Hub) -> int:
    return [request.method for request in hub.requests].count("GET")


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if not path.is_dir())


@contextmanager
def refusal(kind: type[EranntagError], *parts: str, seconds: float = 3.0) -> Iterator[pytest.ExceptionInfo[EranntagError]]:
    """The block fails soon, with one line that holds all `parts`."""
    start = time.monotonic()
    with pytest.raises(kind) as caught:
        yield caught
    assert time.monotonic() - start < seconds
    line = str(caught.value)
    assert type(caught.value) is kind and len(line.splitlines()) == 1
    for part in parts:
        assert part in line


# Success and the cache


def test_a_file_is_downloaded_once_and_then_never_asked_for(hub: Hub, cache: Path) -> None:
    assert not cache.exists()
    path = pinned()
    assert path == cache / "hub/me/tiny/main/model.safetensors" and path.read_bytes() == CONTENT
    assert files(cache) == [path.with_name(".model.safetensors.sha256"), path]
    assert [request.method for request in hub.requests] == DOWNLOAD
    assert {request.path for request in hub.requests} == {"/me/tiny/resolve/main/model.safetensors"}
    connections = hub.connections
    assert pinned() == path and hub.connections == connections
    hub.stop()
    assert pinned() == path


def test_bytes_are_reported(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[tuple[int, int]] = []
    fetch.fetch_from_hub("hf:me/tiny", SHA256, "tiny", report=lambda done, total: steps.append((done, total)))
    assert steps == sorted(steps) and {total for _, total in steps} == {len(CONTENT)} and steps[-1][0] == len(CONTENT)


def test_folders_revisions_and_upper_case_hashes(hub: Hub, cache: Path) -> None:
    hub.put(OTHER, "a-b/c.d", "v1.0+x", "sub/deep/x_1.bin")
    hub.files = {path.replace("+", "%2B"): content for path, content in hub.files.items()}
    path = fetch.fetch_from_hub("hf:a-b/c.d@v1.0+x/sub/deep/x_1.bin", OTHER_SHA256.upper(), "x")
    assert path == cache / "hub/a-b/c.d/v1.0+x/sub/deep/x_1.bin" and path.read_bytes() == OTHER


@pytest.mark.parametrize("damaged", [CONTENT[:-1] + b"?", CONTENT[:300_000]], ids=["changed", "cut"])
@pytest.mark.parametrize(("revision", "sha256"), [("main", SHA256), ("main", ""), (COMMIT, SHA256), (COMMIT, "")])
def test_a_damaged_copy_is_fetched_again(revision: str, sha256: str, damaged: bytes, hub: Hub) -> None:
    path = fetch.fetch_from_hub(f"hf:me/tiny@{revision}", sha256, "tiny")
    path.write_bytes(damaged)
    assert fetch.fetch_from_hub(f"hf:me/tiny@{revision}", sha256, "tiny") == path
    assert path.read_bytes() == CONTENT and downloads(hub) == 2


def test_an_intact_copy_of_another_file_is_fetched_again(hub: Hub) -> None:
    """The branch has moved since, and the registry with it."""
    hub.put(OTHER)
    path = direct()
    hub.put(CONTENT)
    assert pinned() == path and path.read_bytes() == CONTENT


def test_a_damaged_copy_is_not_used_without_the_hub(hub: Hub) -> None:
    pinned().write_bytes(OTHER)
    hub.stop()
    with refusal(FetchError, "refused"):
        pinned()
    with refusal(FetchError, "refused"):
        direct()
    with refusal(FetchError, "offline", "no intact copy"):
        direct(offline=True)


@pytest.mark.parametrize("note", [b"", b"\xff\xfe\x00", SHA256.encode()[:63], b"\n" * 9])
def test_a_damaged_note_is_as_none(note: bytes, hub: Hub) -> None:
    path = direct()
    path.with_name(f".{path.name}.sha256").write_bytes(note)
    with refusal(FetchError, "offline"):
        direct(offline=True)
    assert direct() == path and downloads(hub) == 2
    assert direct(offline=True) == path


def test_a_cached_file_needs_neither_torch_nor_the_client(hub: Hub) -> None:
    pinned()
    connections = hub.connections
    code = f"""if True:
        import sys
        from eranntag.checkpoints import fetch
        print(fetch.fetch_from_hub("hf:me/tiny", "{SHA256}", "tiny"))
        assert not {{"torch", "huggingface_hub", "httpx2", "pooch", "requests", "rich"}} & sys.modules.keys()
    """
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.strip().endswith("model.safetensors") and hub.connections == connections


@pytest.mark.slow
def test_the_environment_of_another_process_is_obeyed(hub: Hub) -> None:
    """HF_ENDPOINT and HF_HUB_OFFLINE are read when huggingface_hub is imported."""
    code = "from eranntag.checkpoints import fetch; fetch.fetch_from_hub('hf:me/tiny', '', 'tiny')"
    command, environment = [sys.executable, "-c", code], {**os.environ, "HF_HUB_OFFLINE": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert "FetchError: tiny: cannot fetch" in ended.stderr
    assert hub.connections == 0
    subprocess.run(command, check=True)
    connections = hub.connections
    subprocess.run(command, check=True, env=environment)
    assert hub.connections == connections
    agents = {request.headers["user-agent"] for request in hub.requests}
    assert len(agents) == 1 and "torch" not in agents.pop()  # no telemetry, nor a request for it
    assert [request.method for request in hub.requests] == DOWNLOAD


@pytest.mark.slow
def test_two_at_once_both_get_the_whole_file(hub: Hub, cache: Path) -> None:
    command = [
        sys.executable,
        "-c",
        f"from eranntag.checkpoints import fetch; print(fetch.fetch_from_hub('hf:me/tiny', '{SHA256}', 'x'))",
    ]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = {process.communicate(timeout=60)[0].strip() for process in both}
    assert len(paths) == 1 and Path(paths.pop()).read_bytes() == CONTENT and len(files(cache)) == 2


def test_an_interrupted_download_leaves_nothing(hub: Hub, cache: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch.fetch_from_hub("hf:me/tiny", SHA256, "tiny", report=interrupt)
    assert files(cache) == []
    assert pinned().read_bytes() == CONTENT


# Offline


def test_offline_a_copy_is_used_and_nothing_is_asked(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    path = direct()
    assert direct(offline=True) == path
    assert fetch.fetch_from_hub("hf:me/tiny", SHA256, "tiny", offline=True) == path
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert direct() == path and pinned() == path
    assert downloads(hub) == 1 and len(hub.requests) == len(DOWNLOAD)


def test_offline_without_a_copy(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with refusal(FetchError, "tiny: ", "hf:me/tiny", "offline", "eranntag checkpoints pull tiny", str(cache), "local file"):
        fetch.fetch_from_hub("hf:me/tiny", SHA256, "tiny", offline=True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with refusal(FetchError, "tiny: ", hub.url, "HF_HUB_OFFLINE", str(cache)):
        pinned()
    assert hub.connections == 0 and files(cache) == []


# Without a pinned hash


def test_a_direct_address_is_checked_against_the_hash_of_the_hub(hub: Hub, cache: Path) -> None:
    hub.answers = [WRONG]
    with refusal(IntegrityError, SHA256, OTHER_SHA256, str(cache)):
        direct()
    assert downloads(hub) == 2 and files(cache) == []
    hub.answers = [WRONG] * 3 + [Answer()]
    assert direct().read_bytes() == CONTENT


def test_the_plain_etag_counts_when_it_is_a_sha256(hub: Hub) -> None:
    hub.answers = [Answer(headers={"X-Linked-Etag": None, "ETag": f'W/"{SHA256}"'}, body=OTHER)]
    with refusal(IntegrityError, SHA256, OTHER_SHA256):
        direct()


def test_a_file_without_lfs_is_taken_whole(hub: Hub, cache: Path) -> None:
    plain = {"X-Linked-Etag": None, "X-Linked-Size": None}
    hub.answers = [Answer(headers=plain, sent=300_000)]
    with refusal(IntegrityError, "cut after 2", seconds=4):
        direct()
    assert files(cache) == []
    hub.answers = [Answer(headers=plain)]
    assert direct().read_bytes() == CONTENT
    assert direct(offline=True).read_bytes() == CONTENT


def test_a_download_that_breaks_off_goes_on(hub: Hub) -> None:
    """As huggingface_hub does it, where the server answers a Range."""
    hub.answers = [Answer(), Answer(), Answer(sent=300_000), Answer(ranges=True)]
    assert pinned().read_bytes() == CONTENT
    assert hub.requests[-1].headers["range"].startswith("bytes=2") and downloads(hub) == 2


def test_a_page_that_is_no_hub_is_not_kept(hub: Hub, cache: Path) -> None:
    """The log-in page of a hotel."""
    hub.answers = [Answer(headers={"X-Repo-Commit": None, "X-Linked-Etag": None, "ETag": None}, body=b"<html>")]
    for download in (direct, pinned):
        with refusal(FetchError, "no hub"):
            download()
    assert files(cache) == []


def test_a_commit_is_not_asked_for_twice(hub: Hub) -> None:
    path = direct(f"hf:me/tiny@{COMMIT}")
    assert direct(f"hf:me/tiny@{COMMIT}") == path and len(hub.requests) == len(DOWNLOAD)


def test_a_branch_that_moved_is_followed(hub: Hub) -> None:
    seen: list[int] = []
    path = direct()
    again = fetch.fetch_from_hub("hf:me/tiny", "", "tiny", report=lambda done, _: seen.append(done))
    assert again == path and downloads(hub) == 1 and len(hub.requests) == 4 and seen == []  # queried, and not downloaded
    hub.put(OTHER)
    assert direct() == path and path.read_bytes() == OTHER
    assert direct(offline=True) == path
    hub.answers = [Answer(body=CONTENT)]
    hub.put(CONTENT + b"newer")
    with refusal(IntegrityError):
        direct()
    assert direct(offline=True).read_bytes() == OTHER  # the older, intact one is kept


@pytest.mark.parametrize("answer", [Answer(500), Answer(429), Answer(silent=True), None], ids=str)
def test_a_branch_is_used_as_it_was_while_the_hub_is_away(
    answer: Answer | None, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = direct()
    monkeypatch.setattr(transfer, "TIMEOUT", 0.3)
    if answer is None:
        hub.stop()
    else:
        hub.answers = [answer]
    assert direct() == path


def test_a_branch_that_is_gone_is_an_error(hub: Hub) -> None:
    direct()
    hub.answers = [Answer(404)]
    with refusal(FetchError, "404"):
        direct()


# A hub that fails


@pytest.mark.parametrize("first", [WRONG, Answer(body=b"")], ids=["other", "empty"])
def test_a_wrong_download_is_removed_and_repeated_once(first: Answer, hub: Hub, cache: Path) -> None:
    hub.answers = [first] * 3 + [Answer()]
    assert pinned().read_bytes() == CONTENT
    assert downloads(hub) == 2 and len(files(cache)) == 2


def test_wrong_twice_is_an_error(hub: Hub, cache: Path) -> None:
    hub.answers = [WRONG] * 6 + [Answer()]
    with refusal(IntegrityError, "tiny: ", SHA256, OTHER_SHA256, str(cache), hub.url):
        pinned()
    assert downloads(hub) == 2 and files(cache) == []


def test_a_file_of_another_size_is_not_received(hub: Hub) -> None:
    with refusal(IntegrityError, f"a file of {len(CONTENT)} bytes, not 5"):
        fetch.fetch_from_hub("hf:me/tiny", SHA256, "tiny", size=5)
    assert downloads(hub) == 0


@pytest.mark.parametrize("status", [429, 503])
def test_no_hour_is_waited(status: int, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.answers = [Answer(status, {"Retry-After": "3600", "RateLimit": '"api";r=0;t=3600'})]
    with refusal(FetchError, f"HTTP {status}"):
        pinned()
    hub.answers = [Answer(), Answer(), *hub.answers]  # where huggingface_hub itself would wait
    monkeypatch.setattr(transfer, "STALL_SECONDS", 1.0)
    with refusal(FetchError, hub.url, "tiny: "):
        pinned()


def test_a_refused_connection(hub: Hub, cache: Path) -> None:
    hub.stop()
    with refusal(FetchError, "tiny: ", hub.url, "refused", "HF_ENDPOINT", "pull tiny", str(cache), "local file"):
        pinned()
    assert files(cache) == []


def test_a_silent_server(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "TIMEOUT", 0.5)
    hub.answers = [Answer(silent=True)]
    with refusal(FetchError, "tiny: ", hub.url, "no answer for 0.5 s", "network", str(cache)):
        pinned()
    assert len(hub.requests) == 1 and files(cache) == []


@pytest.mark.parametrize("status", [401, 403, 404])
def test_missing_or_private(status: int, hub: Hub, cache: Path) -> None:
    hub.answers = [Answer(status, {"X-Error-Code": "RepoNotFound"}, b"no")]
    with refusal(FetchError, "tiny: ", f"HTTP {status}", "does not exist", "private", "HF_TOKEN", hub.url):
        pinned()
    assert len(hub.requests) == 1 and files(cache) == []


# A hub that means harm


@pytest.mark.parametrize("etag", ["../../../../escaped", "/tmp/escaped", "..", "a b\tc", "x" * 3000, ""])
def test_an_etag_is_no_path(etag: str, hub: Hub, cache: Path, tmp_path: Path) -> None:
    """Nor is that of a second answer, which huggingface_hub uses."""
    odd = Answer(headers={"ETag": f'"{etag}"', "X-Linked-Etag": f'"{etag}"'})
    for hub.answers in ([odd], [Answer(), odd]):
        with suppress(FetchError, IntegrityError):
            assert pinned().read_bytes() == CONTENT
        assert all(path.name.endswith((".sha256", ".safetensors")) for path in files(tmp_path))
        assert not Path("/tmp/escaped").exists()


# Token and redirects


def test_the_token_goes_to_the_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    pinned()
    assert hub.requests[0].headers["authorization"] == "Bearer hf_secret"


def test_no_token_no_header(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned()
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    direct()
    assert all("authorization" not in request.headers for request in hub.requests)
    assert all(request.headers["user-agent"].startswith("eranntag/") for request in hub.requests)


def test_a_redirect_is_followed_without_the_token(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the hub does for LFS files: its own headers come with the redirect, the storage's ETag means nothing."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with Hub() as storage:
        storage.files["/blob?signature=x"] = CONTENT
        theirs = {"X-Repo-Commit": None, "X-Linked-Etag": OTHER_SHA256, "X-Linked-Size": "1", "ETag": OTHER_SHA256}
        storage.answers = [Answer(headers=theirs)]
        hub.answers = [Answer(302, {"Location": storage.url.replace("127.0.0.1", "localhost") + "/blob?signature=x"})]
        path = direct()
        assert path.read_bytes() == CONTENT
        assert "authorization" in hub.requests[0].headers and "authorization" not in storage.requests[0].headers
        storage.answers = [Answer(body=OTHER)]
        path.unlink()
        with refusal(IntegrityError, SHA256, OTHER_SHA256):
            direct()
        storage.answers = [Answer(403)]
        with refusal(FetchError, "HTTP 403", "from localhost", "check the name and the network") as caught:
            direct()
        assert "signature" not in str(caught.value)


def test_a_redirect_on_the_hub_keeps_the_token(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a repository that was renamed."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.put(OTHER, "me/new")
    moved = {"Location": "/me/new/resolve/main/model.safetensors", "X-Linked-Etag": None, "ETag": None}
    hub.answers = 2 * [Answer(307, {**moved, "X-Linked-Size": None}), Answer()]  # huggingface_hub sends a HEAD of its own
    assert direct().read_bytes() == OTHER
    assert {request.headers["authorization"] for request in hub.requests} == {"Bearer hf_secret"}


# The disk


def test_a_cache_that_is_no_folder(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ERANNTAG_CACHE", str(tmp_path / "file"))
    with refusal(FetchError, "tiny: ", str(tmp_path / "file"), "Not a directory", "ERANNTAG_CACHE"):
        pinned()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_takes_nothing(code: int, hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(atomic, "fsync", refuse)
    with refusal(FetchError, "tiny: ", os.strerror(code), str(cache), "ERANNTAG_CACHE"):
        pinned()
    assert files(cache) == []


@pytest.mark.slow
def test_a_full_disk_in_the_middle(hub: Hub, cache: Path) -> None:
    """Files of this process may have half the size: write() fails as it does on a full disk."""
    code = f"""if True:
        import resource, signal
        from eranntag.checkpoints import fetch
        import huggingface_hub
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
        fetch.fetch_from_hub("hf:me/tiny", "{SHA256}", "tiny")
    """
    ended = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True)
    assert "FetchError: tiny: cannot fetch" in ended.stderr and "File too large" in ended.stderr
    assert "set ERANNTAG_CACHE" in ended.stderr and files(cache) == [] and downloads(hub) == 1


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root writes anywhere")
def test_a_read_only_cache(hub: Hub, cache: Path) -> None:
    path = pinned()
    folders = [cache, *(folder for folder in cache.rglob("*") if folder.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert pinned() == path and direct() == path
        hub.put(OTHER)
        with refusal(FetchError, str(cache), "ERANNTAG_CACHE"):
            direct()
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert caches.folder() == tmp_path / "cache"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ERANNTAG_CACHE", "relative")
    assert caches.folder() == tmp_path / "relative"
    for nothing in (None, ""):
        monkeypatch.setenv("ERANNTAG_CACHE", "") if nothing == "" else monkeypatch.delenv("ERANNTAG_CACHE")
        assert caches.folder() == tmp_path / "xdg" / "eranntag"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert caches.folder() == home / ".cache" / "eranntag"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert caches.folder() == home / ".cache" / "eranntag"
    for none in ("/nonexistent", "/", ""):
        monkeypatch.setenv("HOME", none)
        assert caches.folder().name.startswith("eranntag-")
    assert not (home / ".cache").exists()


# Addresses


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("hf:o/r", HubFile("o/r", "main", "model.safetensors")),
        ("hf:o/r@v1.2", HubFile("o/r", "v1.2", "model.safetensors")),
        ("hf:o/r/x.safetensors", HubFile("o/r", "main", "x.safetensors")),
        ("hf:o/r@main/a/b/c.bin", HubFile("o/r", "main", "a/b/c.bin")),
        (f"hf:Own-er_1/re.po-x_@{COMMIT}/f", HubFile("Own-er_1/re.po-x_", COMMIT, "f")),
    ],
)
def test_an_address_is_parsed(weights: str, expected: HubFile) -> None:
    assert parse(weights) == expected


@pytest.mark.parametrize(
    "weights",
    [
        "", "hf:", "hf:o", "hf:o/", "hf:/r", "hf:o/r/", "hf:o/r@", "hf:o/r@/f", "hf:o/r@main/", "hf:o//r",
        "o/r", "HF:o/r", "hf:o/r@a@b", "hf:../r", "hf:a..b/r", "hf:o/r@a..b", "hf:o/r/a..b", "hf:o/..",
        "hf:./r", "hf:o/.", "hf:o/r/../x", "hf:o/r/a/../b",
        "hf:o/r@..", "hf:o/r@../x", "hf:o/r//etc/passwd", "hf:o/r/a//b", "hf:o/r/.hidden", "hf:o/r@.git",
        "hf:.o/r", "hf:o/r/a\\b", "hf:o/r/C:", "hf:o/r/~", "hf:o/r/a b", "hf:o/r/a\nb", "hf:o/r\n",
        "hf:o/r/%2e%2e", "hf:o/r/a?x=1", "hf:o/r/a#b", "hf:o/r/a\x00", "hf:ö/r", "hf:o--p/r", "hf:o/r--x",
        "hf:o/r.git", "hf:-o/r", "hf:o/r-", "hf:o/r.", f"hf:{'o' * 97}/r", f"hf:o/r/{'f' * 200}",
        "hf:o/r@main/f/", "hf:datasets/o/r@main/..", "hf://o/r", "hf:u:p@h/r",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(weights: str, cache: Path) -> None:
    with refusal(UsageError, repr(weights), "hf:OWNER/REPO[@REVISION][/FILE]"):
        parse(weights)
    with refusal(UsageError):
        direct(weights)
    assert not cache.exists()


@pytest.mark.parametrize("weights", ["hf:o/r", "hf:a.b/c-d_", "hf:_o/r_", f"hf:{'o' * 96}/{'r' * 96}"])
def test_every_address_is_one_for_the_client(weights: str) -> None:
    huggingface_hub.hf_hub_url(parse(weights).repo, parse(weights).file)
