"""Weights that others published: downloaded once from a loopback server, converted, and from then on used offline."""

import dataclasses
import hashlib
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hub_server
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from hub_server import Answer, Hub
from test_cnn14 import CHANNELS, LABELS, constants, panns_state

from eranntag.checkpoints import catalog, convert, fetch, header, loading, transfer
from eranntag.checkpoints.digest import file_sha256
from eranntag.cli import cli
from eranntag.errors import CheckpointError, FetchError
from eranntag.files import atomic
from eranntag.types import Clip

SAMPLE = Path(__file__).parents[1] / "docs" / "sample.wav"
CLIP = Clip(0.1 * np.random.default_rng(0).standard_normal((1, 32_000), np.float32), 32_000, "noise")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, and CNN14 as if it had 2 channels and 3 classes."""
    hub_server.isolated(tmp_path, monkeypatch)
    full = convert.PUBLISHED["cnn14"]
    spec = dataclasses.replace(full.checkpoint, model={"channels": CHANNELS}, labels=LABELS)
    monkeypatch.setitem(convert.PUBLISHED, "cnn14", dataclasses.replace(full, checkpoint=spec))
    return tmp_path / "cache"


@pytest.fixture
def server() -> Iterator[Hub]:
    with Hub() as server:
        yield server


@pytest.fixture(scope="module")
def panns(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file of PANNs' form with random weights."""
    path = tmp_path_factory.mktemp("panns") / "Cnn14.pth"
    torch.save({"iteration": 600_000, "model": {**constants(), **panns_state()}}, path)
    return path.read_bytes()


def registry(folder: Path, address: str, content: bytes, **changed: object) -> str:
    """A registry with the row `mine`, whose weights are `content` at `address`."""
    row = {
        "title": "Mine", "architecture": "cnn14", "classes": 3, "weights": address, "format": "torch", "licence": "MIT",
        "sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content),
    } | changed  # fmt: skip
    (folder / "own.toml").write_text("[checkpoints.mine]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in row.items()))
    return str(folder / "own.toml")


def run(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if not path.is_dir())


def scores(own: str, **options: Any) -> np.ndarray:
    return loading.load("mine", "cpu", "float32", own, engine="eager", **options).tag(CLIP).scores


def test_first_use_downloads_and_converts_and_later_ones_are_offline(
    server: Hub, panns: bytes, cache: Path, tmp_path: Path
) -> None:
    own = registry(tmp_path, server.add(panns), panns)
    steps: list[tuple[int, int]] = []
    first = scores(own, report=lambda done, total: steps.append((done, total)))
    assert steps[-1] == (len(panns), len(panns)) and len(server.requests) == 1
    path = fetch.published_path(catalog.load_catalog(own).row("mine"))
    assert files(cache) == [path.with_name(f".{path.name}.sha256"), path]
    server.stop()
    np.testing.assert_array_equal(scores(own), first)
    np.testing.assert_array_equal(scores(own, offline=True), first)

    given = tmp_path / "Cnn14.pth"
    given.write_bytes(panns)
    by_hand = run("checkpoints", "convert", given, "--model", "cnn14", "-o", tmp_path / "c.safetensors", "--float32")
    assert by_hand.exit_code == 0, by_hand.output
    same = loading.load(tmp_path / "c.safetensors", "cpu", "float32", engine="eager").tag(CLIP).scores
    np.testing.assert_array_equal(same, first)


@pytest.fixture
def mn04(data_root: Path) -> bytes:
    """EfficientAT's own file."""
    path = data_root / "teacher" / "mn04_as_mAP_432.pt"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    return path.read_bytes()


@pytest.mark.slow
def test_the_real_mn04_scores_what_its_tensors_do(server: Hub, mn04: bytes, tmp_path: Path) -> None:
    """By the row of checkpoints.toml, but for the server; the published numbers are kept exactly."""
    row = catalog.load_catalog().row("mn04-audioset")
    assert (hashlib.sha256(mn04).hexdigest(), len(mn04)) == (row.sha256, row.size_bytes)
    own = registry(tmp_path, server.add(mn04), mn04, architecture=row.architecture, classes=row.classes)
    first = scores(own)
    server.stop()
    tensors = torch.load(io.BytesIO(mn04), weights_only=True)
    kept = loading.find("mine", own).network().tensors()
    assert kept.keys() == tensors.keys() and all(torch.equal(kept[name], tensors[name]) for name in tensors)
    np.testing.assert_array_equal(scores(own), first)
    printed = run("predict", SAMPLE, "-c", "mine", "--registry", own, "--offline", "--top", "1", "--engine", "eager")
    assert printed.exit_code == 0 and "Beep, bleep" in printed.stdout


def test_the_header_has_the_rows_facts_and_the_source(server: Hub, panns: bytes, tmp_path: Path) -> None:
    own = registry(tmp_path, server.add(panns), panns)
    found = loading.find("mine", own)
    spec = header.read_checkpoint(found.path)
    assert (spec.name, spec.title, spec.licence, spec.data) == ("mine", "Mine", "MIT", "AudioSet")
    assert spec.source_sha256 == hashlib.sha256(panns).hexdigest() and spec.labels == LABELS
    assert found.sha256 == file_sha256(found.path)
    assert {dtype for dtype, _ in header.read_header(found.path).tensors.values()} == {"F32", "I64"}


@pytest.mark.slow
def test_the_same_file_is_made_whenever_it_is_made(server: Hub, panns: bytes, cache: Path, tmp_path: Path) -> None:
    """So that two processes write the same."""
    own = registry(tmp_path, server.add(panns), panns)
    paths: list[Path] = []
    threads = [threading.Thread(target=lambda: paths.append(loading.find("mine", own).path)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 1 and len(paths) == 2 and len(files(cache)) == 2
    made = paths[0].read_bytes()
    paths[0].unlink()
    assert loading.find("mine", own).path.read_bytes() == made


@pytest.mark.parametrize("damage", ["changed", "cut", "no note", "another note"])
def test_a_damaged_copy_is_made_again(damage: str, server: Hub, panns: bytes, tmp_path: Path) -> None:
    own = registry(tmp_path, server.add(panns), panns)
    path = loading.find("mine", own).path
    good, note = path.read_bytes(), path.with_name(f".{path.name}.sha256")
    if damage in ("changed", "cut"):
        path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]) if damage == "changed" else good[:-100])
    else:
        note.unlink() if damage == "no note" else note.write_text("0" * 64)
    with pytest.raises(FetchError, match="offline, and the cache has no intact copy"):
        loading.find("mine", own, offline=True)
    assert loading.find("mine", own).path.read_bytes() == good and len(server.requests) == 2


@pytest.mark.slow
def test_a_copy_in_the_cache_needs_no_torch_and_no_client(server: Hub, tmp_path: Path) -> None:
    content = b"weights" * 1000
    own = registry(tmp_path, server.add(content), content, format="safetensors")
    code = f"""if True:
        import sys
        from eranntag.checkpoints import loading
        print(loading.find("mine", {own!r}).path)
        heavy = {{"torch", "pooch", "requests", "huggingface_hub", "rich"}} & sys.modules.keys()
        print(sorted(heavy))
    """
    printed = [subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True) for _ in range(2)]
    (path, first), (same, second) = (each.stdout.splitlines() for each in printed)
    assert path == same and Path(path).read_bytes() == content
    assert "pooch" in first and second == "[]" and len(server.requests) == 1
    assert all(each.stderr == "" for each in printed)


@pytest.mark.slow
def test_two_processes_at_once(server: Hub, cache: Path, tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    own = registry(tmp_path, server.add(content), content, format="safetensors")
    code = f"from eranntag.checkpoints import loading; print(loading.find('mine', {own!r}).path)"
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = {process.communicate(timeout=60)[0].strip() for process in both}
    assert len(paths) == 1 and Path(paths.pop()).read_bytes() == content and len(files(cache)) == 2


@pytest.mark.slow
def test_given_up_a_process_ends(server: Hub, tmp_path: Path) -> None:
    """Though its thread still waits for a server, which is silent for 10 s."""
    server.answers = [Answer(silent=True)]
    own = registry(tmp_path, server.add(b"x"), b"x", format="safetensors")
    code = f"""if True:
        from eranntag.checkpoints import transfer
        transfer.STALL_SECONDS, transfer.TIMEOUT = 0.3, 60
        import sys
        from eranntag.__main__ import main
        sys.argv = ["eranntag", "checkpoints", "pull", "mine", "--registry", {own!r}]
        main()
    """
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=8)
    assert ended.returncode == 1 and ended.stderr.count("\n") == 1
    assert "mine: cannot fetch" in ended.stderr and "fewer than 32768 bytes in 0.3 s" in ended.stderr


def test_a_file_of_another_form_is_one_line_and_not_kept(server: Hub, panns: bytes, cache: Path, tmp_path: Path) -> None:
    torch.save({"model": {"x": torch.ones(1)}}, tmp_path / "x.pth")
    other = (tmp_path / "x.pth").read_bytes()
    address = server.add(other)
    with pytest.raises(CheckpointError, match=f"^mine: {address}: not the weights of mine: .* missing; correct ") as caught:
        loading.find("mine", registry(tmp_path, address, other))
    assert "\n" not in str(caught.value) and files(cache) == []
    for changed in ({"architecture": "erann-1-6"}, {"classes": 527}):  # found before a download
        server.requests.clear()
        with pytest.raises(CheckpointError, match=r"^mine: published weights are read for cnn14 \(3 classes\)"):
            loading.find("mine", registry(tmp_path, server.add(panns), panns, **changed))
        assert server.requests == []
    assert files(cache) == []


def test_no_code_of_a_published_file_runs(server: Hub, cache: Path, tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "canary"),)

    torch.save({"model": {"x": Hostile()}}, tmp_path / "x.pth")
    content = (tmp_path / "x.pth").read_bytes()
    with pytest.raises(CheckpointError, match="could run code; nothing of it was run"):
        loading.find("mine", registry(tmp_path, server.add(content), content))
    assert not (tmp_path / "canary").exists() and files(cache) == []


def test_another_file_than_the_pinned_one_is_not_received(server: Hub, panns: bytes, tmp_path: Path) -> None:
    """As it was seen of Zenodo: the announced size decides before the body comes."""
    own = registry(tmp_path, server.add(panns + bytes(5_000_000)), panns)
    result = run("checkpoints", "pull", "mine", "--registry", own)
    assert f"sent twice a file of {len(panns) + 5_000_000} bytes, not {len(panns)}" in result.stderr
    assert result.exit_code == 1 and result.stderr.count("\n") == 1


def test_signed_addresses_of_a_redirect_are_not_shown(server: Hub, tmp_path: Path) -> None:
    server.answers = [Answer(302, {"Location": "http://127.0.0.1:1/blob?signature=secret"})]
    own = registry(tmp_path, server.add(b"x"), b"x")
    result = run("checkpoints", "pull", "mine", "--registry", own)
    assert result.exit_code == 1 and "refused" in result.stderr and "secret" not in result.stderr
    with Hub() as storage:
        storage.answers = [Answer(403)]
        server.answers = [Answer(302, {"Location": f"{storage.url}/blob?signature=secret"})]
        result = run("checkpoints", "pull", "mine", "--registry", own)
        assert "HTTP 403" in result.stderr and "secret" not in result.stderr


@pytest.mark.parametrize("kind", ["no folder", "full", "read-only"])
def test_a_cache_that_cannot_be_written(
    kind: str, server: Hub, panns: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "no folder":
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("ERANNTAG_CACHE", str(tmp_path / "file"))
    elif kind == "full":

        def refuse(path: Path) -> None:
            raise OSError(28, "No space left on device", str(path))

        monkeypatch.setattr(atomic, "fsync", refuse)
    elif os.getuid() == 0:
        pytest.skip("root writes anywhere")
    else:
        (tmp_path / "cache").mkdir(mode=0o555)
    result = run("checkpoints", "pull", "mine", "--registry", registry(tmp_path, server.add(panns), panns))
    assert result.exit_code == 1 and result.stderr.count("\n") == 1 and "set ERANNTAG_CACHE" in result.stderr
    assert files(tmp_path / "cache") == []


def test_offline_and_missing_is_an_error_at_once(server: Hub, panns: bytes, cache: Path, tmp_path: Path) -> None:
    own = registry(tmp_path, server.add(panns), panns)
    result = run("predict", "x.wav", "-c", "mine", "--registry", own, "--offline")
    assert result.exit_code == 1 and result.stderr.count("\n") == 1 and server.connections == 0
    for part in ("mine: ", f"{server.url}/weights.pt", str(cache), "offline", "convert FILE --model cnn14"):
        assert part in result.stderr


def test_the_list_shows_where_weights_are(server: Hub, panns: bytes, tmp_path: Path) -> None:
    own = registry(tmp_path, server.add(panns), panns, labels="AudioSet", sample_rate_hz=32000)
    listed = ("checkpoints", "list", "--registry", own)
    line = next(line for line in run(*listed).stdout.splitlines() if line.startswith("mine "))
    assert "AudioSet (3)" in line and "32 kHz" in line and "MIT" in line and line.split()[-1] == "download"
    assert run("checkpoints", "labels", "mine", "--registry", own).stdout.startswith("Speech\nMale speech")  # the set's
    markdown = run(*listed, "--markdown").stdout
    loading.find("mine", own)
    line = next(line for line in run(*listed).stdout.splitlines() if line.startswith("mine "))
    assert line.split()[-1] == "cached"
    assert run(*listed, "--markdown").stdout == markdown
    assert run("checkpoints", "labels", "mine", "--registry", own).stdout.splitlines() == list(LABELS)  # the file's
    shown = run("checkpoints", "show", "mine", "--registry", own).stdout
    assert "source_sha256:" in shown and f"labels:            {', '.join(LABELS)}\n" in shown


def test_labels_are_never_downloaded(server: Hub, panns: bytes, tmp_path: Path) -> None:
    own = registry(tmp_path, server.add(panns), panns)
    result = run("checkpoints", "labels", "mine", "--registry", own)
    assert result.exit_code == 1 and "run `eranntag checkpoints pull mine` first" in result.stderr
    assert server.connections == 0
    assert run("checkpoints", "labels", "erann-2-2-esc50").stdout.splitlines()[:2] == ["dog", "rooster"]
    assert "not published" in run("checkpoints", "labels", "erann-1-6-audioset").stderr


def test_patience_leaves_room_within_30_seconds() -> None:
    assert transfer.TIMEOUT <= transfer.STALL_SECONDS <= 27
    assert transfer.CHUNK_BYTES <= transfer.STALL_BYTES  # or a line that is just fast enough would seem too slow


def test_stopped_a_meter_raises() -> None:
    meter = transfer.ByteCounter(10)
    meter.add(10)
    for count, words in ((1, "more than 10 bytes"), (-1, "cut after 11 bytes")):
        with pytest.raises(transfer.InvalidDownload, match=words):
            meter.add(count)
    meter.stop()
    with pytest.raises(transfer.ConnectionFailed):
        meter.add(1)
