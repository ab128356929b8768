"""Folds and seeds as one protocol, the settings of its runs, and what keeps two commands out of one folder."""

import csv
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import runs
import torch
from click.testing import Result

from eranntag.checkpoints import header, weights
from eranntag.errors import EranntagError
from eranntag.files import lock
from eranntag.recipes import audioset, esc50, ravdess
from eranntag.training import cross_validation, loop, paper_comparison
from eranntag.training.config import Settings, from_recipe
from eranntag.training.loop import Outcome
from eranntag.training.splits import Splits
from eranntag.training.validation import Validation
from eranntag.types import Recipe


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.esc50(tmp_path_factory.mktemp("data") / "ESC-50-master")


def train(data: Path, out: Path, *options: object) -> Result:
    """One iteration, unless `options` say otherwise: later ones count."""
    short = ["--iterations", 1, "--batch", 2, "--mixup", "none", *runs.TINY]
    return runs.command("train", "esc50", "--data", data, "--out", out, "--model", "erann-2-1", *short, *options)


def read_summary(out: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return summary


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(*_: Any) -> torch.Tensor:
        raise AssertionError("an iteration was computed")

    monkeypatch.setattr(loop.Trainer, "step", step)


# Folds and seeds


@pytest.fixture(scope="module")
def all_folds(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("runs") / "all"
    return out, train(data, out, "--folds", "all")


@pytest.mark.slow
def test_all_folds_are_a_run_and_a_line_each(all_folds: tuple[Path, Result]) -> None:
    out, result = all_folds
    assert result.exit_code == 0, result.stderr
    folders = [out / f"fold{fold}-seed0" for fold in range(1, 6)]
    assert result.stdout == "".join(f"{folder / 'last.safetensors'}\n" for folder in folders)
    assert {path.name for path in out.iterdir()} == {*(folder.name for folder in folders), "summary.json"}
    for fold, folder in enumerate(folders, 1):
        spec = header.read_checkpoint(folder / "last.safetensors")
        assert spec.training["fold"] == fold and spec.metrics["data"] == f"esc50 fold {fold}"
        assert spec.name == f"erann-2-1-esc50-fold{fold}"


@pytest.mark.slow
def test_the_summary_is_their_mean_and_standard_deviation(all_folds: tuple[Path, Result]) -> None:
    out, result = all_folds
    summary = read_summary(out)
    assert {name: summary[name] for name in ("recipe", "model", "metric", "selection")} == {
        "recipe": "esc50",
        "model": "erann-2-1",
        "metric": "accuracy",
        "selection": "last",
    }
    assert [(run["fold"], run["seed"], run["iterations"], run["test"]) for run in summary["runs"]] == [
        (fold, 0, 1, None) for fold in range(1, 6)
    ]
    assert [run["checkpoint"] for run in summary["runs"]] == result.stdout.splitlines()
    values = torch.tensor([run["last"] for run in summary["runs"]], dtype=torch.float64)
    assert summary["last"] == pytest.approx({"mean": values.mean().item(), "sd": values.std().item()})
    assert "test" not in summary and "paper" not in summary  # no paper trained ERANN-2-1
    mean = f"5 runs, last: accuracy {summary['last']['mean']:.4f} +- {summary['last']['sd']:.4f}  (selected)"
    assert mean in result.stderr.splitlines()
    assert result.stderr.splitlines()[-1] == str(out / "summary.json")
    assert result.stderr.count("on 2 held-out clips: accuracy") == 5


@pytest.mark.usefixtures("no_training")
@pytest.mark.slow
def test_a_finished_cross_validation_is_only_told_again(all_folds: tuple[Path, Result], data: Path) -> None:
    out, first = all_folds
    before = read_summary(out)
    result = train(data, out, "--folds", "all")
    assert (result.exit_code, result.stdout) == (0, first.stdout)
    assert read_summary(out) == before


@pytest.mark.kill
def test_a_cross_validation_goes_on_with_the_folds_that_are_missing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, step, calls = tmp_path / "run", loop.Trainer.step, iter([True, False, True])

    def interrupted(*args: Any) -> torch.Tensor:
        if next(calls):
            return step(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop.Trainer, "step", interrupted)
    result = train(data, out, "--folds", "1,3")
    assert (result.exit_code, result.stdout) == (130, f"{out / 'fold1-seed0' / 'last.safetensors'}\n")
    assert not (out / "summary.json").exists()
    assert train(data, out, "--folds", "1,3").exit_code == 0  # a fourth step would be one too many
    assert [run["fold"] for run in read_summary(out)["runs"]] == [1, 3]


@pytest.mark.slow
def test_repeats_are_runs_with_successive_seeds(data: Path, tmp_path: Path) -> None:
    result = train(data, tmp_path, "--folds", "1,3", "--repeats", 2, "--seed", 7)
    assert result.exit_code == 0, result.stderr
    names = ["fold1-seed7", "fold3-seed7", "fold1-seed8", "fold3-seed8"]
    assert result.stdout.splitlines() == [str(tmp_path / name / "last.safetensors") for name in names]
    assert [(run["seed"], run["fold"]) for run in read_summary(tmp_path)["runs"]] == [(7, 1), (7, 3), (8, 1), (8, 3)]
    one, other = (weights.load(tmp_path / name / "last.safetensors").model for name in ("fold1-seed7", "fold1-seed8"))
    assert not torch.equal(one.fc1.weight, other.fc1.weight)


@pytest.mark.slow
def test_repeats_without_folds_have_folders_of_their_seeds(data: Path, tmp_path: Path) -> None:
    """All clips are trained on: nothing is held out, and nothing measured."""
    result = train(data, tmp_path, "--repeats", 2)
    assert [Path(line).parent.name for line in result.stdout.splitlines()] == ["seed0", "seed1"]
    assert {"last", "best", "test"} & read_summary(tmp_path).keys() == set()


@pytest.mark.slow
def test_a_fold_named_twice_is_one_run(data: Path, tmp_path: Path) -> None:
    """Else it would count twice in the mean, and make the deviation smaller than it is."""
    result = train(data, tmp_path, "--folds", "1,3,1")
    assert len(result.stdout.splitlines()) == 2 or result.exit_code == 2


def test_one_fold_has_the_folder_for_itself(data: Path, tmp_path: Path) -> None:
    result = train(data, tmp_path / "run", "--folds", "3")
    assert result.stdout == f"{tmp_path / 'run' / 'last.safetensors'}\n"
    assert not (tmp_path / "run" / "summary.json").exists()


@pytest.mark.parametrize(
    ("folds", "line"),
    [
        ("9", "esc50 has the folds 1, 2, 3, 4, 5, not 9"),
        ("1,9", "esc50 has the folds 1, 2, 3, 4, 5, not 9"),
        ("x", "--fold x: a number, several as in 1,3, or all"),
        ("1,", "--fold 1,: a number, several as in 1,3, or all"),
        ("", "--fold : a number, several as in 1,3, or all"),
    ],
)
def test_folds_that_make_no_sense_are_usage_errors(data: Path, tmp_path: Path, folds: str, line: str) -> None:
    assert runs.error(train(data, tmp_path / "run", "--folds", folds), code=2) == line
    assert not (tmp_path / "run").exists()


# The test part, and selection


def test_with_a_validation_share_the_fold_is_measured_once_at_the_end(data: Path, tmp_path: Path) -> None:
    result = train(data, tmp_path, "--folds", "1", "--validation", 0.25, "--iterations", 2, "--evaluate-every", 1)
    assert result.exit_code == 0, result.stderr
    spec = header.read_checkpoint(tmp_path / "last.safetensors")
    assert spec.metrics["test_clips"] == 2 and spec.metrics["test"] in (0.0, 0.5, 1.0)
    assert spec.metrics["data"] == "esc50, a validation part of its training clips"
    assert [row["iteration"] for row in runs.history(tmp_path) if "accuracy" in row] == [1, 2]
    assert f"on 2 test clips, which decided nothing: accuracy {spec.metrics['test']:.4f}" in result.stderr.splitlines()
    assert (
        "without fold 1: 6 clips to train on, 2 held out, 2 to test, seed 0" in result.stderr
    )  # of 8, one recording a class less


def scripted(monkeypatch: pytest.MonkeyPatch, *accuracies: float) -> None:
    """Evaluations come out as these, whatever the network says."""
    values: Iterator[float] = iter(accuracies)

    monkeypatch.setattr(Validation, "measure", lambda *_: {"accuracy": next(values), "clips": 2})


def test_select_best_gives_the_best_checkpoint_and_both_numbers(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, 0.25, 0.75, 0.75, 0.5)
    options = ("--fold", 1, "--iterations", 4, "--evaluate-every", 1)
    result = train(data, tmp_path, *options, "--select", "best")
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'best.safetensors'}\n")
    best, last = (header.read_checkpoint(tmp_path / f"{name}.safetensors").metrics for name in ("best", "last"))
    assert (best["value"], best["iteration"], best["selection"]) == (0.75, 2, "best"), "the first of equals"
    assert (last["value"], last["iteration"], last["selection"], last["best"]) == (0.5, 4, "last", 0.75)
    said = "on 2 held-out clips: accuracy 0.5000 at the end, 0.7500 at its best (iteration 2)"
    assert said in result.stderr.splitlines()
    assert "selected: the best by those clips: a little too good, as in the papers" in result.stderr.splitlines()
    # how to select is not a setting of the run
    assert train(data, tmp_path, *options, "--select", "last").stdout == f"{tmp_path / 'last.safetensors'}\n"


def test_patience_ends_a_run_that_gets_no_better(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, 0.5, 0.75, 0.5, 0.75)
    options = ("--fold", 1, "--iterations", 9, "--evaluate-every", 1, "--set", "patience=2")
    result = train(data, tmp_path, *options)
    assert result.exit_code == 0, result.stderr
    assert "stopped at iteration 4: nothing better since iteration 2" in result.stderr.splitlines()
    assert runs.history(tmp_path)[-1] == {"iteration": 4, "accuracy": 0.75, "clips": 2}
    assert "4 of 9 iterations" in result.stderr
    assert train(data, tmp_path, *options).exit_code == 0  # resumed, it stays where it is: another evaluation would fail


def test_a_loss_is_noted_for_every_iteration_of_a_run_that_patience_ends(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, 0.5, 0.5)
    options = ("--fold", 1, "--iterations", 80, "--evaluate-every", 3, "--set", "patience=1")  # noted every 4 iterations
    assert train(data, tmp_path, *options).exit_code == 0
    assert [row["iteration"] for row in runs.history(tmp_path) if "loss" in row] == [4]
    assert runs.history(tmp_path)[-1]["iteration"] == 6


# Summaries


def run(
    folder: Path, fold: int, last: float | None, best: float | None, test: float | None = None, **changes: Any
) -> cross_validation.Run:
    settings = from_recipe(esc50.RECIPE, **({"model": "erann-1-3", "fold": fold} | changes))
    outcome = Outcome(folder / str(fold), "accuracy", last, best, 100, 200)
    return cross_validation.Run(settings, Splits([], [], []), outcome, "last", False, test)


def test_a_summary_has_both_selections_and_the_paper_s_row(tmp_path: Path) -> None:
    done = [run(tmp_path, 1, 0.8, 0.9), run(tmp_path, 2, 0.9, 0.9), run(tmp_path, 3, 0.7, 0.9)]
    summary = paper_comparison.summary(esc50.RECIPE, done)
    assert summary["last"] == pytest.approx({"mean": 0.8, "sd": 0.1}) and summary["best"] == pytest.approx(
        {"mean": 0.9, "sd": 0.0}
    )
    assert summary["paper"] == {"value": 0.892, "table": "ERANN v2, Table 6", "how": "scratch", "other_settings": ""}
    assert [row["checkpoint"] for row in summary["runs"]] == [str(tmp_path / str(n) / "last.safetensors") for n in (1, 2, 3)]
    path = paper_comparison.write_summary(summary, tmp_path)
    assert path == tmp_path / "summary.json" and json.loads(path.read_text()) == summary


def test_a_summary_of_fine_tuned_runs_stands_beside_the_paper_s_fine_tuned_row(tmp_path: Path) -> None:
    done = [run(tmp_path, 1, 0.9, 0.9, 0.95, model="erann-1-6", base="somebody"), run(tmp_path, 2, 0.9, 0.9, 0.85)]
    summary = paper_comparison.summary(esc50.RECIPE, done)
    assert summary["paper"]["value"] == 0.954 and summary["paper"]["how"] == "fine-tuned"
    assert summary["paper"]["other_settings"] == "another base than AudioSet"
    assert summary["test"] == pytest.approx({"mean": 0.9, "sd": 0.1 / 2**0.5})


@pytest.mark.parametrize(
    ("recipe", "changes", "value", "odd"),
    [
        (audioset.RECIPE, {"model": "erann-2-5"}, 0.446, ""),
        (audioset.RECIPE, {"model": "erann-2-5", "mixup": "none"}, 0.430, ""),
        (audioset.RECIPE, {"model": "erann-2-5", "mixup": "log-mel", "iterations": 10}, 0.439, "iterations 10, not 500000"),
        (audioset.RECIPE, {"model": "erann-2-5", "augment": ()}, 0.441, ""),
        (ravdess.RECIPE, {"model": "erann-1-3", "augment": ("spec-augment",)}, 0.669, ""),
        (
            ravdess.RECIPE,
            {"model": "erann-1-3", "augment": ("spec-augment", "pitch-shift", "noise")},
            0.731,
            "more augmentation",
        ),
        (ravdess.RECIPE, {"model": "erann-2-4", "base": "erann-2-4-audioset 0"}, 0.730, ""),
    ],
)
def test_the_papers_row_is_that_of_the_same_training_or_says_what_differs(
    recipe: Recipe, changes: dict[str, Any], value: float, odd: str
) -> None:
    found = paper_comparison.published(recipe, from_recipe(recipe, **changes))
    assert found is not None and (found[0].value, found[1]) == (value, odd)
    assert paper_comparison.published(recipe, from_recipe(recipe, **(changes | {"model": "erann-3-9"}))) is None


def test_a_summary_of_one_run_has_no_deviation_and_of_unmeasured_ones_no_mean(tmp_path: Path) -> None:
    assert paper_comparison.summary(esc50.RECIPE, [run(tmp_path, 1, 0.5, 0.75)])["best"] == {"mean": 0.75, "sd": None}
    summary = paper_comparison.summary(esc50.RECIPE, [run(tmp_path, 1, 0.5, 0.5), run(tmp_path, 2, None, None)])
    assert not {"last", "best", "test"} & summary.keys()


def test_the_difference_to_the_paper_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from eranntag.cli.display import training as render

    summary = paper_comparison.summary(esc50.RECIPE, [run(tmp_path, 1, 0.8, 0.9), run(tmp_path, 2, 0.9, 0.9)])
    render.cross_validation(summary, tmp_path / "summary.json")
    out, err = capsys.readouterr()
    assert out == "" and err.splitlines() == [
        "2 runs, last: accuracy 0.8500 +- 0.0707  (selected)",
        "2 runs, best: accuracy 0.9000 +- 0.0000",
        "ours 0.8500  paper 0.892 (ERANN v2, Table 6, scratch)  difference -0.0420",
        str(tmp_path / "summary.json"),
    ]


def test_a_run_is_valued_by_its_test_clips_where_there_are_any(tmp_path: Path) -> None:
    one = run(tmp_path, 1, 0.5, 0.75)
    assert (one.value, one.path.name) == (0.5, "last.safetensors")
    best = dataclasses.replace(one, select="best")
    assert (best.value, best.path.name) == (0.75, "best.safetensors")
    assert dataclasses.replace(best, test=0.6).value == 0.6
    unmeasured = run(tmp_path, 1, None, None)
    assert dataclasses.replace(unmeasured, select="best").path.name == "last.safetensors" and unmeasured.value is None


# Settings


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("acumulate=2", ("not NAME=VALUE with one of", "accumulate")),
        ("accumulate", ("which value? Write accumulate=VALUE",)),
        ("=2", ("not NAME=VALUE",)),
        ("model=erann-1-3", ("not NAME=VALUE",)),
        ("accumulate=two", ("accumulate takes a value of type int",)),
        ("patience=1.5", ("patience takes a value of type int",)),
        ("ema_decay=", ("ema_decay takes a value of type float",)),
        ("ema_warm_up=yes", ("ema_warm_up takes a value of type bool",)),
        ("ema_decay=1", ("ema_decay must be at least 0 and below 1, not 1.0",)),
        ("learning_rate=nan", ("learning_rate must be above 0",)),
        ("accumulate=0", ("accumulate must be above 0",)),
        ("accumulate=-1", ("accumulate must be above 0",)),
        ("accumulate=3", ("cannot be divided into 3 equal parts",)),
        ("schedule=onecycle", ("schedule 'onecycle' is none of constant, one-cycle", "one-cycle'?")),
        ("sampler=balance", ("sampler 'balance' is none of",)),
        ("mixup=modifed", ("no 'modifed' among the kinds of mixup",)),
        ("dtype=float64", ("dtype", "float64", "bfloat16")),
        ("seed=-1", ("seed",)),
        ("crop_seconds=inf", ("crop_seconds",)),
    ],
)
def test_an_impossible_setting_is_a_usage_error(data: Path, tmp_path: Path, assignment: str, words: tuple[str, ...]) -> None:
    line = runs.error(train(data, tmp_path / "run", "--set", assignment), code=2)
    assert all(word in line for word in words), line
    assert not (tmp_path / "run").exists()


def test_an_unknown_setting_gets_a_guess(data: Path, tmp_path: Path) -> None:
    assert "did you mean 'accumulate'?" in runs.error(train(data, tmp_path, "--set", "acumulate=2"), code=2)


def test_any_setting_can_be_given_and_is_in_the_header(data: Path, tmp_path: Path) -> None:
    given = {"accumulate": 2, "ema_decay": 0.5, "ema_warm_up": True, "clip_gradients": 1.5, "sampler": "weighted"}
    changes = [part for name, value in given.items() for part in ("--set", f"{name}={str(value).lower()}")]
    result = train(data, tmp_path, *changes, "--augment", "noise=20-30,spec-augment")
    assert result.exit_code == 0, result.stderr
    training = header.read_checkpoint(tmp_path / "last.safetensors").training
    assert training.items() >= {**given, "augment": ["noise=20-30", "spec-augment"]}.items()
    assert training.keys() == {field.name for field in dataclasses.fields(Settings)} | {"iteration"}


# One folder has one writer


HOLDER = """
import sys
from pathlib import Path
from eranntag.files import lock

with lock.lock_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    """A folder that another process is training in."""
    folder = tmp_path / "run"
    environment = os.environ | {"PYTHONPATH": str(runs.CHECKOUT)}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], **pipes) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield folder
        process.communicate()


with_locks = pytest.mark.skipif(lock.fcntl is None, reason="there are no locks here")


@with_locks
def test_a_second_command_in_the_same_folder_is_refused(held: Path, data: Path) -> None:
    (held / "state.safetensors").write_bytes(b"theirs")
    line = runs.error(train(data, held, "--restart"))
    assert line == f"{held}: another process is writing there; wait for it, or choose another folder"
    assert {path.name for path in held.iterdir()} == {".lock", "state.safetensors"}
    assert (held / "state.safetensors").read_bytes() == b"theirs"


@with_locks
def test_a_folder_is_free_again_after_its_run_and_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), lock.lock_folder(tmp_path / "deep" / "run"):
        with (
            pytest.raises(EranntagError, match="another process is writing there"),
            lock.lock_folder(tmp_path / "deep" / "run"),
        ):
            pass
        raise ZeroDivisionError
    with lock.lock_folder(tmp_path / "deep" / "run"):
        assert (tmp_path / "deep" / "run").is_dir()


def test_tensorboard_is_written_where_it_is_installed(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    assert train(data, tmp_path / "run", "--tensorboard", "--fold", 1).exit_code == 0
    (events,) = (tmp_path / "run" / "tensorboard").iterdir()
    content = events.read_bytes()
    assert all(name in content for name in (b"loss", b"lr", b"accuracy"))


def test_tensorboard_is_asked_for_in_one_line_where_it_is_not(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    line = runs.error(train(data, tmp_path / "run", "--tensorboard"), 2)
    assert line == "--tensorboard needs a package: pip install tensorboard" and not (tmp_path / "run").exists()


def test_the_carved_clips_are_listed_for_whoever_wants_to_measure_on_them(data: Path, tmp_path: Path) -> None:
    assert train(data, tmp_path / "run", "--validation", 0.2).exit_code == 0
    with open(tmp_path / "run" / "split.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["split"] for row in rows] == ["train"] * 8 + ["validation"] * 2
    assert {Path(row["filename"]) for row in rows} == set((data / "audio").iterdir())
