"""evaluate on scores made by hand, and the command on files of which some are broken."""

import dataclasses
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from eranntag import evaluation, metrics
from eranntag.checkpoints import weights
from eranntag.cli import cli
from eranntag.errors import DataError, UsageError
from eranntag.evaluation import evaluate
from eranntag.recipes import esc50
from eranntag.tagger import Tagger
from eranntag.types import Checkpoint, Example, Failure, Prediction

LABELS = ("dog", "rain", "siren", "wind")
RECIPE = dataclasses.replace(esc50.RECIPE, name="tiny50", labels=LABELS, folds=(1, 2))
CLIPS = {  # file: (true class, class said or None where it cannot be read, fold)
    "a": (0, 0, 1),
    "b": (0, 1, 1),
    "c": (1, 1, 1),
    "d": (1, 1, 2),
    "e": (2, 0, 2),
    "f": (2, None, 2),
}
EXAMPLES = [Example(name, (true,), fold) for name, (true, _, fold) in CLIPS.items()]


@pytest.fixture
def tiny_checkpoint(tiny_checkpoint: Checkpoint) -> Checkpoint:
    return dataclasses.replace(tiny_checkpoint, labels=LABELS)


@pytest.fixture(autouse=True)
def by_hand(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network says what CLIPS says, in the order of its own labels; except in tests with `data`."""

    def said(tagger: Tagger, sources: Iterable[str], batch: int | None) -> Iterator[Prediction | Failure]:
        for source in sources:
            index = CLIPS[source][1]
            if index is None:
                yield Failure(source, "no sound")
            else:
                scores = np.array([0.9 if label == LABELS[index] else 0.2 for label in tagger.labels])
                yield Prediction(tagger.labels, scores, 1.0, source)

    if "data" not in request.fixturenames:
        monkeypatch.setattr(evaluation, "predict", said)


def test_accuracy_is_the_share_of_the_clips_that_could_be_read(tiny_tagger: Tagger) -> None:
    result = evaluate(tiny_tagger, RECIPE, EXAMPLES)
    assert (result.clips, result.accuracy) == (5, pytest.approx(3 / 5))
    assert result.failures == (Failure("f", "no sound"),)
    assert (result.checkpoint, result.recipe, result.fold) == ("tiny", "tiny50", None)


def test_rows_of_the_confusion_matrix_are_the_truth(tiny_tagger: Tagger) -> None:
    result = evaluate(tiny_tagger, RECIPE, EXAMPLES)
    np.testing.assert_array_equal(result.confusion, [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    assert result.confusions() == [("dog", "rain", 1), ("siren", "dog", 1)]
    assert result.confusions(1) == [("dog", "rain", 1)]


def test_every_class_has_its_recall_and_precision(tiny_tagger: Tagger) -> None:
    dog, rain, siren, wind = evaluate(tiny_tagger, RECIPE, EXAMPLES).per_class()
    assert dog == ("dog", 2, 1 / 2, 1 / 2)
    assert rain == ("rain", 2, 1, pytest.approx(2 / 3))
    assert siren == ("siren", 1, 0, pytest.approx(np.nan, nan_ok=True))
    assert wind == ("wind", 0, pytest.approx(np.nan, nan_ok=True), pytest.approx(np.nan, nan_ok=True))


def test_the_order_of_the_checkpoints_labels_does_not_matter(tiny_tagger: Tagger) -> None:
    expected = evaluate(tiny_tagger, RECIPE, EXAMPLES)
    order = (2, 0, 3, 1)
    tiny_tagger.checkpoint = dataclasses.replace(tiny_tagger.checkpoint, labels=tuple(LABELS[index] for index in order))
    result = evaluate(tiny_tagger, RECIPE, EXAMPLES)
    assert result.to_dict() == expected.to_dict()
    np.testing.assert_array_equal(result.confusion, expected.confusion)


def test_a_fold_is_evaluated_alone(tiny_tagger: Tagger) -> None:
    result = evaluate(tiny_tagger, RECIPE, EXAMPLES, fold=1)
    assert (result.fold, result.clips, result.accuracy) == (1, 3, pytest.approx(2 / 3))
    with pytest.raises(UsageError, match="has the folds 1, 2, not 3"):
        evaluate(tiny_tagger, RECIPE, EXAMPLES, fold=3)


def test_every_clip_is_a_step_of_the_progress(tiny_tagger: Tagger) -> None:
    steps = []
    evaluate(tiny_tagger, RECIPE, EXAMPLES, step=lambda: steps.append(1))
    assert len(steps) == len(CLIPS)


def test_other_classes_cannot_be_evaluated(tiny_tagger: Tagger) -> None:
    recipe = dataclasses.replace(RECIPE, labels=("dog", "rain", "siren", "bell"))
    with pytest.raises(UsageError, match="tiny has 4 classes of its own"):
        evaluate(tiny_tagger, recipe, EXAMPLES)


def test_nothing_to_evaluate_is_an_error_with_the_first_reason(tiny_tagger: Tagger) -> None:
    with pytest.raises(DataError, match="no clip could be read; the first: f: no sound"):
        evaluate(tiny_tagger, RECIPE, EXAMPLES[-1:])


def test_json_has_no_nan(tiny_tagger: Tagger) -> None:
    content = json.loads(json.dumps(evaluate(tiny_tagger, RECIPE, EXAMPLES).to_dict(), allow_nan=False))
    assert content["failed"] == [{"source": "f", "reason": "no sound"}]
    assert content["per_class"][3] == {"label": "wind", "clips": 0, "recall": None, "precision": None}
    assert content["confusions"][0] == {"true": "dog", "said": "rain", "clips": 1}


def test_a_tie_goes_to_the_first_class() -> None:
    scores = np.array([[0.5, 0.5, 0.1], [0.1, 0.2, 0.2]])
    assert metrics.accuracy(scores, np.array([0, 2])) == 0.5
    np.testing.assert_array_equal(metrics.confusion_matrix(scores, np.array([0, 2])), [[1, 0, 0], [0, 0, 0], [0, 1, 0]])


# The command.


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """An ESC-50 of three clips: the second is broken, and a fourth in the CSV is not there."""
    for folder in ("audio", "meta"):
        (tmp_path / "ESC-50" / folder).mkdir(parents=True)
    rows = ["filename,fold,target,category"] + [f"{index}.wav,1,{index},{esc50.LABELS[index]}" for index in range(4)]
    (tmp_path / "ESC-50" / "meta" / "esc50.csv").write_text("\n".join(rows))
    for index in (0, 2):
        noise = np.random.default_rng(index).normal(0, 0.1, 9999)
        soundfile.write(tmp_path / "ESC-50" / "audio" / f"{index}.wav", noise, 44100)
    (tmp_path / "ESC-50" / "audio" / "1.wav").write_text("no sound")
    return tmp_path


@pytest.fixture
def model(tiny_checkpoint: Checkpoint, tmp_path: Path) -> str:
    tagger = Tagger(dataclasses.replace(tiny_checkpoint, labels=tuple(esc50.LABELS), activation="softmax"))
    weights.save(tagger, tmp_path / "tiny.safetensors")
    return str(tmp_path / "tiny.safetensors")


def command(data: Path, model: str, *args: str) -> Result:
    return CliRunner().invoke(cli, ["evaluate", "esc50", "--data", str(data), "-c", model, "--device", "cpu", *args])


def test_a_broken_clip_is_counted_and_the_exit_code_tells(data: Path, model: str) -> None:
    result = command(data, model, "--json", "--fold", "1")
    content: dict[str, Any] = json.loads(result.stdout)
    broken, missing = (str(data / "ESC-50" / "audio" / name) for name in ("1.wav", "3.wav"))
    assert content["clips"] == 2
    assert [failure["source"] for failure in content["failed"]] == [broken, missing]
    lines = result.stderr.splitlines()
    assert [line.startswith(f"eranntag: {name}: ") for name, line in zip((broken, missing), lines, strict=True)] == [True] * 2
    assert result.exit_code == 3


def test_people_get_a_table_of_the_classes(data: Path, model: str) -> None:
    (data / "ESC-50" / "audio" / "1.wav").unlink()
    result = command(data, model)
    first, _, heading, *rows = result.stdout.splitlines()
    assert first.startswith("tiny on esc50: accuracy ") and first.endswith("(2 clips)")
    assert heading.split() == ["class", "clips", "recall", "precision"]
    assert [row.split()[0] for row in rows[:50]] == esc50.LABELS
    assert (result.exit_code, result.stderr.count("no such file")) == (3, 2)


def test_clips_of_the_training_folds_are_counted(tiny_tagger: Tagger) -> None:
    trained = dataclasses.replace(tiny_tagger.checkpoint, training={"recipe": RECIPE.name, "fold": 1})
    tiny_tagger.checkpoint = trained
    everything, held_out = evaluate(tiny_tagger, RECIPE, EXAMPLES), evaluate(tiny_tagger, RECIPE, EXAMPLES, fold=1)
    assert held_out.trained_on == 0
    assert everything.trained_on == sum(example.fold != 1 for example in EXAMPLES) > 0


def test_a_checkpoint_with_other_classes_is_refused_in_one_line(data: Path, tiny_tagger: Tagger, tmp_path: Path) -> None:
    weights.save(tiny_tagger, tmp_path / "other.safetensors")
    result = command(data, str(tmp_path / "other.safetensors"))
    assert result.stderr == "eranntag: error: tiny has 4 classes of its own, not those of esc50\n"
    assert (result.exit_code, result.stdout) == (2, "")
