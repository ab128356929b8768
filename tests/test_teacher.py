"""A teacher beside the labels: what the targets become, which teachers fit, and runs that can be stopped at any moment."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runs
import torch
from safetensors.torch import load_file

from eranntag.audio import reader
from eranntag.checkpoints import header, weights
from eranntag.engines.eager import Eager
from eranntag.errors import UsageError
from eranntag.recipes import esc50, ravdess
from eranntag.training import paper_comparison
from eranntag.training.augment import Augment
from eranntag.training.config import from_recipe, parse
from eranntag.training.data import Batches, WaveformCache
from eranntag.training.samplers import Shuffled
from eranntag.training.soft_labels import SoftLabels, of_teacher
from eranntag.training.splits import Splits, review
from eranntag.types import Checkpoint, Clip, Example, Recipe

RATE = 44100
LABELS = ("siren", "dog", "rain")  # some of the teacher's, in another order
WHOLE = slice(0, 4)


def recipe(activation: str = "softmax", **changes: Any) -> Recipe:
    return dataclasses.replace(esc50.RECIPE, labels=LABELS, activation=activation, audioset_labels={}, **changes)


class Memory(WaveformCache):
    """Six clips of a second, in memory: clip i has the class i % 3."""

    def __init__(self) -> None:
        super().__init__([Example(str(index), (index % 3,)) for index in range(6)], RATE)
        sounds = [runs.hiss(index) if index % 2 else runs.tone(300 + 100 * index) for index in range(6)]
        self.kept = {index: reader.to_int16(sound) for index, sound in enumerate(sounds)}


def batches(soften: SoftLabels | None = None) -> Batches:
    sounds = Memory()
    sampler = Shuffled([example.targets for example in sounds.examples], 0)
    return Batches(sounds, len(LABELS), sampler, RATE, 0, 4, 2, soften)


def tagged(tagger: Eager, waveforms: torch.Tensor, labels: tuple[str, ...] = LABELS) -> np.ndarray:
    """What `predict` scores of 16-bit crops: (clips, labels), by their names."""
    rows = []
    for waveform in waveforms.numpy():
        tags = tagger.tag(Clip(waveform[None].astype(np.float32) / reader.FULL_SCALE, RATE)).top(None)
        scores = {tag.label: tag.score for tag in tags}
        rows.append([scores[label] for label in labels])
    return np.array(rows)


@pytest.fixture
def tagger(tiny_tagger: Eager) -> Eager:
    """One whose scores of any sound are far from 0 and 1."""
    with torch.no_grad():
        tiny_tagger.network.model.fc2.weight /= 50
    return tiny_tagger


# Targets


def test_a_target_is_the_weighted_sum_of_labels_and_scores(tagger: Eager) -> None:
    hard = batches().draw(3, WHOLE).batch
    scores = tagged(tagger, hard.waveform)
    assert scores.min() > 0.01 and scores.max() < 0.99 and scores.std(0).min() > 1e-3  # of each crop its own
    for activation, expected in (("sigmoid", scores), ("softmax", scores / scores.sum(1, keepdims=True))):
        for weight in (0.25, 1.0):
            soft = batches(of_teacher(tagger, "", weight, recipe(activation))).draw(3, WHOLE).batch
            assert torch.equal(soft.waveform, hard.waveform) and soft.target.dtype == torch.float32
            mixed = (1 - weight) * hard.target.numpy() + weight * expected
            np.testing.assert_allclose(soft.target, mixed, rtol=1e-4, atol=1e-5)


def test_the_scores_of_a_softmax_teacher_with_all_classes_stay_as_they_are(tagger: Eager) -> None:
    labels = tagger.labels[::-1]
    tagger.checkpoint = dataclasses.replace(tagger.checkpoint, activation="softmax")
    soft = of_teacher(tagger, "", 1.0, dataclasses.replace(recipe(), labels=labels))
    crops = batches().draw(0, WHOLE).batch.waveform
    targets = soft(crops.numpy().astype(np.float32) / reader.FULL_SCALE, RATE, torch.zeros(8, 4))
    np.testing.assert_allclose(targets, tagged(tagger, crops, labels), rtol=1e-4, atol=1e-5)


def scored_as(tagger: Eager, scores: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """The teacher's scores of any two crops."""
    monkeypatch.setattr(type(tagger), "scores", lambda tagger, prepared: scores)


def test_audiosets_labels_are_mapped(tagger: Eager, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class has the highest score of its labels; a clip of a class without a label keeps its own."""
    tagger.checkpoint = dataclasses.replace(tagger.checkpoint, labels=("Bark", "Rain", "Howl", "Dog"))
    meanings = {"siren": (), "dog": ("Bark", "Dog"), "rain": ("Rain",)}
    mapped = dataclasses.replace(recipe(), audioset_labels=meanings)
    scored_as(tagger, np.array([[0.2, 0.1, 0.9, 0.4], [0.2, 0.1, 0.9, 0.4]], np.float32), monkeypatch)
    labels = torch.eye(3)[[2, 0]]  # rain, and a siren
    targets = of_teacher(tagger, "", 0.9, mapped)(np.zeros((2, RATE), np.float32), RATE, labels)
    torch.testing.assert_close(targets, torch.tensor([[0, 0.9 * 0.8, 0.1 + 0.9 * 0.2], [1, 0, 0]]))


def test_scores_that_are_all_zero_leave_the_labels_share(tagger: Eager, monkeypatch: pytest.MonkeyPatch) -> None:
    scored_as(tagger, np.zeros((2, 4), np.float32), monkeypatch)
    labels = torch.eye(3)[:2]
    targets = of_teacher(tagger, "", 0.75, recipe())(np.zeros((2, RATE), np.float32), RATE, labels)
    assert torch.equal(targets, 0.25 * labels)


def test_shares_of_a_batch_have_its_targets(tagger: Eager) -> None:
    soft = batches(of_teacher(tagger, "", 0.9, recipe()))
    whole = soft.draw(2, WHOLE).batch.target
    parts = torch.cat([soft.draw(2, share).batch.target for share in (slice(0, 1), slice(1, 4))])
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mixup", ["standard", "modified", "log-mel"])
def test_mixup_mixes_soft_targets_as_labels(mixup: str, tagger: Eager) -> None:
    """Of a mixture the scores have the share that the labels have: (1 - w) * mixed labels + w * mixed scores."""

    def mixed(soften: SoftLabels | None) -> torch.Tensor:
        drawn = batches(soften).draw(1, WHOLE)
        floats = dataclasses.replace(drawn.batch, waveform=drawn.batch.waveform / reader.FULL_SCALE)
        augment = Augment(("pitch-shift",), mixup, 1.0, RATE)
        return augment.images(floats, tagger.network.frontend, drawn.clip_rngs, drawn.rngs)[1]

    hard, soft, alone = (mixed(weight and of_teacher(tagger, "", weight, recipe())) for weight in (None, 0.6, 1.0))
    assert ((hard > 0).sum(1) == 2).any()  # two classes
    torch.testing.assert_close(soft, 0.4 * hard + 0.6 * alone, rtol=1e-4, atol=1e-5)


def test_a_teacher_of_other_classes_is_refused(tagger: Eager) -> None:
    message = (
        "^--teacher: tiny has 4 classes of its own, not those of ravdess.*; make one by `eranntag finetune CHECKPOINT ravdess"
    )
    with pytest.raises(UsageError, match=message):
        of_teacher(tagger, "", 0.9, ravdess.RECIPE)


# What a run states


def test_the_weight_is_a_share_and_has_one_option() -> None:
    for weight in (-0.1, 1.1, float("nan")):
        with pytest.raises(UsageError, match="teacher_weight must be from 0 to 1"):
            from_recipe(esc50.RECIPE, "erann-1-3", teacher_weight=weight)
    with pytest.raises(UsageError, match="--set teacher_weight=1: not NAME=VALUE"):
        parse(["teacher_weight=1"])


def test_the_paper_had_no_teacher() -> None:
    plain = from_recipe(esc50.RECIPE, "erann-1-3")
    for settings, difference in ((plain, ""), (dataclasses.replace(plain, teacher_weight=0.9), "soft labels of a teacher")):
        assert paper_comparison.published(esc50.RECIPE, settings)[1] == difference  # type: ignore[index]


@pytest.mark.parametrize(("fold", "leaked"), [(1, 0), (2, 1), (None, 1)])
def test_clips_that_the_teacher_was_trained_on_are_counted(fold: int | None, leaked: int, tiny_checkpoint: Checkpoint) -> None:
    """Those to be reported alone: the test clips where others are held out to select by."""
    teacher = dataclasses.replace(tiny_checkpoint, data=esc50.RECIPE.title, training={"recipe": "esc50", "fold": fold})
    test, held_out = Example("a", (0,), 1), Example("b", (0,), 3)
    for parts in (Splits([], [held_out], [test], has_validation=True), Splits([], [test], [])):
        assert review(esc50.RECIPE, parts, None, teacher).seen_by_teacher == leaked
        assert review(esc50.RECIPE, parts, None, tiny_checkpoint).seen_by_teacher == 0


# The commands


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.esc50(tmp_path_factory.mktemp("data") / "ESC-50-master", folds=2)


@pytest.fixture
def teachers(tiny_checkpoint: Checkpoint, tmp_path: Path) -> Callable[..., Path]:
    """`teachers(fold)` writes a checkpoint with ESC-50's classes in another order that left the fold out."""
    from eranntag.inference.network import Network

    def write(fold: int) -> Path:
        torch.manual_seed(fold)
        labels, training = esc50.RECIPE.labels[::-1], {"recipe": "esc50", "fold": fold}
        spec = dataclasses.replace(tiny_checkpoint, name=f"teacher-fold{fold}", labels=labels, activation="softmax")
        network = Network(dataclasses.replace(spec, data=esc50.RECIPE.title, training=training))
        path = tmp_path / f"teacher-fold{fold}.safetensors"
        weights.save(network, path, half=False)
        return path

    return write


def trained(data: Path, out: Path, *options: object) -> Any:
    short = ("--model", "erann-2-1", "--batch", 2, "--iterations", 4, "--evaluate-every", 2, *runs.TINY)
    return runs.command("train", "esc50", "--data", data, "--out", out, *short, *options)


@pytest.mark.kill
def test_a_stopped_run_ends_with_the_same_numbers(data: Path, teachers: Callable[..., Path], tmp_path: Path) -> None:
    options = ("--fold", 1, "--teacher", teachers(1), "--teacher-weight", 0.8)
    result = trained(data, tmp_path / "whole", *options)
    assert result.exit_code == 0 and "warning" not in result.stderr, result.stderr
    assert "soft labels: 0.8 of each target by teacher-fold1 " in result.stderr
    spec = header.read_checkpoint(tmp_path / "whole" / "last.safetensors")
    assert spec.training["teacher"].startswith("teacher-fold1 ") and spec.training["teacher_weight"] == 0.8
    assert f"soft labels of {spec.training['teacher']}" in spec.title
    with runs.stopped_before(4):
        assert trained(data, tmp_path / "cut", *options).exit_code == 130
    line = runs.error(trained(data, tmp_path / "cut", "--fold", 1))
    assert "teacher 'teacher-fold1 " in line and "teacher_weight 0.8 there, 0.0 now" in line
    assert trained(data, tmp_path / "cut", *options).exit_code == 0
    whole, cut = (load_file(tmp_path / name / "last.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert runs.history(tmp_path / "whole") == runs.history(tmp_path / "cut")
    assert trained(data, tmp_path / "plain", "--fold", 1, "--iterations", 1).exit_code == 0
    assert runs.history(tmp_path / "whole")[0]["loss"] != runs.history(tmp_path / "plain")[0]["loss"]


@pytest.mark.slow
def test_each_fold_has_its_own_teacher(data: Path, teachers: Callable[..., Path], tmp_path: Path) -> None:
    """Fine-tuned from one of them, which was trained on the clips of fold 2 too; the teachers were not."""
    base, _ = teachers(1), teachers(2)
    options = ("--data", data, "--fold", "1,2", "--iterations", 1, "--batch", 2, "--validation", 0, *runs.TINY)
    result = runs.command("finetune", base, "esc50", "--out", tmp_path / "runs", *options,
                          "--teacher", tmp_path / "teacher-fold{fold}.safetensors")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    for fold in (1, 2):
        training = header.read_checkpoint(tmp_path / "runs" / f"fold{fold}-seed0" / "last.safetensors").training
        assert training["teacher"].startswith(f"teacher-fold{fold} ") and training["teacher_weight"] == 0.9
    assert result.stderr.count("were in the training set of the checkpoint that is fine-tuned") == 1
    assert "warning" not in result.stderr


def test_a_teacher_that_was_trained_on_the_fold_is_a_warning(data: Path, teachers: Callable[..., Path], tmp_path: Path) -> None:
    first, second = teachers(1), teachers(2)
    result = trained(data, tmp_path / "run", "--fold", 1, "--teacher", first, "--teacher", second, "--iterations", 1)
    assert result.exit_code == 0, result.stderr
    assert "warning: the teacher was trained on 2 of the clips to be measured" in result.stderr
    teacher = header.read_checkpoint(tmp_path / "run" / "last.safetensors").training["teacher"]
    assert teacher.startswith("teacher-fold1.safetensors and teacher-fold2.safetensors ") and len(teacher.split()) == 5


def test_what_cannot_be_taught(tiny_tagger: Eager, data: Path, teachers: Callable[..., Path], tmp_path: Path) -> None:
    out, good = tmp_path / "run", teachers(1)
    for weight in ("0", "1.5", "-1"):
        result = trained(data, out, "--teacher", good, "--teacher-weight", weight)
        assert result.exit_code == 2 and "0<x<=1" in result.stderr
    assert "there is no teacher" in runs.error(trained(data, out, "--teacher-weight", 0.5), code=2)
    named = tmp_path / "teacher-fold{fold}.safetensors"
    assert f"--teacher {named}: which fold?" in runs.error(trained(data, out, "--teacher", named), code=2)
    gone = runs.error(trained(data, out, "--teacher", named, "--fold", "all"))
    assert "teacher-fold2.safetensors: no such checkpoint file" in gone
    weights.save(tiny_tagger.network, tmp_path / "tiny.safetensors")
    line = runs.error(trained(data, out, "--teacher", tmp_path / "tiny.safetensors"), code=2)
    assert line.startswith("--teacher: tiny has 4 classes of its own, not those of esc50: it has no 'rooster'")
    assert line.endswith("make one by `eranntag finetune CHECKPOINT esc50 --head probe`")
    probe = runs.command("finetune", good, "esc50", "--data", data, "--head", "probe", "--teacher", good)
    assert "--teacher is for training" in runs.error(probe, code=2)
    assert not out.exists()
