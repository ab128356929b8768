"""Where a process may find itself: no home, no streams, no network, another user, odd locales, signals at any moment."""

import getpass
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from eranntag.checkpoints import weights
from eranntag.cli import cli
from eranntag.files import cache
from eranntag.inference.tagger import Tagger

CHECKOUT = Path(__file__).resolve().parents[1]
BARE = {"PATH": os.defpath, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
SECONDS = 120  # a process that takes longer hangs
connections: list[str] = []
watched = [False]


def _watch(event: str, args: tuple[Any, ...]) -> None:
    if watched[0] and event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        connections.append(f"{event} {args[1:]}")


@pytest.fixture
def no_connection() -> Iterator[None]:
    """Every attempt is seen, whatever library makes it, also one whose error it swallows."""
    if not hasattr(sys, "_eranntag_watch"):
        sys.addaudithook(_watch)  # cannot be taken away
        sys._eranntag_watch = True  # type: ignore[attr-defined]
    connections.clear()
    watched[0] = True
    yield
    watched[0] = False
    assert connections == []


@pytest.fixture
def place(tiny_tagger: Tagger) -> Iterator[Path]:
    """A folder that every user may read and write, with a checkpoint and a sound whose name is not ASCII."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o777)
        weights.save(tiny_tagger.network, place / "tiny.safetensors")
        soundfile.write(place / "clip.wav", np.random.default_rng(0).normal(0, 0.1, 44100), 44100)
        shutil.copy(place / "clip.wav", place / "é.wav")
        yield place


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment whose cache keeps the compiled network, once somebody made it: then a process starts in half a second."""
    return BARE | {"ERANNTAG_CACHE": str(tmp_path_factory.mktemp("cache"))}


def run(*args: str | Path, **options: Any) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args], **options)


def process(*args: str | Path, redirect: str = "", **options: Any) -> subprocess.CompletedProcess[bytes]:
    """`redirect` as a shell understands it."""
    command = ["sh", "-c", f'exec "$@" {redirect}', "sh", sys.executable, "-m", "eranntag", *map(str, args)]
    return subprocess.run(command, capture_output=True, timeout=SECONDS, **{"env": BARE, **options})


def predict(place: Path, *args: str | Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return process("predict", "-c", place / "tiny.safetensors", "--top", "1", *args, **options)


# Promise 10: surroundings.


@pytest.mark.slow
def test_under_cron_as_nobody_in_any_locale(place: Path) -> None:
    """No home, no user of this number, a working folder that is closed, a cache below a file, an encoding without é."""
    names = [place / "é.wav", place / "ü.wav"]
    expected = run(
        "predict", "-c", place / "tiny.safetensors", "--engine", "eager", "--top", "1", "--format", "jsonl", names[0]
    )
    locale = {"LC_ALL": "de_DE.ISO-8859-1", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "COLUMNS": "1", "TERM": "dumb"}
    nobody: dict[str, Any] = {}
    if os.getuid() == 0 and _reachable(sys.executable):
        nobody = {"user": 54321, "group": 54321, "extra_groups": []}
    found = predict(
        place, "--engine", "eager", *names, "--format", "jsonl", env=BARE | locale, cwd="/proc", umask=0o077, **nobody
    )
    assert (found.returncode, found.stdout) == (3, expected.stdout_bytes)
    assert found.stderr.isascii() and found.stderr.endswith(b".wav: no such file\n") and found.stderr.count(b"\n") == 1
    odd = locale | {"HOME": "/nonexistent", "ERANNTAG_CACHE": f"{place}/clip.wav/x", "TMPDIR": "/nonexistent"}
    shown = process("checkpoints", "list", "--registry", _registry(place), env=BARE | odd, cwd="/proc", **nobody)
    assert (shown.returncode, shown.stderr) == (0, b"") and "café".encode() in shown.stdout


def _reachable(path: str) -> bool:
    """By every user?"""
    return all(parent.stat().st_mode & 0o001 for parent in Path(path).resolve().parents)


def _registry(place: Path) -> Path:
    row = 'title = "T"\narchitecture = "erann-2-1"\nclasses = 4\nweights = "x"\n'
    (place / "own.toml").write_text(f'[checkpoints."café"]\n{row}')
    return place / "own.toml"


def test_the_cache_is_where_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ERANNTAG_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.folder() == tmp_path / ".cache" / "eranntag"
    temporary = Path(tempfile.gettempdir()) / f"eranntag-{os.getuid()}"
    for home in ("/nonexistent", "/", str(tmp_path / "file"), "relative"):
        (tmp_path / "file").touch()
        monkeypatch.setenv("HOME", home)
        assert cache.folder() == temporary
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", _nobody)
    assert cache.folder() == temporary
    with pytest.raises(KeyError):
        getpass.getuser() if not any(map(os.environ.get, ("LOGNAME", "USER", "LNAME", "USERNAME"))) else _nobody(0)
    monkeypatch.setattr(tempfile, "gettempdir", _no_temporary)
    assert cache.folder() == Path("/tmp") / f"eranntag-{os.getuid()}"


def _nobody(number: int) -> Any:
    raise KeyError(number)


def _no_temporary() -> Any:
    raise FileNotFoundError("No usable temporary directory found")


@pytest.mark.slow
def test_several_at_once_fill_one_cache(place: Path, warm: dict[str, str]) -> None:
    """With the engine that keeps compiled networks."""
    pytest.importorskip("openvino")
    command = [sys.executable, "-m", "eranntag", "predict", "-c", str(place / "tiny.safetensors"), "--format", "jsonl"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    running = [subprocess.Popen([*command, str(place / "clip.wav")], env=warm, **pipes) for _ in range(2)]
    outputs = {(*each.communicate(timeout=SECONDS), each.returncode) for each in running}
    assert len(outputs) == 1 and next(iter(outputs))[1:] == (b"", 0)
    assert len(list(Path(warm["ERANNTAG_CACHE"], "compiled").iterdir())) == 1


# Promise 1: streams, exit codes, signals.


@pytest.mark.slow
def test_closed_streams(place: Path, warm: dict[str, str]) -> None:
    clip, out = place / "clip.wav", place / "out.jsonl"
    closed = predict(place, clip, "-", "--format", "jsonl", "-o", out, redirect="<&- >&- 2>&-", env=warm)
    assert closed.returncode == 3  # standard input is empty
    assert [json.loads(line)["source"] for line in out.read_text().splitlines()] == [str(clip)]
    mute = predict(place, clip, "missing.wav", redirect="2>&-", env=warm)
    assert (mute.returncode, mute.stdout.count(b"\n")) == (3, 2)
    lost = predict(place, clip, redirect=">&-", env=warm)
    assert (lost.returncode, lost.stdout) == (1, b"")
    assert lost.stderr == b"eranntag: error: standard output cannot be written (Bad file descriptor); see where it goes\n"


@pytest.mark.parametrize("args", ["checkpoints list", "--help"])
def test_a_full_disk_behind_standard_output_is_one_line(args: str) -> None:
    full = process(*args.split(), redirect="> /dev/full")
    assert (full.returncode, full.stderr.count(b"\n")) == (1, 1)
    assert b"No space left on device" in full.stderr


@pytest.mark.slow
def test_a_pipe_that_was_closed_before_the_start(place: Path, warm: dict[str, str]) -> None:
    pytest.importorskip("PIL")
    reading, writing = os.pipe()
    os.close(reading)
    try:
        page = (
            "predict",
            "-c",
            place / "tiny.safetensors",
            "--engine",
            "eager",
            place / "clip.wav",
            "--format",
            "csv",
            "--plot",
        )
        for args in (("--help",), (*page, place / "page.html")):
            command = [sys.executable, "-m", "eranntag", *map(str, args)]
            done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, env=warm, timeout=SECONDS)
            assert (done.returncode, done.stderr) == (0, b"")
    finally:
        os.close(writing)
    assert "clip.wav" in (place / "page.html").read_text() and "Incomplete" not in (place / "page.html").read_text()


@pytest.mark.kill
def test_a_signal_at_any_moment_is_no_traceback(place: Path) -> None:
    """Also while libraries are imported. Before Python has come to this package it ends in its own way."""
    (place / "names").write_text(f"{place}/clip.wav\n" * 10_000)
    command = [sys.executable, "-m", "eranntag", "predict", "--files-from", str(place / "names"), "--format", "jsonl"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for number, wait in ((2, 0.12), (2, 0.25), (15, 0.3), (2, 0.4), (2, 0.6)):
            running = subprocess.Popen(command, env=BARE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            time.sleep(wait)
            running.send_signal(number)
            said = running.communicate(timeout=SECONDS)[1]
            if b"<frozen runpy>" not in said:  # that is Python's own start, which a busy machine makes long
                assert (running.returncode, said) in [(128 + number, b""), (130, b"eranntag: interrupted\n")]
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.kill
def test_a_signal_that_a_library_swallows_comes_again() -> None:
    """In a destructor, where Python drops it, and behind an error that is something else."""
    script = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background inherits that it is ignored
from eranntag.cli import _process, cli
import click
class Dropping:
    def __del__(self): os.kill(os.getpid(), NUMBER); time.sleep(0)
@cli.command()
def swallow():
    Dropping()
    try: os.kill(os.getpid(), NUMBER); time.sleep(0.5)
    except BaseException: pass
    time.sleep(20)
cli.get_command = lambda *_: swallow
sys.argv = ["eranntag", "swallow"]
_process.run()
"""
    for number in (signal.SIGINT, signal.SIGTERM):
        text = script.replace("NUMBER", str(int(number)))
        done = subprocess.run([sys.executable, "-c", text], env=BARE, capture_output=True, timeout=15)
        assert (done.returncode, b"Traceback" in done.stderr) == (128 + number, False)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (MemoryError(), 1, "not enough memory"),
        (RecursionError("deep"), 1, "RecursionError: deep"),
        (RuntimeError("first\nsecond"), 1, "RuntimeError: first (--debug"),
        (OSError(28, "No space left on device", "x\n"), 1, "No space left on device"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (BrokenPipeError(), 0, ""),
    ],
)
def test_whatever_is_raised_is_a_line_and_an_exit_code(
    error: BaseException, code: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("eranntag.checkpoints.catalog.load_catalog", fail)
    result = run("checkpoints", "list")
    assert (result.exit_code, result.stdout) == (code, "")
    assert words in result.stderr and result.stderr.count("\n") == (1 if words else 0)


@pytest.mark.parametrize(
    ("args", "code"),
    [
        ("predict -c TINY CLIP", 0),
        ("predict -c TINY CLIP missing.wav", 3),
        ("predict -c TINY missing.wav", 1),
        ("predict -c TINY .", 1),
        ("predict", 2),
        ("predict -c nobody CLIP", 2),
        ("predict -c missing.safetensors CLIP", 1),
        ("predict -c CLIP CLIP", 1),
        ("predict -c TINY CLIP --files-from missing", 2),
        ("predict -c TINY --files-from empty", 1),
        ("predict -c TINY CLIP --resume", 2),
        ("predict -c TINY CLIP -o CLIP", 2),
        ("", 2),
        ("checkpoints", 0),
        ("data", 2),
        ("nothing", 2),
        ("--nothing", 2),
        ("--version", 0),
        ("checkpoints list --registry missing.toml", 1),
        ("evaluate esc50 --data nowhere", 1),
        ("plot nowhere", 2),
    ],
)
def test_exit_codes(
    args: str, code: int, place: Path, warm: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ERANNTAG_CACHE", warm["ERANNTAG_CACHE"])
    monkeypatch.chdir(tmp_path)
    Path("empty").touch()
    words = {"TINY": str(place / "tiny.safetensors"), "CLIP": str(place / "clip.wav")}
    result = run(*(words.get(word, word) for word in args.split()))
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output


# Promise 8: nothing connects.


@pytest.mark.slow
def test_no_command_connects(
    place: Path, tmp_path: Path, wav: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, no_connection: None
) -> None:
    """Each with a local checkpoint; the engine as it is chosen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ERANNTAG_CACHE", str(tmp_path / "cache"))
    for label in ("dog", "rain"):
        (tmp_path / "sounds" / label).mkdir(parents=True)
        for number in range(2):
            shutil.copy(place / "clip.wav", tmp_path / "sounds" / label / f"{number}.wav")
    tiny, clip = place / "tiny.safetensors", place / "clip.wav"
    folder = "train folder --data sounds --model erann-2-1 --iterations 1 --batch 2 --out run --workers 1"
    run_one = f"{folder} --set crop_seconds=1".split()
    for args in (
        ("predict", "-c", tiny, clip),
        ("predict", "-c", tiny, clip, "--engine", "eager", "--plot", "page.html"),
        ("detect", "-c", tiny, clip, "--offline", "--engine", "eager"),
        ("checkpoints",),
        ("checkpoints", "--papers"),
        ("checkpoints", "labels", "cnn14-audioset"),
        ("checkpoints", "show", "cnn14-audioset"),
        ("checkpoints", "show", tiny),
        ("checkpoints", "verify", tiny),
        ("bench", "--help"),
        ("export", tiny, "--format", "openvino", "-o", "tiny.xml"),
        run_one,
    ):
        result = run(*args)
        assert result.exit_code == 0, (args, result.output)


def test_offline_is_an_error_at_once(tmp_path: Path, no_connection: None) -> None:
    remote = "hf:nobody/nothing@" + "0" * 40 + "/x.safetensors"
    row = f'[checkpoints.far]\ntitle = "Far"\narchitecture = "erann-2-1"\nclasses = 4\nweights = "{remote}"\n'
    row += f'sha256 = "{"0" * 64}"\n'
    (tmp_path / "own.toml").write_text(row)
    environment = {"ERANNTAG_CACHE": str(tmp_path / "cache")}
    started = time.monotonic()
    result = run("predict", "-c", "far", "--registry", tmp_path / "own.toml", "--offline", "x.wav", env=environment)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1) and "offline" in result.stderr
    assert time.monotonic() - started < 5
