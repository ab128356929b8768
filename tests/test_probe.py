"""A linear head on embeddings: the regression, the checkpoint that it becomes, and `finetune --head probe`."""

import builtins
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runs
import torch
from test_finetune import KINDS, base_of, body, sound, write_table

from eranntag import recipes
from eranntag.checkpoints import header, loading, weights
from eranntag.engines.eager import Eager
from eranntag.errors import UsageError
from eranntag.inference.network import Network
from eranntag.training import logistic, probe

pytest.importorskip("sklearn")


def clusters(classes: int, each: int, size: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors around the unit vectors, targets, and groups of two clips."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    vectors = np.eye(classes, size)[labels] * 3 + rng.standard_normal((len(labels), size))
    return vectors.astype(np.float32), np.eye(classes, dtype=bool)[labels], np.arange(len(labels)) // 2


# The regression


def test_the_multinomial_regression_is_scikit_learns() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    vectors, targets, groups = clusters(4, 20)
    found = logistic.fit(vectors, targets, groups, "softmax")
    scaler = StandardScaler().fit(vectors)
    theirs = LogisticRegression(C=found.strength, tol=logistic.TOLERANCE).fit(scaler.transform(vectors), targets.argmax(1))
    ours = np.exp(found.logits(vectors))
    expected = theirs.predict_proba(scaler.transform(vectors))
    np.testing.assert_allclose(ours / ours.sum(1, keepdims=True), expected, rtol=0, atol=0.01)  # the solver's tolerance
    assert found.scores is not None and found.log_loss is not None
    assert (found.scores.argmax(1) == targets.argmax(1)).mean() > 0.85
    assert found.log_loss == pytest.approx(-np.log(found.scores[targets]).mean(), rel=1e-5)


def test_the_strength_has_the_lowest_log_loss() -> None:
    """Of overlapping classes a weak penalty fits the noise, of far ones a strong one wastes what is known."""
    rng = np.random.default_rng(3)
    vectors, targets, groups = clusters(3, 20)
    noise = rng.standard_normal((60, 40)).astype(np.float32)
    assert logistic.fit(noise, targets, groups, "softmax").strength <= 0.1
    assert logistic.fit(10 * vectors, targets, groups, "softmax").strength >= 0.3


def test_clips_of_one_recording_stay_on_one_side() -> None:
    """Twins with a vector of their own and random labels: whoever sees one of them can name the other."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(2), 20))
    vectors = np.repeat(np.eye(40, dtype=np.float32), 2, 0)
    targets = np.eye(2, dtype=bool)[np.repeat(labels, 2)]
    together = logistic.fit(vectors, targets, np.arange(80) // 2, "softmax")
    apart = logistic.fit(vectors, targets, np.arange(80), "softmax")
    assert together.log_loss is not None and apart.log_loss is not None
    assert together.log_loss > 0.65 and apart.log_loss < 0.5


def test_independent_classes_are_regressions_of_their_own() -> None:
    vectors, targets, groups = clusters(3, 20)
    targets[:10, 2] = True  # two classes at once
    found = logistic.fit(vectors, targets, groups, "sigmoid")
    scores = 1 / (1 + np.exp(-found.logits(vectors)))
    assert (scores[:, :2].round() == targets[:, :2]).mean() > 0.9
    alone = logistic.fit(vectors, np.stack([targets[:, 0], ~targets[:, 0]], 1), groups, "sigmoid")
    np.testing.assert_allclose(alone.weight[0], -alone.weight[1], atol=1e-2)


def test_classes_without_clips_and_two_classes() -> None:
    vectors, targets, groups = clusters(2, 20)
    wide = np.pad(targets, ((0, 0), (0, 1)))
    for activation in ("softmax", "sigmoid"):
        logits = logistic.fit(vectors, wide, groups, activation).logits(vectors)
        assert (logits[:, 2] == logistic.ABSENT).all()
        assert (logits.argmax(1) == targets.argmax(1)).mean() > 0.9
    with pytest.raises(UsageError, match="two classes"):
        logistic.fit(vectors, targets[:, :1] | True, groups, "softmax")


def test_too_few_recordings_for_cross_validation() -> None:
    vectors, targets, _ = clusters(2, 4)
    found = logistic.fit(vectors, targets, np.repeat([0, 1], 4), "softmax")
    assert (found.strength, found.scores, found.log_loss) == (1.0, None, None)
    assert (found.logits(vectors).argmax(1) == targets.argmax(1)).all()


# Heads


@pytest.mark.parametrize(
    ("family", "model", "frontend"),
    [("erann", {"s_m": 2, "width": 1}, "logmel"), ("mn", {"width": 0.1}, "melstft"), ("cnn14", {"channels": 2}, "logmel"),
     ("psla", {}, "fbank")],
)  # fmt: skip
def test_a_linear_head_in_every_family(family: str, model: dict[str, Any], frontend: str, tiny_checkpoint: Any) -> None:
    spec = dataclasses.replace(tiny_checkpoint, family=family, model=model, frontend_family=frontend, frontend={})
    network = Network(spec).eval()
    head = network.model.linear_head(3)
    waveform = 0.1 * torch.randn(1, 44100, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        output = network(waveform[:, : network.frontend.config.padded_samples(30000, network.model.frame_multiple)])
        torch.testing.assert_close(output.clip_logits, head(output.embedding), rtol=1e-4, atol=1e-4)
    changed = dataclasses.replace(spec, model=dataclasses.asdict(network.model.config), labels=("a", "b", "c"))
    again = Network(changed)
    again.load_tensors(network.tensors())
    assert again.model.embedding_size == output.embedding.shape[1]


def test_two_step_attention_has_no_linear_head(tiny_checkpoint: Any) -> None:
    spec = dataclasses.replace(tiny_checkpoint, family="apae", model={}, frontend_family="melmag", frontend={})
    with pytest.raises(UsageError, match="2apae has no linear head"):
        Network(spec).model.linear_head(3)


# The command


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base") / "base.safetensors"
    weights.save(base_of(0), path, half=False)
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six recordings a class, each of two clips, in two folds."""
    folder = tmp_path_factory.mktemp("own")
    rows = [["filename", "label", "group", "fold"]]
    for kind in KINDS:
        for seed in range(12):
            runs.write(folder / f"{kind}{seed}.wav", sound(kind, seed))
            rows.append([f"{kind}{seed}.wav", kind, f"{kind}-{seed // 2}", str(1 + seed // 6)])
    return write_table(folder / "labels.csv", rows)


def fitted(base: Path, data: Path, out: Path, *options: object) -> Any:
    return runs.command("finetune", base, "csv", "--data", data, "--out", out, "--head", "probe", *options)


@pytest.fixture(scope="module")
def done(base: Path, table: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    out = tmp_path_factory.mktemp("runs") / "probe"
    result = fitted(base, table, out, "--fold", 2)
    assert result.exit_code == 0, result.stderr
    return out / "probe.safetensors", result


def test_the_checkpoint_is_an_ordinary_one(done: tuple[Path, Any], base: Path, table: Path) -> None:
    path, result = done
    assert result.stdout == f"{path}\n"
    assert "18 clips of 3 classes" in result.stderr and "on 18 clips that it was not fitted on: accuracy" in result.stderr
    spec = header.read_checkpoint(path)
    assert spec.labels == KINDS and spec.activation == "softmax" and spec.model["linear_head"] is True
    assert spec.training["head"] == "probe" and spec.training["fold"] == 2 and spec.training["base"].startswith("base ")
    assert spec.training["bases"] == [{"recipe": "audioset"}] and spec.frontend == header.read_checkpoint(base).frontend
    assert "linear probe" in spec.title and spec.data.startswith("WaveformCache of the base; ")
    assert spec.thresholds == ()  # 6 clips a class are too few
    predicted = runs.command("predict", "-c", path, "--engine", "eager", "--format", "jsonl", table.parent / "tone7.wav")
    assert json.loads(predicted.stdout)["tags"][0]["label"] == "tone"


def test_the_value_in_the_header_is_that_of_evaluate(done: tuple[Path, Any], table: Path) -> None:
    """From the file, whose matrices are in float16, over the same clips."""
    from eranntag.evaluation.tagging import evaluate

    result = evaluate(Eager(weights.load(done[0])), recipes.load("csv", str(table)), 2)
    metrics = header.read_checkpoint(done[0]).metrics
    assert metrics["metric"] == "accuracy" and metrics["clips"] == result.clips == 18
    assert result.value == pytest.approx(metrics["value"], abs=1 / 18 + 1e-9) and result.value > 0.8
    assert result.trained_on == 0


def test_it_can_be_trained_further(done: tuple[Path, Any], table: Path, tmp_path: Path) -> None:
    short = ("--iterations", 1, "--batch", 4, "--mixup", "none", "--augment", "none", "--validation", 0, "--head", "keep")
    result = runs.command("finetune", done[0], "csv", "--data", table, "--out", tmp_path / "run", *runs.TINY, *short)
    assert result.exit_code == 0, result.stderr
    assert header.read_checkpoint(tmp_path / "run" / "last.safetensors").model["linear_head"] is True


@pytest.mark.slow
def test_all_folds_and_seeds(base: Path, table: Path, tmp_path: Path) -> None:
    result = fitted(base, table, tmp_path / "runs", "--fold", "all", "--repeats", 2, "--seed", 3)
    assert result.exit_code == 0, result.stderr
    places = [tmp_path / "runs" / f"fold{fold}-seed{seed}" / "probe.safetensors" for seed in (3, 4) for fold in (1, 2)]
    assert result.stdout.splitlines() == [str(path) for path in places]
    summary = json.loads((tmp_path / "runs" / "summary.json").read_text())
    values = [header.read_checkpoint(path).metrics["value"] for path in places]
    assert [row["test"] for row in summary["runs"]] == values
    assert summary["test"]["mean"] == pytest.approx(np.mean(values)) and "4 runs, test: accuracy" in result.stderr


@pytest.mark.slow
def test_a_probe_on_other_clips_is_kept(base: Path, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert fitted(base, table, out).exit_code == 0 and fitted(base, table, out).exit_code == 0
    before = (out / "probe.safetensors").read_bytes()
    rows = [["filename", "label"], *([str(table.parent / name), label] for name, label, *_ in body(table) if label != "hiss")]
    other = write_table(tmp_path / "labels.csv", rows)
    line = runs.error(fitted(base, other, out), code=2)
    assert "is a probe with another clips" in line and "--restart" in line
    assert (out / "probe.safetensors").read_bytes() == before
    assert fitted(base, other, out, "--restart").exit_code == 0
    assert header.read_checkpoint(out / "probe.safetensors").labels == ("click", "tone")
    line = runs.error(fitted(base, table, out / "probe.safetensors"), code=2)
    assert "is a file; name a folder" in line


@pytest.mark.slow
def test_missing_clips_are_counted(base: Path, table: Path, tmp_path: Path) -> None:
    rows = [["filename", "label"], *([str(table.parent / name), label] for name, label, *_ in body(table))]
    result = fitted(base, write_table(tmp_path / "labels.csv", [*rows, ["gone.wav", "tone"]]), tmp_path / "run")
    assert result.exit_code == 0 and "36 clips, 1 missing: gone.wav" in result.stderr
    assert "by cross-validation (accuracy " in result.stderr


@pytest.mark.slow
def test_thresholds_where_classes_have_enough_clips(base: Path, table: Path, tmp_path: Path) -> None:
    """Scores of the cross-validation, so that no threshold is fitted to clips that its regression was fitted to."""
    assert fitted(base, table, tmp_path / "all").exit_code == 0
    spec = header.read_checkpoint(tmp_path / "all" / "probe.safetensors")
    assert len(spec.thresholds) == 3 and all(0 < threshold < 1 for threshold in spec.thresholds) and not spec.metrics


@pytest.mark.slow
def test_broken_clips_are_named_and_left_out(base: Path, table: Path, tmp_path: Path) -> None:
    rows = [["filename", "label"], *([str(table.parent / name), label] for name, label, *_ in body(table))]
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    listed = write_table(tmp_path / "labels.csv", [*rows, [str(tmp_path / "broken.wav"), "tone"]])
    result = fitted(base, listed, tmp_path / "run")
    assert result.exit_code == 3 and "36 clips of 3 classes" in result.stderr
    assert sum("broken.wav: " in line for line in result.stderr.splitlines()) == 1
    assert result.stdout == f"{tmp_path / 'run' / 'probe.safetensors'}\n"


@pytest.mark.parametrize("option", ["--iterations=5", "--lr=1e-3", "--mixup=none", "--validation=0.2", "--set=accumulate=2"])
def test_options_of_training_are_refused(option: str, base: Path, table: Path, tmp_path: Path) -> None:
    line = runs.error(fitted(base, table, tmp_path / "run", option), code=2)
    assert line.startswith(f"{option.partition('=')[0]} is for training") and not (tmp_path / "run").exists()


def test_scikit_learn_is_an_extra(base: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[..., Any] = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    line = runs.error(fitted(base, table, tmp_path / "run"), code=2)
    assert line == "a probe needs scikit-learn: pip install 'eranntag[probe]'"


@pytest.mark.slow
def test_a_full_disk_leaves_no_half_checkpoint(
    base: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights, "save_file", full)
    line = runs.error(fitted(base, table, tmp_path / "run"), code=1)
    assert "No space left" in line and not list((tmp_path / "run").glob("*"))


# Real sounds


@pytest.mark.slow
def test_eight_clips_of_each_of_five_classes(data_root: Path, tmp_path: Path) -> None:
    """The public tagger's embeddings, on clips of folds that the probe was not fitted on."""
    published = data_root / "teacher" / "mn04_as_mAP_432.pt"
    if not (published.is_file() and (data_root / "esc50" / "meta").is_dir()):
        pytest.skip(f"{published} or esc50 is absent")
    from eranntag.checkpoints import convert

    convert.convert(published, tmp_path / "mn04.safetensors", "mn04", half=False)
    dataset = recipes.load("esc50", str(data_root))
    names = ("dog", "rain", "siren", "keyboard_typing", "church_bells")
    wanted = [dataset.recipe.labels.index(name) for name in names]
    rows: list[list[str]] = [["filename", "label", "fold"]]
    for index, name in zip(wanted, names, strict=True):
        clips = [example for example in dataset.examples if example.targets == (index,)]
        chosen = [each for each in clips if each.fold == 1][:8], [each for each in clips if each.fold == 2][:4]
        rows += [[str(each.path), name, str(each.fold)] for part in chosen for each in part]
    table = write_table(tmp_path / "five.csv", rows)
    result = fitted(tmp_path / "mn04.safetensors", table, tmp_path / "run", "--fold", 2, "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    spec = header.read_checkpoint(tmp_path / "run" / "probe.safetensors")
    assert spec.metrics["clips"] == 20 and spec.metrics["value"] >= 0.9
    assert loading.load(tmp_path / "run" / "probe.safetensors", device="cpu").labels == tuple(sorted(names))
    assert probe.PROBE == "probe.safetensors"
