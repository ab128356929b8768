"""The command line: streams, exit codes, files. Real processes where the operating system takes part."""

import csv
import dataclasses
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

import eranntag
from eranntag.checkpoints import catalog, weights
from eranntag.cli import cli
from eranntag.inference.tagger import Tagger
from eranntag.types import Checkpoint

CHECKOUT = Path(__file__).resolve().parents[1]
LABELS = ("dog", "rain", "[/bold]", "siren", "wind", "bell", "train")
HEAVY = {"torch", "numpy", "rich", "soundfile"}
SECONDS = 120  # a process that takes longer hangs


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder, and nothing of the user's."""
    for name in ("ERANNTAG_REGISTRY", "ERANNTAG_DATA", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def tiny_checkpoint(tiny_checkpoint: Checkpoint) -> Checkpoint:
    return dataclasses.replace(tiny_checkpoint, labels=LABELS)


@pytest.fixture
def model(tiny_tagger: Tagger, tmp_path: Path) -> str:
    weights.save(tiny_tagger.network, tmp_path / "tiny.safetensors")
    return str(tmp_path / "tiny.safetensors")


@pytest.fixture
def clip(wav: Callable[..., Path]) -> str:
    return str(wav("clip.wav", np.random.default_rng(0).normal(0, 0.1, 44100)))


@pytest.fixture
def broken(tmp_path: Path) -> str:
    (tmp_path / "broken.wav").write_text("no sound")
    return str(tmp_path / "broken.wav")


def run(*args: str | Path, **options: Any) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args], **options)


def predict(model: str, *args: str | Path, **options: Any) -> Result:
    return run("predict", "-c", model, *args, **options)


def command(*args: str | bytes) -> list[str | bytes]:
    return [sys.executable, "-m", "eranntag", *args]


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(CHECKOUT), **changes}


def process(*args: str | bytes, **options: Any) -> subprocess.CompletedProcess[bytes]:
    options.setdefault("env", environment())
    return subprocess.run(command(*args), capture_output=True, timeout=SECONDS, **options)


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """`start(*args)`: a process that answers Ctrl-C even if this one was started in the background, and ends with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(*args: str | bytes) -> subprocess.Popen[bytes]:
        pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
        started.append(subprocess.Popen(command(*args), env=environment(), **pipes))  # type: ignore[call-overload]
        return started[-1]

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield begin
    signal.signal(signal.SIGINT, before)
    for each in started:
        each.kill()
        each.wait()
        for stream in (each.stdin, each.stdout, each.stderr):
            if stream:
                stream.close()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def one_line(result: Result) -> str:
    """The only line on stderr, with nothing on stdout."""
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1 and result.stderr.endswith("\n"), result.stderr
    return result.stderr


# Results, in four formats.


def test_all_formats_agree(model: str, clip: str) -> None:
    outputs = {form: predict(model, clip, clip, "--format", form, "--top", "3") for form in ("table", "json", "jsonl", "csv")}
    assert {(result.exit_code, result.stderr) for result in outputs.values()} == {(0, "")}
    document = json.loads(outputs["json"].stdout)
    records = document["results"]
    assert document["complete"] is True
    assert [record["source"] for record in records] == [clip, clip]
    assert [json.loads(line) for line in outputs["jsonl"].stdout.splitlines()] == [{"schema": 1, **r} for r in records]
    rows = list(csv.DictReader(io.StringIO(outputs["csv"].stdout)))
    tags = [tag for record in records for tag in record["tags"]]
    assert [(row["label"], float(row["score"])) for row in rows] == [(tag["label"], tag["score"]) for tag in tags]
    lines = [f"{clip}  1.0 s"] + [f"  {tag['score']:.3f}  {tag['label']}" for tag in records[0]["tags"]]
    assert outputs["table"].stdout.splitlines() == lines * 2


@pytest.mark.parametrize(
    ("options", "count"),
    [("", 5), ("--top 2", 2), ("--threshold 0", 7), ("--threshold 0 --top 3", 3), ("--threshold 1", 0), ("--top 100", 7)],
)
def test_top_and_threshold_choose_the_tags(model: str, clip: str, options: str, count: int) -> None:
    tags = json.loads(predict(model, clip, "--format", "jsonl", *options.split()).stdout)["tags"]
    assert len(tags) == count
    assert tags == sorted(tags, key=lambda tag: -tag["score"])


def test_a_threshold_keeps_exactly_the_scores_that_reach_it(model: str, clip: str) -> None:
    everything = json.loads(predict(model, clip, "--format", "jsonl", "--threshold", "0").stdout)["tags"]
    between = (everything[2]["score"] + everything[3]["score"]) / 2
    assert json.loads(predict(model, clip, "--format", "jsonl", "--threshold", str(between)).stdout)["tags"] == everything[:3]


def test_a_clip_without_tags_is_still_shown(model: str, clip: str) -> None:
    assert predict(model, clip, "--threshold", "1").stdout == f"{clip}  1.0 s\n  no tag reaches the threshold\n"


def test_hostile_names_are_harmless_in_the_table(model: str, clip: str) -> None:
    names = [os.fsdecode(name) for name in (b"[/bold]x.wav", b"\x1b[31mred.wav", b"caf\xe9.wav", b"two\nlines.wav")]
    Path("[").mkdir()
    for name in names:
        os.link(clip, name)
    Path("\x1b[2J.wav").touch()
    result = predict(model, *names, "\x1b[2J.wav", "--top", "1")
    shown = [line.split("  ")[0] for line in result.stdout.splitlines()[::2]]
    assert shown == ["[/bold]x.wav", "\\x1b[31mred.wav", "caf\\xe9.wav", "two\\x0alines.wav"]
    assert result.stderr == "eranntag: \\x1b[2J.wav: empty file\n"
    assert result.exit_code == 3


def test_csv_holds_the_very_bytes_of_a_name(model: str, clip: str) -> None:
    os.link(clip, b"caf\xe9.wav")
    lines = predict(model, os.fsdecode(b"caf\xe9.wav"), "--format", "csv", "--top", "1").stdout_bytes.splitlines()
    assert lines[1].startswith(b"caf\xe9.wav,1.0,1,")


# What goes in.


def test_inputs_keep_their_order_and_folders_are_searched(model: str, clip: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    for name in ("b.wav", "below/a.wav", "notes.txt"):
        os.link(clip, folder / name)
    result = predict(model, clip, folder, str(tmp_path / "cl*.wav"), "--format", "jsonl", "--batch", "2")
    sources = [json.loads(line)["source"] for line in result.stdout.splitlines()]
    assert sources == [clip, str(folder / "b.wav"), str(folder / "below" / "a.wav"), clip]


def test_a_sound_comes_from_standard_input(model: str, clip: str) -> None:
    from_file, from_stdin = predict(model, clip), predict(model, "-", input=Path(clip).read_bytes())
    assert from_stdin.stdout == from_file.stdout.replace(clip, "-")


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\0"])
def test_names_come_from_standard_input_or_a_file(model: str, clip: str, tmp_path: Path, separator: str) -> None:
    names = (clip + separator) * 2
    (tmp_path / "names").write_text(names, newline="")
    expected = predict(model, clip, clip, "--format", "jsonl").stdout
    assert predict(model, "--files-from", "-", "--format", "jsonl", input=names).stdout == expected
    assert predict(model, "--files-from", tmp_path / "names", "--format", "jsonl").stdout == expected


def test_standard_input_cannot_be_two_things(model: str) -> None:
    result = predict(model, "-", "--files-from", "-")
    assert result.exit_code == 2
    assert "standard input cannot be both" in result.stderr


# What fails.


def test_exit_codes_say_how_much_failed(model: str, clip: str, broken: str) -> None:
    assert predict(model, clip).exit_code == 0
    assert predict(model, clip, broken).exit_code == 3
    assert predict(model, broken, "nowhere.wav").exit_code == 1
    assert run("predict").exit_code == 2


def test_one_broken_file_among_good_ones_is_one_line_on_stderr(model: str, clip: str, broken: str) -> None:
    result = predict(model, clip, broken, clip, "--format", "jsonl")
    assert [json.loads(line)["source"] for line in result.stdout.splitlines()] == [clip, clip]
    assert result.stderr.startswith(f"eranntag: {broken}: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("predcit x.wav", "did you mean 'predict'"),
        ("predict x.wav --treshold 1", "--threshold"),
        ("predict x.wav -c erann-2-4-audioste", "did you mean 'erann-2-4-audioset'"),
        ("predict x.wav -c 7", "`eranntag checkpoints` lists the names"),
        ("predict x.wav --format jsno", "'jsonl'"),
        ("predict --files-from nowhere.txt", "--files-from nowhere.txt: No such file"),
        ("checkpoints show erann-2-4-audioste", "did you mean 'erann-2-4-audioset'"),
        ("train esc5 --data .", "did you mean 'esc50'"),
        ("evaluate esc5 --data .", "did you mean 'esc50'"),
        ("predict x.wav --device cdua", "device 'cdua' is none of auto, cpu, cuda, cuda:1 ..., mps"),
    ],
)
def test_a_mistyped_word_is_named_and_the_right_one_suggested(args: str, words: str, model: str) -> None:
    result = run(*args.split(), *(("-c", model) if "--files-from" in args else ()))
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())
    assert result.stdout == ""


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_cuda_device_is_one_line(model: str, clip: str) -> None:
    result = predict(model, clip, "--device", "cuda")
    assert "device 'cuda' is not available here" in one_line(result)
    assert result.exit_code == 2


def test_asking_for_weights_that_nobody_published_names_the_command_that_trains_them(clip: str) -> None:
    result = run("predict", clip, "-c", "erann-1-6-audioset")
    assert "`eranntag train audioset --model erann-1-6`" in one_line(result)
    assert result.exit_code == 1


def test_only_debug_shows_where_an_error_comes_from(tmp_path: Path) -> None:
    (tmp_path / "registry.toml").write_text("[")
    args = ("checkpoints", "list", "--registry", tmp_path / "registry.toml")
    assert "not a TOML file" in one_line(run(*args))
    assert "Traceback" in run("--debug", *args).stderr


# --output.


def test_output_holds_what_would_go_to_stdout(model: str, clip: str, tmp_path: Path) -> None:
    for form in ("table", "json", "jsonl", "csv"):
        result = predict(model, clip, "--format", form, "-o", "out", "--overwrite")
        assert (result.exit_code, result.output) == (0, "")
        assert Path("out").read_text() == predict(model, clip, "--format", form).stdout
    assert os.listdir() == ["out"]


@pytest.mark.parametrize("existing", [None, '{"schema": 1, "results": [kept'])
def test_a_run_that_ends_in_an_error_leaves_the_output_as_it_was(
    model: str, clip: str, existing: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Iterator[Any]:
        yield eranntag.load(model, device="cpu").tag(clip)
        raise OSError("no space left")

    if existing:
        Path("out.json").write_text(existing)
    monkeypatch.setattr("eranntag.inference.pipeline.predict", fail)
    result = predict(model, clip, "--format", "json", "-o", "out.json")
    assert (result.exit_code, one_line(result)) == (1, "eranntag: error: OSError: no space left (--debug shows where)\n")
    assert sorted(os.listdir()) == [*(["out.json"] if existing else []), "out.json.journal", "out.json.partial"]
    assert not existing or Path("out.json").read_text() == existing


@pytest.mark.parametrize("output", [".", "nowhere/out.json", "sound.wav", "fifo"])
def test_output_refuses_what_it_would_destroy_or_cannot_write(model: str, clip: str, output: str) -> None:
    Path("sound.wav").write_text("precious")
    os.mkfifo("fifo")
    result = predict(model, clip, "-o", output)
    assert result.exit_code == 2
    assert f"--output {output}" in result.stderr
    assert Path("sound.wav").read_text() == "precious"
    assert Path("fifo").is_fifo()


# Checkpoints and registries.


@pytest.fixture
def registry(model: str, tmp_path: Path) -> Path:
    """A registry with one row, `mine`, whose file lies beside it."""
    digest = hashlib.sha256(Path(model).read_bytes()).hexdigest()
    row = f'title = "Mine"\narchitecture = "erann-2-1"\nclasses = 7\nweights = "tiny.safetensors"\nsha256 = "{digest}"\n'
    (tmp_path / "registry.toml").write_text(f"[checkpoints.mine]\n{row}")
    return tmp_path / "registry.toml"


def test_a_registry_adds_its_rows_by_option_and_by_environment(model: str, clip: str, registry: Path) -> None:
    args = ("predict", "-c", "mine", clip, "--format", "jsonl")
    expected = {**json.loads(predict(model, clip, "--format", "jsonl").stdout), "checkpoint": "mine"}
    assert json.loads(run(*args, "--registry", registry).stdout) == expected
    assert json.loads(run(*args, env={"ERANNTAG_REGISTRY": str(registry)}).stdout) == expected
    assert "no checkpoint is called 'mine'" in one_line(run(*args))


def test_weights_with_another_hash_are_refused_in_one_line(clip: str, registry: Path) -> None:
    with open(registry.parent / "tiny.safetensors", "ab") as file:
        file.write(b"\0")
    result = run("predict", "-c", "mine", clip, "--registry", registry)
    assert "mine: " in one_line(result) and "has SHA-256" in result.stderr
    assert result.exit_code == 1
    (registry.parent / "tiny.safetensors").unlink()
    assert "tiny.safetensors is missing" in one_line(run("predict", "-c", "mine", clip, "--registry", registry))


def test_checkpoints_lists_every_row_once(registry: Path) -> None:
    with open(registry, "a") as file:
        file.write(
            '[checkpoints."[bold]x :smile:"]\ntitle = "Markup"\narchitecture = "erann-2-1"\nclasses = 7\nweights = "x"\n'
        )
    listed = run("checkpoints", "list", "--registry", registry).stdout.splitlines()
    names = [re.split(r" {2,}", line)[0].removesuffix(" *") for line in listed[1:-2]]
    assert names == [*catalog.load_catalog().rows, "mine", "[bold]x :smile:"]
    assert [line.split() for line in run("checkpoints").stdout.splitlines()[1:-2]] == [line.split() for line in listed[1:-4]]
    markdown = run("checkpoints", "list", "--markdown", "--registry", registry).stdout.splitlines()
    assert [line.split(" | ")[0].strip("| ").removesuffix(" *") for line in markdown[2:]] == names
    assert len({line.count("|") for line in markdown}) == 1


def test_checkpoints_lists_the_papers_models_with_their_commands() -> None:
    papers = catalog.load_catalog().papers
    for line in (("checkpoints", "--papers"), ("checkpoints", "list", "--papers")):
        listed = run(*line).stdout.splitlines()
        assert [row.split()[0] for row in listed[1:-1]] == list(papers)
        assert all(row.rstrip().endswith(paper.command) for row, paper in zip(listed[1:-1], papers.values(), strict=True))
    assert "mAP 0.450" in run("checkpoints", "--papers", env={"COLUMNS": "40"}).stdout
    markdown = run("checkpoints", "list", "--papers", "--markdown").stdout.splitlines()
    assert len(markdown) == len(papers) + 2 and len({row.count("|") for row in markdown}) == 1
    assert "--papers belongs to `eranntag checkpoints list`" in run("checkpoints", "--papers", "show", "x").stderr


def test_checkpoints_labels_prints_one_a_line(model: str, registry: Path) -> None:
    for line in ((model,), ("mine", "--registry", registry)):
        assert run("checkpoints", "labels", *line).stdout.splitlines() == list(LABELS)
    assert run("checkpoints", "labels", "mn04-audioset").stdout.count("\n") == 527
    assert "did you mean" in run("checkpoints", "labels", "mn04-audiost").stderr


def test_checkpoints_shows_rows_and_files(model: str, registry: Path) -> None:
    row = run("checkpoints", "show", "mine", "--registry", registry).stdout
    assert "title:             Mine\n" in row and "architecture:      erann-2-1\n" in row
    header = run("checkpoints", "show", model).stdout
    assert f"labels:            {', '.join(LABELS)}\n" in header
    assert "value 0.45" in run("checkpoints", "show", "erann-1-6-audioset").stdout


def test_checkpoints_verify_loads_the_weights(model: str, registry: Path) -> None:
    result = run("checkpoints", "verify", "mine", "--registry", registry)
    assert (result.exit_code, result.stdout) == (0, "mine: good (7 classes)\n")
    content = bytearray(Path(model).read_bytes())
    content[-1] ^= 1
    Path(model).write_bytes(content)
    assert run("checkpoints", "verify", "mine", "--registry", registry).exit_code == 1
    assert "it is damaged" in one_line(run("checkpoints", "verify", model))


def test_checkpoints_row_is_a_registry(model: str, clip: str, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(run("checkpoints", "row", model).stdout)
    row = catalog.load_catalog(str(tmp_path / "own.toml")).rows["tiny"]
    assert (row.architecture, row.classes, row.size_bytes) == ("erann-2-1", 7, Path(model).stat().st_size)
    assert run("predict", "-c", "tiny", clip, "--registry", tmp_path / "own.toml").exit_code == 0


# Processes.


@pytest.mark.parametrize(
    ("args", "code"),
    [
        ("--help", 0),
        ("--version", 0),
        ("predict --help", 0),
        ("train --help", 0),
        ("checkpoints --help", 0),
        ("predict", 2),
        ("predcit", 2),
        ("predict x.wav --top 0", 2),
        ("predict x.wav --output nowhere/out.json", 2),
        ("predict x.wav --labels-from nowhere.txt", 2),
        ("embed --help", 0),
        ("embed x.wav -o x.npz --format jsonl", 2),
        ("similar --help", 0),
        ("similar x.wav -", 2),
    ],
)
def test_help_and_usage_errors_import_nothing_heavy(args: str, code: int) -> None:
    result = process(*args.split(), env=environment(PYTHONPROFILEIMPORTTIME="1"))
    lines = result.stderr.decode().splitlines()
    imported = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    assert "click" in imported
    assert not imported & HEAVY
    assert result.returncode == code
    assert (result.stdout == b"") == (code != 0)
    assert b"Traceback" not in result.stderr


def test_a_bare_environment_is_enough_for_names_of_any_bytes(model: str, clip: str, tmp_path: Path) -> None:
    """No locale, no home, a working folder that nobody can write to, a sound on standard input."""
    names = [os.fsencode(tmp_path) + b"/" + name for name in (b"[/bold]x.wav", b"\x1b[31mred.wav", b"caf\xe9\n.wav")]
    (tmp_path / "[").mkdir()
    for name in names:
        os.link(clip, name)
    absent = os.fsencode(tmp_path) + b"/\xff.wav"
    bare = {"PATH": os.defpath, "LC_ALL": "C", "PYTHONPATH": str(CHECKOUT)}
    with open(clip, "rb") as stdin:
        result = process("predict", "-c", model, *names, absent, "-", "--format", "jsonl", env=bare, cwd="/proc", stdin=stdin)
    sources = [os.fsencode(json.loads(line)["source"]) for line in result.stdout.splitlines()]
    assert sources == [*names, b"-"]
    assert result.stderr == f"eranntag: {tmp_path}/\\xff.wav: no such file\n".encode()
    assert result.returncode == 3


@pytest.fixture
def endless(clip: str, tmp_path: Path) -> str:
    """A list of so many names that a run over it ends only because something ends it."""
    (tmp_path / "names").write_text(f"{clip}\n" * 100_000)
    return str(tmp_path / "names")


@pytest.mark.kill
def test_whoever_closes_the_pipe_has_enough(model: str, clip: str, endless: str, start: Callable[..., Any]) -> None:
    running = start("predict", "-c", model, "--files-from", endless)
    assert running.stdout.readline() == f"{clip}  1.0 s\n".encode()  # and no colour: a pipe is not a terminal
    running.stdout.close()
    assert running.wait(SECONDS) == 0
    assert running.stderr.read() == b""


@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGINT, 130, b"eranntag: interrupted\n"), (signal.SIGTERM, 143, b"")]
)
@pytest.mark.kill
def test_a_signal_ends_the_run_and_leaves_a_valid_document(
    model: str, endless: str, start: Callable[..., Any], number: signal.Signals, code: int, said: bytes
) -> None:
    running = start("predict", "-c", model, "--files-from", endless, "--format", "json", "-o", "out.json")
    part = Path("out.json.partial")
    wait_for(lambda: (part.exists() and part.stat().st_size > 1000) or running.poll() is not None)
    running.send_signal(number)
    assert running.wait(SECONDS) == code
    assert running.stderr.read() == said
    assert sorted(os.listdir()) == ["out.json", "out.json.journal"]
    document = json.loads(Path("out.json").read_text())
    assert document["complete"] is False
    assert 0 < len(document["results"]) < 100_000


@pytest.mark.kill
def test_ctrl_c_ends_a_run_that_waits_for_more_names(model: str, clip: str, start: Callable[..., Any]) -> None:
    running = start("predict", "-c", model, "--files-from", "-", "--format", "jsonl")
    running.stdin.write(f"{clip}\n".encode())
    running.stdin.flush()
    assert json.loads(running.stdout.readline())["source"] == clip  # before the list ends
    running.send_signal(signal.SIGINT)
    assert running.wait(20) == 130


@pytest.mark.kill
def test_ctrl_c_twice_ends_a_long_sound_as_once(
    model: str, clip: str, start: Callable[..., Any], wav: Callable[..., Path]
) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(44100).astype(np.float32)
    long = wav("long.wav", np.tile(noise, 1500))
    running = start("predict", "-c", model, "--engine", "torch", "--batch", "1", clip, long, "--format", "jsonl")
    assert json.loads(running.stdout.readline())["source"] == clip
    time.sleep(0.5)  # it computes the long sound
    for _ in range(2):
        running.send_signal(signal.SIGINT)
        time.sleep(0.05)
    assert running.wait(30) == 130
    assert running.stdout.read() == b"" and running.stderr.read() == b"eranntag: interrupted\n"


@pytest.mark.kill
def test_ctrl_c_ends_a_run_that_waits_for_a_sound(model: str, start: Callable[..., Any]) -> None:
    running = start("predict", "-c", model, "-")
    running.stdin.write(bytes(1_000_000))  # more than a pipe holds: this returns when the sound is being read
    running.stdin.flush()
    time.sleep(0.5)  # until it waits for more of it
    running.send_signal(signal.SIGINT)
    assert running.wait(20) == 130


def test_a_reader_of_errors_that_goes_away_costs_no_result(model: str, clip: str, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    command = [sys.executable, "-m", "eranntag", "predict", "no1.wav", clip, "no2.wav", "no3.wav", "-c", model]
    reading, writing = os.pipe()
    os.close(reading)
    result = subprocess.run([*command, "--format", "json", "-o", str(out)], stderr=writing, env=environment(), timeout=60)
    os.close(writing)
    assert result.returncode == 3
    assert len(json.loads(out.read_text())["results"]) == 1


def test_names_in_a_list_are_names_and_no_patterns(model: str, clip: str, tmp_path: Path) -> None:
    (tmp_path / "take1.wav").write_bytes(Path(clip).read_bytes())
    (tmp_path / "list.txt").write_text(f"{tmp_path}/take[12].wav\n-\n")
    result = predict(model, "--files-from", str(tmp_path / "list.txt"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.count("no such file") == 2
