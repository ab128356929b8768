"""Documents that survive whoever writes them: killed, interrupted, on a full disk; and what --output refuses."""

import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from eranntag.cli import cli
from eranntag.cli.display import predictions
from eranntag.errors import EranntagError, UsageError
from eranntag.files import lock
from eranntag.inference.tagger import Tagger
from eranntag.results import formats
from eranntag.results.journal import Journal
from eranntag.results.resumable_file import ResumableFile
from eranntag.results.resumable_folder import ResumableFolder
from eranntag.types import Failure, Prediction

FORMS = ("table", "json", "jsonl", "csv")
SETTINGS = {"command": "predict", "--top": 5, "--threshold": None}
ODD = ["plain.wav", "two\nlines.wav", os.fsdecode(b"caf\xe9.wav"), 'qu"ote,.wav', "plain.wav", "last.wav"]
NAMES = [f"{number}-{name}" for number in range(4) for name in ODD]

CHECKOUT = Path(__file__).resolve().parents[1]

# Written by this process: `stop` is raised before the name of that index.


def prediction(name: str) -> Prediction:
    scores = np.random.default_rng(zlib.crc32(os.fsencode(name))).random(3).astype(np.float32)
    return Prediction(("dog", "rain", "door, slamming"), scores, 1.5, name, "tiny")


def write(
    path: Path,
    form: str,
    names: Sequence[str] = NAMES,
    stop: tuple[int, BaseException] | None = None,
    settings: dict[str, Any] = SETTINGS,
    **opening: bool,
) -> None:
    with ResumableFile.open(path, formats.BEGINNINGS.get(form, b""), **opening) as run:
        run.begin(settings)
        with predictions.document(form, run, 5, 0.0) as show:
            for index, name in enumerate(run.remaining(names)):
                if stop and index == stop[0]:
                    raise stop[1]
                show(prediction(name))


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "tags"


@pytest.fixture
def whole(form: str, tmp_path: Path) -> bytes:
    write(tmp_path / "undisturbed", form)
    return (tmp_path / "undisturbed").read_bytes()


def beside(out: Path) -> list[str]:
    return sorted(os.listdir(out.parent))


def killed(out: Path, form: str) -> None:
    """As a run that was killed after all records and before the end leaves it."""
    with ResumableFile.open(out, overwrite=True) as run:
        run.begin(SETTINGS)
        style = predictions.document(form, run, 5, 0.0)
        with pytest.raises(RuntimeError), style as show:
            for name in NAMES:
                show(prediction(name))
            raise RuntimeError


def test_what_is_written_at_the_end_is_all_that_stays(form: str, whole: bytes, out: Path) -> None:
    write(out, form, resume=True)  # there is nothing to go on with
    assert out.read_bytes() == whole and beside(out) == ["tags"]


@pytest.mark.parametrize("done", [0, 1, 7])
def test_after_an_error_or_an_interruption_nothing_is_lost(form: str, whole: bytes, out: Path, done: int) -> None:
    with pytest.raises(ZeroDivisionError):
        write(out, form, stop=(done, ZeroDivisionError()))
    assert beside(out) == (["tags.journal", "tags.partial"] if done else [])
    with pytest.raises(KeyboardInterrupt):
        write(out, form, stop=(3, KeyboardInterrupt()), resume=True)
    assert beside(out) == ["tags", "tags.journal"]
    if form == "json":
        document = json.loads(out.read_text())
        assert document["complete"] is False and len(document["results"]) == done + 3
    else:
        assert whole.startswith(out.read_bytes())
    with pytest.raises(UsageError, match=rf"tags holds {done + 3} results of an interrupted run: --resume .*--overwrite"):
        write(out, form)
    write(out, form, resume=True)
    assert out.read_bytes() == whole and beside(out) == ["tags"]


def test_any_two_torn_files_are_gone_on_with(form: str, whole: bytes, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal behind the records, ahead of them, torn, followed by rubbish; zeros where a disk lost records."""
    killed(out, form)
    partial, lines = out.with_name("tags.partial"), out.with_name("tags.journal")
    whole_partial, whole_lines = partial.read_bytes(), lines.read_bytes()
    assert whole.startswith(whole_partial)
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    chance, first = random.Random(form), whole_lines.index(b"\n")
    for case in range(60):
        size, length = chance.randint(0, len(whole_partial)), chance.randint(0, len(whole_lines))
        zeros, rubbish = bytes(chance.choice([0, 0, 300])), chance.choice([b"", b"\0\0\0", b"[1, 2]\n", b'{"a'])
        if length <= first or case < 3:  # the first line is on the disk before anything else
            size, length, zeros, rubbish = 0, min(length, first), b"", b""
        partial.write_bytes(whole_partial[:size] + zeros)
        lines.write_bytes(whole_lines[:length] + rubbish)
        write(out, form, resume=True, overwrite=case % 2 == 0)
        assert out.read_bytes() == whole, (size, length, zeros)
        assert beside(out) == ["tags"]
        out.unlink()


def test_names_count_as_often_as_they_were_written(out: Path) -> None:
    names = ["a", "b", "a", "a"]
    with pytest.raises(ZeroDivisionError):
        write(out, "jsonl", names, stop=(2, ZeroDivisionError()))
    with ResumableFile.open(out, resume=True) as run:
        missing = Failure("folder", "no sound files in this folder")
        assert list(run.remaining([None, "c", "a", missing, "b", "a", "b", "a"])) == [None, "c", missing, "a", "b", "a"]


def test_what_failed_is_tried_again(out: Path) -> None:
    with ResumableFile.open(out) as run:
        run.begin(SETTINGS)
        with pytest.raises(ZeroDivisionError), predictions.document("jsonl", run, 5, 0.0) as show:
            assert show(Failure("a", "no such file"))
            assert not show(prediction("b"))
            raise ZeroDivisionError
    write(out, "jsonl", ["a", "b"], resume=True)
    assert [json.loads(line)["source"] for line in out.read_text().splitlines()] == ["b", "a"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({**SETTINGS, "--top": 3}, "begun with --top 5, now --top 3; use another --output, or --overwrite"),
        ({**SETTINGS, "--threshold": ["0.3", "rain=0.5"]}, "begun with no --threshold, now --threshold 0.3, rain=0.5"),
        ({**SETTINGS, "schema": 2}, "begun with no schema, now schema 2"),
    ],
)
def test_other_settings_are_refused_by_name(settings: dict[str, Any], words: str, out: Path) -> None:
    for stop in (ZeroDivisionError(), KeyboardInterrupt()):
        with pytest.raises(type(stop)):
            write(out, "json", stop=(2, stop), overwrite=True)
        before = {name: out.with_name(name).read_bytes() for name in beside(out)}
        with pytest.raises(UsageError) as refusal:
            write(out, "json", settings=settings, resume=True)
        assert f"{out}.journal: " in str(refusal.value) and words in str(refusal.value)
        assert {name: out.with_name(name).read_bytes() for name in beside(out)} == before
    write(out, "json", settings=settings, overwrite=True)
    assert beside(out) == ["tags"]


def test_what_was_changed_since_is_not_gone_on_with(out: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(out, "jsonl", stop=(2, KeyboardInterrupt()))
    out.write_bytes(out.read_bytes().replace(b"plain", b"PLAIN"))
    for resume in (False, True):
        with pytest.raises(UsageError, match="was changed since its run was interrupted"):
            write(out, "jsonl", resume=resume)
    assert b"PLAIN" in out.read_bytes()


def test_what_is_finished_is_not_gone_on_with(out: Path) -> None:
    write(out, "csv")
    before = out.read_bytes()
    with pytest.raises(UsageError, match="tags: is there and finished; remove it, use another --output, or add --overwrite"):
        write(out, "csv", resume=True)
    assert out.read_bytes() == before and beside(out) == ["tags"]
    write(out, "csv", ["other"], resume=True, overwrite=True)
    assert out.read_bytes() != before


@pytest.mark.parametrize("form", FORMS)
def test_only_an_earlier_result_is_replaced_unasked(form: str, out: Path) -> None:
    others = [b"my thesis\n", b"{}\n", b"source;seconds\n", b"\0"]
    for content in (*others, *([b"a.wav  1.0 s\n"] if form == "table" else [])):
        out.write_bytes(content)
        with pytest.raises(UsageError, match="is not an earlier result in this format; --overwrite replaces it"):
            write(out, form)
        assert out.read_bytes() == content and beside(out) == ["tags"]
    write(out, form, overwrite=True)
    if form != "table":
        write(out, form)
    out.write_bytes(b"")
    out.chmod(0o640)
    write(out, form)
    assert out.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("kind", ["partial", "journal"])
def test_a_file_of_somebody_elses_stays(kind: str, out: Path) -> None:
    out.with_name(f"tags.{kind}").write_text("mine")
    with pytest.raises(UsageError, match=rf"tags\.{kind}: is of no interrupted run of tags; move it away"):
        write(out, "json")
    with pytest.raises(UsageError, match="move it away"):
        write(out, "json", overwrite=True)
    assert beside(out) == [f"tags.{kind}"] and out.with_name(f"tags.{kind}").read_text() == "mine"


@pytest.mark.parametrize("kind", ["partial", "journal"])
@pytest.mark.parametrize("make", ["symlink", "link", "dangling", "folder", "pipe"])
def test_what_is_no_file_of_its_own_is_not_written_through(kind: str, make: str, out: Path, tmp_path: Path) -> None:
    side, other = out.with_name(f"tags.{kind}"), tmp_path / "other"
    other.write_text("mine")
    if make == "link":
        os.link(other, side)
    elif make == "folder":
        side.mkdir()
    elif make == "pipe":
        os.mkfifo(side)
    else:
        side.symlink_to(other if make == "symlink" else tmp_path / "nothing")
    for options in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(EranntagError, match=rf"tags\.{kind}: .*(another place|another --output)"):
            write(out, "json", **options)
    assert other.read_text() == "mine" and beside(out) == [f"tags.{kind}"] and not (tmp_path / "nothing").exists()


def test_a_run_that_was_killed_at_once_is_in_nobodys_way(out: Path) -> None:
    """Both files are made before the first line."""
    for name in ("tags.partial", "tags.journal"):
        out.with_name(name).touch()
    write(out, "json")
    assert beside(out) == ["tags"]


def test_a_link_is_written_through(out: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(out)
    write(tmp_path / "link", "json")
    assert (tmp_path / "link").is_symlink() and beside(out) == ["tags"]


def test_one_output_has_one_writer(out: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(out)
    with ResumableFile.open(out):
        for path in (out, tmp_path / "link"):
            with pytest.raises(EranntagError, match=r"tags\.journal: another process is writing; wait"):
                write(path, "json", resume=True)
    write(out, "json")


def test_a_lock_that_was_removed_meanwhile_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits to open a file may get one that its last holder removes."""
    taken, path, calls = lock.try_lock, tmp_path / "lock", []

    def late(handle: int) -> bool:
        calls.append(handle)
        if len(calls) == 1:
            path.unlink()
        return taken(handle)

    monkeypatch.setattr(lock, "try_lock", late)
    with lock.open_locked(path), pytest.raises(EranntagError), lock.open_locked(path):
        pass
    assert len(calls) == 3


@pytest.fixture
def limited() -> Iterator[Callable[[int], None]]:
    """`limited(size)`: no file may grow beyond it, as if the disk were full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 5, 400, 901])
def test_a_full_disk_leaves_whole_records(
    form: str, whole: bytes, out: Path, size: int, limited: Callable[[int], None]
) -> None:
    limited(size)
    try:
        with pytest.raises(EranntagError, match=r"tags\.partial: cannot be written \(File too large\)"):
            write(out, form)
    finally:
        limited(resource.RLIM_INFINITY)
    assert beside(out) == ([] if size < 100 else ["tags.journal", "tags.partial"])
    left = out.with_name("tags.partial").read_bytes() if size > 100 else b""
    assert whole.startswith(left) and len(left) <= size
    write(out, form, resume=True)
    assert out.read_bytes() == whole and beside(out) == ["tags"]


def test_names_of_a_long_run_are_cheap(out: Path) -> None:
    number = 20_000
    end = [
        json.dumps([index, zlib.crc32(b"x" * index), f"recordings/of/a/long/night/{index:08}.wav"]) for index in range(1, 11)
    ]
    crc, lines = zlib.crc32(b"x" * 10), []
    for index in range(11, number + 1):
        crc = zlib.crc32(b"x", crc)
        lines.append(f'[{index}, {crc}, "recordings/of/a/long/night/{index:08}.wav"]')
    out.with_name("tags.journal").write_text("\n".join([json.dumps(SETTINGS), *end, *lines, ""]))
    out.with_name("tags.partial").write_bytes(b"x" * number)
    del lines
    tracemalloc.start()
    with ResumableFile.open(out, resume=True) as run:
        assert run.records == number
        peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200 * number


# Written by processes that are killed.

WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_journal import NAMES, SETTINGS, ResumableFile, prediction, predictions
with ResumableFile.open(Path(sys.argv[2])) as run:
    run.begin(SETTINGS)
    with predictions.document(sys.argv[3], run, 5, 0.0) as show:
        while True:
            for name in NAMES:
                show(prediction(name))
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """`start(*args)`: a Python process, which ends with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(*args: str, **pipes: Any) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}  # as here: sums are the same
        started.append(subprocess.Popen([sys.executable, *args], env=environment, **pipes))
        return started[-1]

    yield begin
    for each in started:
        each.kill()
        each.wait()
        if each.stdin:
            each.stdin.close()


def lines_of(path: Path) -> list[str]:
    """The whole ones."""
    return path.read_text().split("\n")[:-1] if path.exists() else []


def grown(path: Path, size: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not (path.exists() and path.stat().st_size >= size):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.kill
def test_a_killed_writer_leaves_what_the_next_goes_on_with(form: str, out: Path, start: Callable[..., Any]) -> None:
    process = start("-c", WRITER, str(Path(__file__).parent), str(out), form)
    grown(out.with_name("tags.partial"), random.randint(1000, 20_000), process)
    with pytest.raises(EranntagError, match="another process is writing"):
        write(out, form, resume=True)
    process.kill()
    process.wait()
    assert beside(out) == ["tags.journal", "tags.partial"]
    names = NAMES * (out.with_name("tags.journal").read_bytes().count(b"\n") // len(NAMES) + 1)
    with pytest.raises(UsageError, match="results of an interrupted run"):
        write(out, form, names)
    write(out, form, names, resume=True)
    resumed = out.read_bytes()
    write(out, form, names, overwrite=True)
    assert out.read_bytes() == resumed and beside(out) == ["tags"]


# The commands.


@pytest.fixture
def model(tiny_tagger: Tagger, tmp_path: Path) -> str:
    from eranntag.checkpoints import weights  # not above: the processes that are killed need no torch

    weights.save(tiny_tagger.network, tmp_path / "tiny.safetensors")  # type: ignore[attr-defined]
    return str(tmp_path / "tiny.safetensors")


@pytest.fixture
def clips(wav: Callable[..., Path]) -> list[str]:
    noise = np.random.default_rng(0).normal(0, 0.1, (5, 22050))
    return [str(wav(f"clip{index}.wav", waveform)) for index, waveform in enumerate(noise)]


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


def listed(names: list[str], folder: Path) -> Path:
    (folder / "names.txt").write_text("\n".join(names))
    return folder / "names.txt"


@pytest.mark.kill
def test_a_killed_predict_is_gone_on_with(
    model: str, clips: list[str], out: Path, tmp_path: Path, start: Callable[..., Any]
) -> None:
    how = ("-c", model, "--engine", "eager", "--format", "json", "-o", str(out))
    process = start("-m", "eranntag", "predict", *how, "--files-from", "-", stdin=subprocess.PIPE)
    process.stdin.write("".join(f"{name}\n" for name in clips[:3]).encode())
    process.stdin.flush()
    deadline = time.monotonic() + 120
    while not any(clips[0] in line for line in lines_of(out.with_name("tags.journal"))):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    second = run("predict", *how, *clips, "--resume")
    assert second.exit_code == 1 and "another process is writing" in second.stderr and second.stderr.count("\n") == 1
    process.send_signal(signal.SIGKILL)
    process.wait()
    names = listed([*clips, "nowhere.wav"], tmp_path)
    assert run("predict", *how, "--files-from", names).exit_code == 2
    result = run("predict", *how, "--files-from", names, "--resume")
    assert (result.exit_code, result.stderr) == (3, "eranntag: nowhere.wav: no such file\n")
    undisturbed = run("predict", *how[:-2], *clips)
    assert out.read_text() == undisturbed.stdout and beside(out) == ["tags"]


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`interrupted(*args)`: the command, which is interrupted after two results."""
    from eranntag.inference import pipeline as predicting

    def two(*args: Any) -> Iterator[Any]:
        results = predicting_all(*args)
        yield next(results)
        yield next(results)
        raise KeyboardInterrupt

    predicting_all = predicting.predict

    def begin(*args: str | Path) -> Result:
        with monkeypatch.context() as patch:
            patch.setattr(predicting, "predict", two)
            return run(*args)

    return begin


@pytest.mark.slow
def test_other_options_and_weights_are_refused(
    model: str, clips: list[str], out: Path, interrupted: Callable[..., Result], tiny_tagger: Tagger
) -> None:
    from eranntag.checkpoints import weights

    how = ("predict", "-c", model, "--engine", "eager", *clips, "-o", out)
    assert interrupted(*how, "--threshold", "dog=0.1").exit_code == 130
    for options, words in (
        (("--format", "csv"), "begun with --format table, now --format csv"),
        (("--top", "3", "--threshold", "dog=0.1"), "begun with --top 5, now --top 3"),
        ((), "begun with --threshold dog=0.1, now no --threshold"),
        (("--threshold", "dog=0.1", "--dtype", "float32"), "begun with --dtype auto, now --dtype float32"),
    ):
        result = run(*how, "--resume", *options)
        assert result.exit_code == 2 and words in result.stderr and result.stderr.count("\n") == 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eranntag.__version__", "99.0")
        refused = run(*how, "--resume", "--threshold", "dog=0.1")
    assert refused.exit_code == 2 and ", now eranntag 99.0; use another --output" in refused.stderr
    refused = run("detect", *how[1:], "--resume")
    assert refused.exit_code == 2 and "begun with command predict, now command detect" in refused.stderr
    kept = Path(model).read_bytes()
    tiny_tagger.network.model.fc2.bias.data += 1  # type: ignore[attr-defined]
    weights.save(tiny_tagger.network, Path(model))  # type: ignore[attr-defined]
    other = run(*how, "--resume", "--threshold", "dog=0.1")
    assert other.exit_code == 2 and "begun with SHA-256 " in other.stderr
    Path(model).write_bytes(kept)
    assert run(*how, "--resume", "--threshold", "dog=0.1").exit_code == 0
    assert out.read_text() == run(*how[:-2], "--threshold", "dog=0.1").stdout


@pytest.mark.slow
def test_what_the_journal_says_of_the_weights_is_what_was_loaded(
    model: str, clips: list[str], out: Path, interrupted: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    from eranntag.checkpoints import loading

    found: list[Any] = []
    find = loading._find
    monkeypatch.setattr(loading, "_find", lambda *arguments: found.append(arguments) or find(*arguments))
    assert interrupted("predict", "-c", model, "--engine", "eager", *clips, "-o", out).exit_code == 130
    assert len(found) == 1, "a second look could find other weights, and ask the hub again"
    begun = json.loads(lines_of(out.with_name("tags.journal"))[0])
    assert begun["SHA-256"] == [hashlib.sha256(Path(model).read_bytes()).hexdigest()]


@pytest.mark.slow
def test_an_interrupted_detect_is_gone_on_with(
    model: str, clips: list[str], out: Path, interrupted: Callable[..., Result]
) -> None:
    how = ("detect", "-c", model, "--engine", "eager", *clips, "--threshold", "0.3", "--format", "json")
    assert interrupted(*how, "-o", out).exit_code == 130
    document = json.loads(out.read_text())
    assert document["complete"] is False and len(document["results"]) == 2
    refused = run(*how, "-o", out, "--resume", "--merge-gap", "1")
    assert refused.exit_code == 2 and "begun with no --merge-gap, now --merge-gap 1.0" in refused.stderr
    assert run(*how, "-o", out, "--resume").exit_code == 0
    assert out.read_text() == run(*how).stdout


def test_a_folder_is_gone_on_with(model: str, clips: list[str], tmp_path: Path, interrupted: Callable[..., Result]) -> None:
    how = ("detect", "-c", model, "--engine", "eager", *clips, "--threshold", "0", "--format", "csv", "--output-dir")
    folder, undisturbed = tmp_path / "events", tmp_path / "undisturbed"
    assert run(*how, undisturbed).exit_code == 0
    assert interrupted(*how, folder).exit_code == 130
    assert sorted(os.listdir(folder)) == [".eranntag.journal", "clip0.csv", "clip1.csv"]
    refused = run(*how, folder, "--resume", "--median", "1")
    assert refused.exit_code == 2 and "begun with no --median, now --median 1.0; use another --output-dir" in refused.stderr
    (folder / "clip0.csv").unlink()
    (folder / "clip1.csv").write_text("is not written again")
    with open(folder / ".eranntag.journal", "a") as journal_file:
        journal_file.write('["clip2.csv", "torn')
    for _ in range(2):  # the second time nothing is left to do
        result = run(*how, folder, "--resume")
        assert (result.exit_code, result.stderr) == (0, "")
    assert (folder / "clip1.csv").read_text() == "is not written again"
    for name in ("clip0.csv", *(f"clip{index}.csv" for index in range(2, 5)), ".eranntag.journal"):
        assert sorted((folder / name).read_text().splitlines()) == sorted((undisturbed / name).read_text().splitlines())


def test_a_folder_leaves_files_of_others_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a kill came between a file and its line, and where a run was begun anew since."""
    (tmp_path / "theirs.txt").write_text("notes")
    (tmp_path / "link.txt").symlink_to("nowhere")

    def write(*names: str, **opening: bool) -> list[str]:
        with ResumableFolder.open(tmp_path, **opening) as folder:
            folder.begin(SETTINGS)
            return [folder.write(f"{name}.txt", f"{name}.wav", b"new") for name in names]

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    refusals = write("theirs", "link", "one")
    assert [refusal.partition("; ")[2] for refusal in refusals] == 2 * ["use another --output-dir, or --overwrite"] + [""]
    assert "theirs.txt is there, and of no earlier run" in refusals[0]
    with monkeypatch.context() as patch:
        append = Journal.append
        patch.setattr(Journal, "append", lambda *entry: (killed if "two.wav" in entry[1] else append)(*entry))
        with pytest.raises(KeyboardInterrupt):
            write("two", resume=True)
    assert (tmp_path / "two.txt").read_text() == "new"
    assert write() == [] and write("two", resume=True) == [""]
    assert write("one", "two") == ["", ""], "a run that is begun anew knows what those before it made"
    assert (tmp_path / "theirs.txt").read_text() == "notes" and not (tmp_path / "nowhere").exists()
    assert write("theirs", overwrite=True) == [""] and (tmp_path / "theirs.txt").read_text() == "new"


def test_a_folder_has_one_writer_and_no_file_of_it_is_an_input(model: str, clips: list[str], tmp_path: Path) -> None:
    sound = shutil.copy(clips[0], tmp_path / "sound.txt")
    how = ("detect", "-c", model, "--engine", "eager", "--format", "audacity", "--output-dir", tmp_path)
    result = run(*how, sound)
    assert (result.exit_code, result.stderr) == (1, f"eranntag: {sound}: its file in --output-dir would be itself\n")
    assert Path(sound).read_bytes() == Path(clips[0]).read_bytes()
    with ResumableFolder.open(tmp_path):
        result = run(*how, *clips)
    assert result.exit_code == 1 and "another process is writing" in result.stderr
    assert run(*how[:-1], tmp_path / "new", "-c", "nowhere.safetensors", *clips).exit_code != 0
    assert os.listdir(tmp_path / "new") == []


def test_a_run_of_which_only_the_last_step_is_missing_is_finished(model: str, clips: list[str], out: Path) -> None:
    """Killed after the document got its name and before its journal went."""
    how = ("predict", "-c", model, "--engine", "eager", *clips[:1], "--format", "json", "-o", out)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ResumableFile, "_remove_journal", lambda self: None)
        assert run(*how).exit_code == 0
    before = out.read_bytes()
    result = run(*how, "--resume")
    assert (result.exit_code, result.stderr) == (0, "")
    assert out.read_bytes() == before and beside(out) == ["tags"]


def test_an_input_is_no_output(model: str, clips: list[str], tmp_path: Path) -> None:
    sound, names = tmp_path / "sound", tmp_path / "names"
    shutil.copy(clips[0], sound)
    names.write_text(f"{clips[0]}\n{sound}\n")
    os.symlink(sound, tmp_path / "link")
    for args in ((sound, "-o", sound), (tmp_path / "link", "-o", sound), (sound, "-o", tmp_path / "link")):
        result = run("predict", "-c", model, *args, "--overwrite")
        assert result.exit_code == 2 and "is an input, too; it is not overwritten" in result.stderr
    result = run("predict", "-c", model, "--files-from", names, "-o", names, "--overwrite")
    assert result.exit_code == 2 and "is an input" in result.stderr and names.read_text().endswith(f"{sound}\n")
    result = run("predict", "-c", model, "--files-from", names, "-o", sound)
    assert result.exit_code == 2 and "is not an earlier result" in result.stderr
    assert sound.read_bytes() == Path(clips[0]).read_bytes()
    result = run("predict", "-c", model, "--files-from", names, "-o", sound, "--overwrite", "--engine", "eager")
    assert (result.exit_code, result.stderr) == (3, f"eranntag: {sound}: is the --output of this run\n")


@pytest.mark.parametrize(
    "options",
    [
        ["--resume"],
        ["--overwrite"],
        ["--output", "-"],
        ["--files-from", "/dev/zero"],
        ["-o", "x", "--resume", "--plot", "x.png"],
    ],
)
def test_options_that_make_no_sense(options: list[str], model: str, clips: list[str]) -> None:
    for command in ("predict", "detect"):
        result = run(command, "-c", model, clips[0], *options)
        assert (
            result.exit_code == 2
            and next(each for each in options if each.startswith("--")) in result.stderr
            and result.stdout == ""
        )
