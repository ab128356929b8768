"""The training loop on an ESC-50 of ten one-second clips: what it writes, and that stopping it changes nothing."""

import dataclasses
import errno
import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner, Result
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from eranntag.cli import cli
from eranntag.recipes import esc50
from eranntag.training import loop, state, trainer
from eranntag.training.averaging import ExponentialMovingAverage

RATE = 44100
CATEGORIES = {0: "dog", 10: "rain"}  # the targets of the clips: a tone and noise
ITERATIONS = 6


@pytest.fixture(scope="module", autouse=True)
def short_crops() -> Iterator[None]:
    """One-second crops: a quarter of the work."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            esc50,
            "RECIPE",
            dataclasses.replace(esc50.RECIPE, training=dataclasses.replace(esc50.RECIPE.training, crop_seconds=1.0)),
        )
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips a fold, as wav and as flac, under the names that the CSV gives with .wav."""
    root = tmp_path_factory.mktemp("ESC-50-master")
    for folder in ("audio", "meta"):
        (root / folder).mkdir()
    rng = np.random.default_rng(0)
    time = np.arange(RATE) / RATE
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, 6):
        for target, category in CATEGORIES.items():
            waveform = rng.normal(0, 0.1, RATE) if target else 0.3 * np.sin(2 * np.pi * rng.uniform(300, 900) * time)
            name = f"{fold}-{target}-A-{target}"
            soundfile.write(root / "audio" / f"{name}.{'flac' if fold % 2 else 'wav'}", waveform, RATE)
            rows.append(f"{name}.wav,{fold},{target},{category},False,{target},A")
    (root / "meta" / "esc50.csv").write_text("\n".join(rows) + "\n")
    return root


def arguments(data: Path | str, out: Path, *options: str) -> list[str]:
    short = ["--model", "erann-2-1", "--device", "cpu", "--batch", "2"]
    return ["train", "esc50", "--data", str(data), "--out", str(out), *short, *options]


def train(data: Path | str, out: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, arguments(data, out, *options))


def train_fold_1(data: Path, out: Path, *options: str) -> Result:
    return train(data, out, "--fold", "1", "--iterations", str(ITERATIONS), "--evaluate-every", "3", *options)


def history(out: Path) -> list[dict[str, Any]]:
    """Without the seconds, which differ from run to run."""
    rows = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def one_line(result: Result, code: int = 1) -> str:
    """The only line on stderr after those of the progress."""
    progress = re.compile(
        r"esc50: |iteration |.*clips to train on|.*recordings have clips on both sides|\d+ classes without|going on|saved after"
    )
    lines = [line for line in result.stderr.splitlines() if not progress.match(line)]
    assert len(lines) == 1, result.stderr
    assert (result.exit_code, result.stdout) == (code, "")
    return lines[0]


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole run."""
    out = tmp_path_factory.mktemp("runs") / "undisturbed"
    result = train_fold_1(data, out)
    assert (result.exit_code, result.stdout) == (0, f"{out / 'last.safetensors'}\n")
    assert len([line for line in result.stderr.splitlines() if "held-out accuracy" in line]) == 2
    return out


@pytest.fixture
def run(undisturbed: Path, tmp_path: Path) -> Path:
    """A copy of that folder, to be spoiled."""
    return Path(shutil.copytree(undisturbed, tmp_path / "run"))


def test_a_run_writes_its_state_its_checkpoints_and_its_history(undisturbed: Path) -> None:
    files = {path.name for path in undisturbed.iterdir()}
    assert files == {".lock", "state.safetensors", "last.safetensors", "best.safetensors", "history.jsonl"}
    rows = history(undisturbed)
    evaluated = [row for row in rows if row.keys() == {"iteration", "accuracy", "clips"}]
    trained = [row for row in rows if row.keys() == {"iteration", "loss", "lr"}]
    assert len(evaluated) + len(trained) == len(rows)
    assert [row["iteration"] for row in trained] == [1, 2, 3, 4, 5, ITERATIONS]
    assert [row["iteration"] for row in evaluated] == [3, ITERATIONS]
    assert all(row["accuracy"] in (0.0, 0.5, 1.0) for row in evaluated)
    assert all(0 < row["loss"] < 20 for row in trained)


@pytest.mark.slow
def test_its_checkpoint_is_taken_by_predict_and_evaluate(undisturbed: Path, data: Path) -> None:
    args = ["-c", str(undisturbed / "last.safetensors"), "--device", "cpu"]
    result = CliRunner().invoke(cli, ["predict", *args, str(data / "audio" / "1-0-A-0.flac"), "--format", "jsonl"])
    assert {tag["label"] for tag in json.loads(result.stdout)["tags"]} < set(esc50.LABELS)
    result = CliRunner().invoke(cli, ["evaluate", "esc50", *args, "--data", str(data), "--fold", "1", "--json"])
    assert json.loads(result.stdout)["clips"] == 2
    shown = CliRunner().invoke(cli, ["checkpoints", "show", args[1]]).stdout
    assert "erann-2-1-esc50-fold1" in shown and "fold 1" in shown and "accuracy" in shown


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """It works even where these tests were started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def ctrl_c_at(call: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, but Ctrl-C is pressed as its call number `call` begins."""
    calls = iter(range(1, 1000))

    def interrupted(*args: Any) -> Any:
        if next(calls) == call:
            signal.raise_signal(signal.SIGINT)
        return function(*args)

    return interrupted


def same_weights(out: Path, expected: Path) -> None:
    """To the bit, in every file."""
    for file in ("state.safetensors", "last.safetensors", "best.safetensors"):
        ours, theirs = load_file(out / file), load_file(expected / file)
        assert ours.keys() == theirs.keys()
        assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []


def iterations_done(out: Path) -> int:
    with safe_open(out / "state.safetensors", framework="pt") as file:
        return int(json.loads(file.metadata()["run"])["iteration"])


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize(
    ("place", "call", "least"),
    [
        pytest.param((loop.Trainer, "step"), 1, 0, id="before the first iteration", marks=pytest.mark.kill),
        pytest.param((loop.Trainer, "step"), 5, 4, id="between two iterations"),
        pytest.param((ExponentialMovingAverage, "update"), 5, 4, id="after the optimizer's step", marks=pytest.mark.kill),
        pytest.param((loop.TrainingLoop, "evaluate"), 1, 2, id="before an evaluation", marks=pytest.mark.kill),
        pytest.param(
            (loop.TrainingLoop, "evaluate"), 2, ITERATIONS - 1, id="before the last evaluation", marks=pytest.mark.kill
        ),
    ],
)
def test_a_run_that_was_stopped_and_continued_is_the_same_to_the_bit(
    data: Path,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: tuple[type, str],
    call: int,
    least: int,
) -> None:
    """`least`: the iterations that must have been saved."""
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(loop, "SAVE_SECONDS", -1)  # after every iteration
        patch.setattr(*place, ctrl_c_at(call, getattr(*place)))
        assert one_line(train_fold_1(data, out), 130) == "eranntag: interrupted"
    assert not least or iterations_done(out) >= least
    assert train_fold_1(data, out).exit_code == 0
    assert history(out) == history(undisturbed)
    same_weights(out, undisturbed)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.kill
def test_a_stopped_run_says_what_is_saved_and_where_it_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the first minute too. The step that Ctrl-C comes in is finished; what came before is as it was for signals."""
    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "step", ctrl_c_at(2, loop.Trainer.step))
        stopped = train_fold_1(data, tmp_path / "run")
    assert stopped.stderr.splitlines()[-2:] == [
        "saved after iteration 2: the same command goes on from there",
        "eranntag: interrupted",
    ]
    assert iterations_done(tmp_path / "run") == 2 and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert "going on after iteration 2" in train_fold_1(data, tmp_path / "run").stderr.splitlines()


@pytest.mark.usefixtures("ctrl_c")
def test_a_second_ctrl_c_ends_a_run_at_once(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def step(*_: Any) -> torch.Tensor:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("the second one was postponed too")

    monkeypatch.setattr(loop.Trainer, "step", step)
    assert one_line(train_fold_1(data, tmp_path / "run"), 130) == "eranntag: interrupted"
    assert iterations_done(tmp_path / "run") == 0


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.slow
def test_a_network_in_the_other_memory_format_goes_on_the_same_too(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ERANN-2-2 is computed channels last; so must Adam's moments be, as they come from the file."""
    options = ("--model", "erann-2-2", "--iterations", "3", "--evaluate-every", "3")
    with monkeypatch.context() as patch:
        patch.setattr(loop, "SAVE_SECONDS", -1)  # after every iteration
        patch.setattr(loop.Trainer, "step", ctrl_c_at(2, loop.Trainer.step))
        assert train_fold_1(data, tmp_path / "stopped", *options).exit_code == 130
    resumed: list[loop.TrainingLoop] = []
    with monkeypatch.context() as patch:
        patch.setattr(loop.TrainingLoop, "save", lambda run, save=loop.TrainingLoop.save: (resumed.append(run), save(run)))
        assert train_fold_1(data, tmp_path / "stopped", *options).exit_code == 0
    for parameter, moments in resumed[0].state.optimizer.state.items():
        assert moments["exp_avg"].stride() == moments["exp_avg_sq"].stride() == parameter.stride()
    assert train_fold_1(data, tmp_path / "undisturbed", *options).exit_code == 0
    assert history(tmp_path / "stopped") == history(tmp_path / "undisturbed")
    same_weights(tmp_path / "stopped", tmp_path / "undisturbed")


def test_a_finished_run_is_not_trained_further(data: Path, run: Path) -> None:
    state = (run / "state.safetensors").read_bytes()
    result = train_fold_1(data, run)
    assert (result.exit_code, result.stdout) == (0, f"{run / 'last.safetensors'}\n")
    assert (run / "state.safetensors").read_bytes() == state


def test_other_settings_are_refused_unless_the_run_is_restarted(data: Path, run: Path) -> None:
    state = (run / "state.safetensors").read_bytes()
    line = one_line(train_fold_1(data, run, "--lr", "0.5"))
    assert "learning_rate 0.0002 there, 0.5 now" in line and "--restart" in line
    assert (run / "state.safetensors").read_bytes() == state
    assert train(data, run, "--fold", "1", "--iterations", "1", "--restart").exit_code == 0
    assert [row["iteration"] for row in history(run)] == [1, 1]


def cut(state: Path) -> None:
    state.write_bytes(state.read_bytes()[:-100])


def another_file(state: Path) -> None:
    shutil.copy(state.parent / "last.safetensors", state)


def no_settings(state: Path) -> None:
    save_file(load_file(state), state, metadata={"run": "{}"})


def text(state: Path) -> None:
    state.write_text("no")


def folder(state: Path) -> None:
    state.unlink()
    state.mkdir()


@pytest.mark.parametrize("damage", [cut, another_file, no_settings, text, folder])
def test_a_damaged_state_is_one_line_and_stays_as_it_is(data: Path, run: Path, damage: Callable[[Path], None]) -> None:
    state = run / "state.safetensors"
    damage(state)
    before = state.is_dir() or state.read_bytes()
    line = one_line(train_fold_1(data, run))
    assert line.startswith(f"eranntag: error: {state}: ") and "--restart" in line
    assert (state.is_dir() or state.read_bytes()) == before


def test_a_loss_that_is_not_a_number_ends_the_run_and_leaves_the_state(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states, state = [], tmp_path / "run" / "state.safetensors"

    def loss(logits: torch.Tensor, *_: Any) -> torch.Tensor:
        states.append(state.read_bytes() if state.exists() else b"")
        return logits.mean() * (float("nan") if len(states) == 3 else 1)

    monkeypatch.setattr(trainer, "loss", loss)
    monkeypatch.setattr(loop, "SAVE_SECONDS", -1)  # after every iteration
    assert "the loss is nan at iteration 3; lower --lr" in one_line(train_fold_1(data, tmp_path / "run"))
    assert len(set(states)) == 3 and state.read_bytes() == states[-1]
    assert not (tmp_path / "run" / "last.safetensors").exists()


@pytest.mark.slow
def test_four_clips_are_learned_by_heart(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = Path(shutil.copytree(data, tmp_path / "data"))
    table = few / "meta" / "esc50.csv"
    table.write_text("".join(line for line in table.read_text().splitlines(keepends=True) if line[0] not in "345"))
    options = ("--mixup", "none", "--augment", "none", "--lr", "0.002", "--batch", "4", "--iterations", "20")
    assert train(few, tmp_path / "run", *options).exit_code == 0
    losses = [row["loss"] for row in history(tmp_path / "run") if "loss" in row]
    assert losses[0] > 2 and max(losses[-3:]) < 0.1 * losses[0]


def test_a_fold_that_does_not_exist_is_one_line(data: Path, tmp_path: Path) -> None:
    line = one_line(train(data, tmp_path / "run", "--fold", "6"), code=2)
    assert line == "eranntag: error: esc50 has the folds 1, 2, 3, 4, 5, not 6"


def test_missing_data_is_one_line_that_says_what_was_looked_for(tmp_path: Path) -> None:
    line = one_line(train(tmp_path, tmp_path / "run"))
    assert f"no meta/esc50.csv in {tmp_path}, {tmp_path / 'esc50'}, {tmp_path / 'ESC-50-master'}" in line
    line = one_line(train("", tmp_path / "run"))
    assert "--data" in line and "ERANNTAG_DATA" in line and "meta/esc50.csv" in line


def test_another_layout_is_one_line_that_says_what_was_looked_for(data: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(data, tmp_path / "data"))
    table = copy / "meta" / "esc50.csv"
    table.write_text("file,label\na.wav,dog\n")
    assert str(table) in one_line(train(copy, tmp_path / "run"))
    table.write_text("filename,fold,target\n1-0-A-0.wav,one,0\n")
    assert str(table) in one_line(train(copy, tmp_path / "run"))
    shutil.copy(data / "meta" / "esc50.csv", table)
    (copy / "audio").rename(copy / "sounds")
    assert f"{copy / 'audio'} holds none of the clips" in one_line(train(copy, tmp_path / "run"))


@pytest.mark.slow
def test_a_clip_that_cannot_be_read_is_left_out_and_told_once(data: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(data, tmp_path / "data"))
    (copy / "audio" / "2-0-A-0.wav").write_text("no sound")
    (copy / "audio" / "1-0-A-0.flac").write_text("no sound")  # held out
    (copy / "audio" / "3-0-A-0.flac").unlink()
    result = train_fold_1(copy, tmp_path / "run")
    assert result.exit_code == 0
    assert "esc50: 9 clips, 1 missing: 3-0-A-0.wav" in result.stderr
    for name in ("2-0-A-0.wav", "1-0-A-0.flac"):
        lines = [line for line in result.stderr.splitlines() if name in line]
        assert len(lines) == 1 and "not a readable audio file" in lines[0] and lines[0].endswith("(left out)")
    assert [row["accuracy"] in (0.0, 1.0) for row in history(tmp_path / "run") if "accuracy" in row] == [True, True]


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_loses_no_earlier_state(
    data: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full at the save after the third iteration; with room again the run ends with the same weights."""
    out, saves = tmp_path / "run", iter(range(1, 100))

    def full(*args: Any, **options: Any) -> None:
        if next(saves) == 4:  # the first is before the first iteration
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save_file(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "SAVE_SECONDS", -1)  # after every iteration
        patch.setattr(state, "save_file", full)
        line = one_line(train_fold_1(data, out))
    assert "No space left on device" in line and str(out) in line and "Traceback" not in line
    assert iterations_done(out) == 2 and not list(out.glob(".*.part"))
    assert train_fold_1(data, out).exit_code == 0
    same_weights(out, undisturbed)
