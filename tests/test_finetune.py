"""Fine-tuning on sounds of one's own: tones, noise and clicks that the base has never been told apart."""

import csv
import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runs
import torch
from click.testing import Result
from safetensors.torch import load_file

from eranntag import recipes
from eranntag.checkpoints import header, weights
from eranntag.checkpoints.digest import file_sha256
from eranntag.engines.eager import Eager
from eranntag.evaluation import metrics
from eranntag.inference.network import Network
from eranntag.recipes import esc50
from eranntag.recipes._custom import OWN
from eranntag.training import initialization, loop
from eranntag.training.config import from_recipe
from eranntag.training.splits import split_dataset
from eranntag.types import Checkpoint

KINDS = ("click", "hiss", "tone")
SAME = ("--iterations", 2, "--evaluate-every", 1, "--lr", 1e-3, "--batch", 6)


def sound(kind: str, seed: int) -> np.ndarray:
    """A second of it, different for every seed."""
    rng = np.random.default_rng(seed)
    if kind == "tone":
        return runs.tone(rng.uniform(300, 3000))
    if kind == "hiss":
        return rng.normal(0, rng.uniform(0.05, 0.2), runs.RATE)
    clicks = np.zeros(runs.RATE)
    clicks[rng.integers(0, runs.RATE, 12)] = rng.uniform(0.5, 0.9, 12)
    return clicks


def write_table(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five recordings a class, each of two clips."""
    folder = tmp_path_factory.mktemp("own")
    rows = [["filename", "label", "group"]]
    for kind in KINDS:
        for seed in range(10):
            runs.write(folder / f"{kind}{seed}.wav", sound(kind, seed))
            rows.append([f"{kind}{seed}.wav", kind, f"{kind}-{seed // 2}"])
    return write_table(folder / "labels.csv", rows)


@pytest.fixture(scope="module")
def new_clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Named by their class."""
    folder = tmp_path_factory.mktemp("new")
    return [runs.write(folder / kind / f"{seed}.wav", sound(kind, seed)) for kind in KINDS for seed in range(100, 105)]


def base_of(seed: int) -> Network:
    torch.manual_seed(seed)
    spec = Checkpoint(
        name="base",
        family="erann",
        model={"s_m": 2, "width": 1, "shortcut_bn": True},
        frontend_family="logmel",
        frontend={"sample_rate_hz": runs.RATE},
        labels=("dog", "rain", "siren", "door, slamming"),
        activation="sigmoid",
        title="A base",
        data="WaveformCache of the base",
        licence="CC0",
        thresholds=(0.1, 0.2, 0.3, 0.4),
        metrics={"metric": "mAP", "value": 0.4},
        training={"recipe": "audioset"},
    )
    network = Network(spec)
    with torch.no_grad():
        torch.nn.init.uniform_(network.model.bn0.weight, 0.9, 1.1)
        network.model.bn0.running_mean.fill_(-30)
        network.model.bn0.running_var.fill_(400)
    return network.eval()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base") / "base.safetensors"
    weights.save(base_of(0), path, half=False)
    return path


def finetune(base: Path, data: Path, out: Path, *options: object, recipe: str = "csv") -> Result:
    short = ["--batch", 4, "--iterations", 2, "--mixup", "none", "--augment", "none", *runs.TINY]
    return runs.command("finetune", base, recipe, "--data", data, "--out", out, *short, *options)


@pytest.fixture(scope="module")
def tuned(base: Path, table: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A run of two iterations, with an evaluation after each."""
    out = tmp_path_factory.mktemp("runs") / "tuned"
    result = finetune(base, table, out, *SAME)
    assert result.exit_code == 0, result.stderr
    return out, result


@pytest.fixture(scope="module")
def learned(base: Path, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that learned its classes. The base's weights are random, so it takes larger steps than a real one's."""
    out = tmp_path_factory.mktemp("runs") / "learned"
    result = finetune(base, table, out, "--iterations", 60, "--evaluate-every", 30, "--lr", 1e-3, "--batch", 6)
    assert result.exit_code == 0, result.stderr
    return out / "best.safetensors"


# What comes out


def test_the_run_prints_its_best_checkpoint(tuned: tuple[Path, Result]) -> None:
    assert tuned[1].stdout == f"{tuned[0] / 'best.safetensors'}\n"


@pytest.mark.slow
def test_the_checkpoint_knows_the_classes_of_new_clips(learned: Path, new_clips: list[Path]) -> None:
    predicted = runs.command("predict", "-c", learned, "--device", "cpu", "--format", "jsonl", *new_clips)
    assert predicted.exit_code == 0, predicted.stderr
    records = [json.loads(line) for line in predicted.stdout.splitlines()]
    right = [record["tags"][0]["label"] == Path(record["source"]).parent.name for record in records]
    assert len(right) == 15 and sum(right) >= 12, records


def test_its_header_says_what_it_is_and_what_it_comes_from(tuned: tuple[Path, Result], base: Path) -> None:
    spec = header.read_checkpoint(tuned[0] / "best.safetensors")
    assert (spec.name, spec.labels, spec.activation) == ("base-csv", KINDS, "softmax")
    assert spec.title.startswith("base fine-tuned on Own data: labels.csv (")
    assert spec.data.startswith("WaveformCache of the base; Own data: labels.csv") and spec.licence == "CC0"
    assert spec.training["base"] == f"base {file_sha256(base)[:12]}" and spec.training["head"] == "fc2"
    assert (spec.training["recipe"], spec.training["model"]) == ("csv", "erann-2-1")
    assert spec.metrics["metric"] == "accuracy" and spec.metrics["selection"] == "best"
    assert spec.metrics["data"] == "csv, a validation part of its training clips"


def test_its_header_does_not_say_that_all_clips_were_trained_on(tuned: tuple[Path, Result]) -> None:
    """A fifth of them was held out."""
    assert "all training clips" not in header.read_checkpoint(tuned[0] / "best.safetensors").data


@pytest.mark.slow
def test_it_has_a_calibrated_threshold_for_each_label(learned: Path, table: Path) -> None:
    """As good on the held-out clips as any could be, although scores of a confident network lie close to 0 and 1."""
    tagger = Eager(weights.load(learned))
    dataset = recipes.load("csv", str(table))
    held_out = split_dataset(dataset, validation=0.2).held_out
    scores = np.stack([tagger.tag(str(example.path)).scores for example in held_out])
    targets = metrics.multi_hot([example.targets for example in held_out], len(KINDS))
    thresholds = np.array(tagger.checkpoint.thresholds)
    assert thresholds.shape == (len(KINDS),) and (thresholds > 0).all()
    assert metrics.precision_recall_f1(scores >= thresholds, targets)["f1_macro"] == metrics.best_f1(scores, targets).mean()
    assert header.read_checkpoint(learned).thresholds == tagger.checkpoint.thresholds


def test_what_was_done_is_said_in_words(tuned: tuple[Path, Result]) -> None:
    lines = tuned[1].stderr.splitlines()
    assert lines[0] == "csv: 30 clips"
    clips = "24 clips of 3 classes (Own data: labels.csv)"
    assert f"erann-2-1 fine-tuned from base, with a new fc2, on {clips}: 2 of 2 iterations" in lines
    assert any(line.startswith("on 6 held-out clips: accuracy ") for line in lines)
    assert any(line.startswith("thresholds: ") for line in lines)


def test_whole_recordings_are_held_out(tuned: tuple[Path, Result]) -> None:
    assert header.read_checkpoint(tuned[0] / "best.safetensors").training["clips"].startswith("24+6 clips ")


# How it begins


@pytest.mark.parametrize("head", ["fc2", "fc1+fc2"])
def test_a_run_begins_with_the_base_and_new_last_layers(head: str) -> None:
    base = base_of(0)
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    recipe = dataclasses.replace(OWN, name="csv", labels=KINDS)
    settings = from_recipe(recipe, model="erann-2-1", base="base 0", head=head, seed=3)
    tuned = initialization.network(recipe, settings, base)
    new = {"fc2.weight", "fc2.bias"} | ({"fc1.weight", "fc1.bias"} if head == "fc1+fc2" else set())
    ours = tuned.model.state_dict()
    assert {name for name, value in before.items() if not torch.equal(ours[name], value)} == new
    assert ours["fc2.weight"].shape == (3, 128) and tuned.checkpoint.labels == KINDS
    assert torch.equal(ours["bn0.running_mean"], torch.full((128,), -30.0))
    again, other = (initialization.network(recipe, dataclasses.replace(settings, seed=seed), base) for seed in (3, 4))
    assert torch.equal(again.model.fc2.weight, ours["fc2.weight"])
    assert not torch.equal(other.model.fc2.weight, ours["fc2.weight"])
    untouched = base.model.state_dict()
    assert base.checkpoint.labels[0] == "dog" and all(torch.equal(untouched[name], value) for name, value in before.items())


def test_nothing_of_the_base_s_own_measures_is_kept() -> None:
    recipe = dataclasses.replace(esc50.RECIPE, min_seconds=2)
    settings = from_recipe(recipe, model="erann-2-1", base="base 0", head="fc2", fold=2)
    spec = initialization.network(recipe, settings, base_of(0)).checkpoint
    assert (spec.name, spec.thresholds, spec.activation) == ("base-esc50-fold2", (), "softmax")
    assert spec.licence == "CC0; CC BY-NC 3.0" and spec.data.endswith("; ESC-50 environmental sounds, without fold 2")
    assert spec.frontend == {"sample_rate_hz": runs.RATE, "min_seconds": 2}
    assert spec.title == "base fine-tuned on ESC-50 environmental sounds (without fold 2)"


def test_the_protocol_is_the_recipe_s_for_fine_tuning() -> None:
    settings = from_recipe(esc50.RECIPE, model="erann-1-6", base="base 0", head="fc2")
    assert (settings.iterations, settings.learning_rate, settings.evaluate_every) == (2000, 1e-4, 50)
    assert from_recipe(esc50.RECIPE, base="base 0", model="erann-1-6", iterations=7).iterations == 7


# Resuming


@pytest.fixture
def run(tuned: tuple[Path, Result], tmp_path: Path) -> Path:
    """A copy of the finished run, to be spoiled."""
    return Path(shutil.copytree(tuned[0], tmp_path / "run"))


def test_a_finished_run_is_not_tuned_further(run: Path, base: Path, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop.Trainer, "step", lambda *_: pytest.fail("an iteration was computed"))
    result = finetune(base, table, run, *SAME)
    assert (result.exit_code, result.stdout) == (0, f"{run / 'best.safetensors'}\n"), result.stderr
    assert len(header.read_checkpoint(run / "best.safetensors").thresholds) == 3


def test_another_base_is_refused(run: Path, table: Path, tmp_path: Path) -> None:
    other = tmp_path / "base.safetensors"
    weights.save(base_of(1), other)
    state = (run / "state.safetensors").read_bytes()
    line = runs.error(finetune(other, table, run, *SAME))
    assert line.startswith(f"{run / 'state.safetensors'}: a run with other settings (base 'base ") and "--restart" in line
    assert (run / "state.safetensors").read_bytes() == state


def test_other_clips_are_refused_and_the_same_ones_elsewhere_are_not(
    run: Path, base: Path, table: Path, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(table.parent, tmp_path / "moved")) / "labels.csv"
    assert finetune(base, moved, run, *SAME).exit_code == 0
    moved.write_text(moved.read_text().replace("tone9.wav,tone", "tone9.wav,hiss"))
    assert "clips '24+6 clips " in runs.error(finetune(base, moved, run, *SAME))


@pytest.mark.kill
def test_a_run_that_was_stopped_goes_on(base: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, step = iter([True, False]), loop.Trainer.step

    def interrupted(*args: Any) -> torch.Tensor:
        if next(steps):
            return step(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "SAVE_SECONDS", -1)
        patch.setattr(loop.Trainer, "step", interrupted)
        assert finetune(base, table, tmp_path / "stopped").exit_code == 130
    assert finetune(base, table, tmp_path / "stopped").exit_code == 0
    assert finetune(base, table, tmp_path / "whole").exit_code == 0
    assert runs.history(tmp_path / "stopped") == runs.history(tmp_path / "whole")
    stopped, whole = (weights.load(tmp_path / name / "best.safetensors") for name in ("stopped", "whole"))
    assert all(torch.equal(a, b) for a, b in zip(stopped.model.parameters(), whole.model.parameters(), strict=True))
    assert stopped.checkpoint.thresholds == whole.checkpoint.thresholds


# Other data


def test_all_clips_are_trained_on_without_a_validation_share(base: Path, table: Path, tmp_path: Path) -> None:
    result = finetune(base, table, tmp_path, "--validation", 0)
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'last.safetensors'}\n"), result.stderr
    assert not (tmp_path / "best.safetensors").exists()
    spec = header.read_checkpoint(tmp_path / "last.safetensors")
    assert spec.training["clips"].startswith("30+0 clips ") and spec.training["patience"] == 0
    assert spec.thresholds == () and spec.metrics == {}
    assert "held-out" not in result.stderr


def test_the_test_part_is_measured_and_decides_nothing(base: Path, table: Path, tmp_path: Path) -> None:
    rows = [[str(table.parent / name), label, "test" if "9" in name else "train"] for name, label, _ in body(table)]
    listed = write_table(tmp_path / "split.csv", [["filename", "label", "split"], *rows])
    result = finetune(base, listed, tmp_path / "run")
    assert result.exit_code == 0, result.stderr
    spec = header.read_checkpoint(tmp_path / "run" / "best.safetensors")
    assert spec.metrics["test_clips"] == 3 and 0 <= spec.metrics["test"] <= 1 and len(spec.thresholds) == 3
    assert "on 3 test clips, which decided nothing: accuracy " in result.stderr
    assert spec.training["clips"].startswith("21+6 clips ")


def body(table: Path) -> list[list[str]]:
    with open(table, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


def test_folds_of_a_table_are_cross_validated(base: Path, table: Path, tmp_path: Path) -> None:
    rows = [[str(table.parent / f"{kind}{seed}.wav"), kind, str(seed % 2 + 1)] for kind in KINDS for seed in range(4)]
    listed = write_table(tmp_path / "folds.csv", [["filename", "label", "fold"], *rows])
    result = finetune(base, listed, tmp_path / "run", "--folds", "all", "--iterations", 1, "--validation", 0.4)
    assert result.exit_code == 0, result.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert [run["fold"] for run in summary["runs"]] == [1, 2] and summary["selection"] == "best"
    assert {"last", "best", "test"} <= summary.keys()


@pytest.mark.slow
def test_several_labels_a_clip_are_independent_classes(base: Path, table: Path, tmp_path: Path) -> None:
    rows = [["filename", "labels"], *([str(table.parent / name), label] for name, label, _ in body(table))]
    for seed in range(6):
        both = 0.5 * sound("tone", seed) + 0.5 * sound("hiss", seed)
        rows.append([str(runs.write(tmp_path / f"both{seed}.wav", both)), "tone;hiss"])
        rows.append([str(runs.write(tmp_path / f"neither{seed}.wav", np.full(runs.RATE, 1e-3 * seed))), ""])
    listed = write_table(tmp_path / "labels.csv", rows)
    result = finetune(base, listed, tmp_path / "run")
    assert result.exit_code == 0, result.stderr
    spec = header.read_checkpoint(tmp_path / "run" / "best.safetensors")
    assert (spec.labels, spec.activation, spec.metrics["metric"]) == (KINDS, "sigmoid", "mAP")
    assert 0 < spec.metrics["value"] <= 1 and len(spec.thresholds) == 3
    args = ("-c", tmp_path / "run" / "best.safetensors", "--device", "cpu", "--format", "jsonl", "--top", 3)
    predicted = runs.command("predict", *args, tmp_path / "both0.wav")
    assert {tag["label"] for tag in json.loads(predicted.stdout)["tags"]} == set(KINDS), predicted.stderr


@pytest.mark.filterwarnings("error")
def test_held_out_clips_without_any_label_measure_nothing(base: Path, table: Path, tmp_path: Path) -> None:
    """mAP needs a clip that has a class; the run goes on without."""
    rows = [[str(table.parent / f"{kind}{seed}.wav"), kind, "train"] for kind in KINDS for seed in range(2)]
    rows += [[str(table.parent / "tone8.wav"), "", "validation"], [str(table.parent / "tone9.wav"), "", "test"]]
    listed = write_table(tmp_path / "labels.csv", [["filename", "labels", "split"], *rows])
    result = finetune(base, listed, tmp_path / "run")
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'run' / 'last.safetensors'}\n"), result.stderr
    assert "nan" not in (tmp_path / "run" / "history.jsonl").read_text().lower() + result.stderr.lower()


def test_folders_of_sounds_are_taken_too(base: Path, new_clips: list[Path], tmp_path: Path) -> None:
    result = finetune(base, new_clips[0].parents[1], tmp_path, recipe="folder")
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'best.safetensors'}\n"), result.stderr
    assert header.read_checkpoint(tmp_path / "best.safetensors").labels == KINDS


@pytest.mark.slow
def test_a_broken_clip_is_left_out_and_said_once(base: Path, table: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(table.parent, tmp_path / "own")) / "labels.csv"
    for name in ("tone3", "hiss4"):
        (moved.parent / f"{name}.wav").write_text("no sound")
    result = finetune(base, moved, tmp_path / "run", "--iterations", 12)
    assert result.exit_code == 0, result.stderr
    for name in ("tone3", "hiss4"):
        assert sum(f"{name}.wav: " in line for line in result.stderr.splitlines()) <= 1
    assert "(left out)" in result.stderr


# Going on with the same classes


@pytest.mark.slow
def test_a_kept_head_begins_where_the_checkpoint_ended(run: Path, table: Path, tmp_path: Path) -> None:
    short = ("--iterations", 1, "--lr", 1e-12, "--seed", 1)  # seed 0 would draw the head that the training began with
    tuned = run / "best.safetensors"
    heads = {}
    for head in ("keep", "fc2"):
        result = finetune(tuned, table, tmp_path / head, "--head", head, *short)
        assert result.exit_code == 0, result.stderr
        assert ("with the head it had," in result.stderr) == (head == "keep")
        heads[head] = load_file(tmp_path / head / "last.safetensors")["fc2.weight"]
    spec = header.read_checkpoint(tmp_path / "keep" / "last.safetensors")
    assert spec.training["head"] == "keep" and spec.data == header.read_checkpoint(tuned).data  # and says it once
    before = load_file(tuned)["fc2.weight"]
    torch.testing.assert_close(heads["keep"], before, rtol=1e-3, atol=1e-6)  # float16 in the file
    assert (heads["fc2"] - before).abs().max() > 0.01


# What cannot be


def test_a_head_that_the_family_lacks_is_a_usage_error(base: Path, table: Path, tmp_path: Path) -> None:
    line = runs.error(finetune(base, table, tmp_path / "run", "--head", "fc3"), code=2)
    assert line == "--head fc3: must be fc2, fc1+fc2, keep or probe; did you mean 'fc2'?"
    assert not (tmp_path / "run").exists()


def test_a_head_for_other_classes_cannot_be_kept(base: Path, table: Path, tmp_path: Path) -> None:
    line = runs.error(finetune(base, table, tmp_path / "run", "--head", "keep"), code=2)
    assert line.startswith("--head keep: base has 4 classes of its own, not those of csv: only one of them has ")
    assert line.endswith("; leave --head out to replace the last layer") and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": KINDS[::-1]}, "in another order"),
        ({"activation": "sigmoid"}, "has sigmoid scores, csv needs softmax ones"),
    ],
)
def test_a_head_for_the_same_classes_that_means_others_cannot_be_kept(
    run: Path, table: Path, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    network = weights.load(run / "best.safetensors")
    network.checkpoint = dataclasses.replace(network.checkpoint, thresholds=(), **change)
    weights.save(network, tmp_path / "other.safetensors")
    line = runs.error(finetune(tmp_path / "other.safetensors", table, tmp_path / "kept", "--head", "keep"), code=2)
    assert words in line and not (tmp_path / "kept").exists()


@pytest.mark.parametrize("share", ["-0.1", "1", "nan"])
def test_an_impossible_share_is_a_usage_error(base: Path, table: Path, tmp_path: Path, share: str) -> None:
    assert "validation" in runs.error(finetune(base, table, tmp_path / "run", "--validation", share), code=2)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("filename,label\ntone1.wav,tone\ntone2.wav,tone\n", ("at least 2 classes", "only 'tone'")),
        ("filename,label\n", ("at least 2 classes", "none")),
        ("", ("needs a column filename",)),
        ("file;kind\ntone1.wav;tone\n", ("needs a column filename and a column label",)),
        ("filename,label\ngone1.wav,tone\ngone2.wav,hiss\n", ("none of the files", "gone1.wav")),
        ("filename,label,split\ntone1.wav,tone,test\nhiss1.wav,hiss,test\n", ("no clips are left to train on",)),
    ],
)
def test_a_table_that_cannot_be_trained_on_is_a_line(
    base: Path, table: Path, tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    (tmp_path / "labels.csv").write_text(text)
    for name in ("tone1.wav", "tone2.wav", "hiss1.wav"):
        shutil.copy(table.parent / name, tmp_path)
    line = runs.error(finetune(base, tmp_path, tmp_path / "run"))
    assert all(word in line for word in words), line
    assert not (tmp_path / "run").exists()


def test_a_base_or_data_that_are_not_there_are_a_line(base: Path, table: Path, tmp_path: Path) -> None:
    assert str(tmp_path / "no.safetensors") in runs.error(finetune(tmp_path / "no.safetensors", table, tmp_path / "run"))
    assert str(tmp_path / "no.csv") in runs.error(finetune(base, tmp_path / "no.csv", tmp_path / "run"))
    assert "no fold" in runs.error(finetune(base, table, tmp_path / "run", "--fold", 1), code=2)


def test_clips_that_are_all_broken_are_a_line(base: Path, tmp_path: Path) -> None:
    for kind in KINDS[:2]:
        (tmp_path / "own" / kind).mkdir(parents=True)
        for name in ("a.wav", "b.wav"):
            (tmp_path / "own" / kind / name).write_text("no sound")
    line = runs.error(finetune(base, tmp_path / "own", tmp_path / "run", recipe="folder"))
    assert line.startswith("none of the 2 clips can be decoded; the first is ")


@pytest.mark.slow
def test_a_base_that_knows_the_clips_to_be_measured_is_told_of(tmp_path: Path) -> None:
    """It was trained without fold 1; so fold 2 was in its training set, and stays known to what is fine-tuned from it."""
    data, options = runs.esc50(tmp_path / "esc50"), ("--iterations", 1, "--batch", 2, *runs.TINY)
    first = ("--model", "erann-2-1", "--fold", 1, "--out", tmp_path / "base")
    assert runs.command("train", "esc50", "--data", data, *first, *options).exit_code == 0
    base, known = tmp_path / "base" / "last.safetensors", "2 of the clips to be measured were in the training set"
    for fold, told in ((1, 0), (2, 1)):
        out = ("--fold", fold, "--validation", 0, "--out", tmp_path / str(fold))
        result = runs.command("finetune", base, "esc50", "--data", data, *out, *options)
        assert result.exit_code == 0 and result.stderr.count(known) == told
        checkpoint = ("-c", tmp_path / str(fold) / "last.safetensors", "--data", data, "--fold", fold, "--device", "cpu")
        assert json.loads(runs.command("evaluate", "esc50", *checkpoint, "--json").stdout)["trained_on"] == 2 * told
