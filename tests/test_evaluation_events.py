"""`evaluate --events`: what is found in clips whose events are known, against what was put there."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import miniature
import numpy as np
import pytest
from click.testing import CliRunner

from eranntag import recipes
from eranntag.checkpoints import weights
from eranntag.cli import cli
from eranntag.engines.eager import Eager
from eranntag.errors import DataError, UsageError
from eranntag.evaluation import sed
from eranntag.inference.detector import Detector
from eranntag.inference.events import Postprocessing
from eranntag.inference.network import Network
from eranntag.inference.prepared import Prepared
from eranntag.types import Checkpoint, Dataset, Event

HIGH = Event("high", 0.0, 2.0)
LOW = Event("low", 4.0, 6.0)


def result(reference: list[Event], estimated: list[Event]) -> sed.DetectionResult:
    return sed.DetectionResult(("high", "low"), (tuple(reference),), (tuple(estimated),), 0.5)


def test_what_is_found_right_counts_in_every_way() -> None:
    found = result([HIGH, LOW], [HIGH, LOW])
    assert all(set(measures.values()) == {1.0} for measures in found.measures.values())
    assert list(found.measures) == ["segment", "event", "onset"]


def test_a_late_end_is_wrong_for_the_event_alone() -> None:
    """Two of three segments are right, and the onset; the offset is not."""
    found = result([HIGH], [dataclasses.replace(HIGH, offset=3.0)])
    assert {kind: round(values["f1_micro"], 4) for kind, values in found.measures.items()} == {
        "segment": 0.8,
        "event": 0.0,
        "onset": 1.0,
    }


def test_rows_of_classes_count_their_own_events() -> None:
    high, low = result([HIGH, LOW], [LOW, LOW]).per_class
    assert (high["events"], high["found"], high["event_f1"]) == (1, 0, 0.0)
    assert (low["events"], low["found"], round(low["event_f1"], 4)) == (1, 2, round(2 / 3, 4))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return miniature.mixtures(tmp_path_factory.mktemp("mixtures") / "m")


@pytest.fixture
def tagger(tiny_checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> Eager:
    """It knows when anything sounds: all classes alike."""
    spec = dataclasses.replace(tiny_checkpoint, labels=("high", "low"), activation="sigmoid")
    tagger = Eager(Network(spec).eval())

    def loud(prepared: np.ndarray) -> np.ndarray:
        columns = round(tagger.frame_seconds * tagger.sample_rate_hz)
        count = -(-prepared.shape[1] // columns)
        padded = np.pad(np.abs(prepared), ((0, 0), (0, count * columns - prepared.shape[1])))
        there = padded.reshape(len(prepared), count, columns).max(2) > 0.01
        return np.where(there, 4.0, -4.0)[..., None].repeat(2, 2).astype(np.float32)

    monkeypatch.setattr(tagger, "frame_logits", loud)
    return tagger


def shifted(dataset: Dataset, *found: Event) -> Dataset:
    return dataclasses.replace(dataset, examples=tuple(dataclasses.replace(each, events=found) for each in dataset.examples))


def test_the_clips_events_are_the_truth(tagger: Eager, data: Path) -> None:
    """The same sounds with other strong labels: what was found does not change, what is right does."""
    detector = Detector(tagger, Postprocessing(min_length_seconds=0.0))
    dataset = recipes.load("mixtures", str(data))
    found = sed.evaluate(detector, dataset)
    assert len(found.reference) == len(dataset.examples) and found.frame_seconds == tagger.frame_seconds
    assert [clip for clip in found.reference] == [example.events for example in dataset.examples]
    assert all(clip for clip in found.estimated)
    true = sed.evaluate(detector, shifted(dataset, *found.estimated[0]))
    assert true.measures["event"]["recall_micro"] >= 1 / len(dataset.examples)
    none = sed.evaluate(detector, shifted(dataset))
    assert np.isnan(none.measures["event"]["f1_micro"])


def test_a_fold_alone(tagger: Eager, data: Path) -> None:
    dataset = recipes.load("mixtures", str(data))
    found = sed.evaluate(Detector(tagger, Postprocessing()), dataset, fold=2)
    assert found.reference == tuple(example.events for example in dataset.examples if example.fold == 2)


def test_a_lower_sample_rate(tagger: Eager, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector, dataset = Detector(tagger, Postprocessing()), recipes.load("mixtures", str(data))
    heard, prepare = [], detector.prepare_source

    def noted(source: Any, name: str = "") -> Prepared:
        heard.append(source.rate)
        return prepare(source, name)

    monkeypatch.setattr(detector, "prepare_source", noted)
    found = sed.evaluate(detector, dataset, sample_rate_hz=8000)
    assert heard == [8000] * len(dataset.examples) and len(found.estimated) == len(dataset.examples)


def test_a_checkpoint_with_more_classes_is_evaluated_by_those_of_the_data(tagger: Eager, data: Path) -> None:
    dataset, how = recipes.load("mixtures", str(data)), Postprocessing(min_length_seconds=0.0)
    expected = sed.evaluate(Detector(tagger, how), dataset)
    loud = tagger.frame_logits
    tagger.checkpoint = dataclasses.replace(tagger.checkpoint, labels=("other", "low", "high"))
    tagger.frame_logits = lambda prepared: loud(prepared)[..., [0, 0, 1]]  # type: ignore[method-assign]
    assert "other" in {event.label for event in Detector(tagger, how).detect(str(dataset.examples[0].path)).events}
    found = sed.evaluate(Detector(tagger, how), dataset)
    assert found.labels == ("high", "low") and found.measures == expected.measures
    assert [len(clip) for clip in found.estimated] == [len(clip) for clip in expected.estimated]


def test_events_of_other_labels_are_not_mapped(tagger: Eager, data: Path) -> None:
    dataset = recipes.load("mixtures", str(data))
    recipe = dataclasses.replace(dataset.recipe, audioset_labels={"high": ("Beep",), "low": ("Hum",)})
    tagger.checkpoint = dataclasses.replace(tagger.checkpoint, labels=("Beep", "Hum"))
    with pytest.raises(UsageError, match="tiny has not the classes of mixtures themselves; --events needs these"):
        sed.examples_to_evaluate(Detector(tagger, Postprocessing()), dataclasses.replace(dataset, recipe=recipe))


def test_data_without_strong_labels_and_without_sound(tagger: Eager, data: Path) -> None:
    detector, dataset = Detector(tagger, Postprocessing()), recipes.load("mixtures", str(data))
    weak = dataclasses.replace(dataset, examples=(*dataset.examples[1:], dataclasses.replace(dataset.examples[0], events=None)))
    with pytest.raises(UsageError, match="mixtures has no onsets and offsets"):
        sed.evaluate(detector, weak)
    gone = tuple(dataclasses.replace(example, path="nowhere.wav") for example in dataset.examples)
    with pytest.raises(DataError, match=r"no clip could be read; the first: nowhere.wav: no such file"):
        sed.evaluate(detector, dataclasses.replace(dataset, examples=gone))


@pytest.fixture
def model(tmp_path: Path, tiny_checkpoint: Checkpoint) -> str:
    spec = dataclasses.replace(tiny_checkpoint, labels=("high", "low"), activation="sigmoid")
    path = tmp_path / "tiny.safetensors"
    weights.save(Network(spec), path)
    return str(path)


def command(data: Path, model: str, *options: str) -> Any:
    args = ["evaluate", "mixtures", "--data", str(data), "-c", model, "--engine", "eager", *options]
    return CliRunner().invoke(cli, args)


def test_the_command_prints_both_and_writes_json(data: Path, model: str) -> None:
    shown = command(data, model, "--events", "--threshold", "0.9")
    assert shown.exit_code == 0, shown.output
    assert (
        "micro_AP" in shown.stdout
        and "segment-based (segments of 1 s): precision_micro" in shown.stdout
        and "onset_f1" in shown.stdout
    )
    record = json.loads(command(data, model, "--events", "--json").stdout)["events"]
    assert record["there"] == sum(len(each.events or ()) for each in recipes.load("mixtures", str(data)).examples)
    assert set(record["event_based"]) == set(record["segment_based"]) and len(record["per_class"]) == 2
    assert "events" not in json.loads(command(data, model, "--json").stdout)


def test_options_of_events_need_events(data: Path, model: str) -> None:
    wrong = command(data, model, "--median", "1", "--min-seconds", "0.5")
    assert wrong.exit_code == 2 and "--min-seconds, --median says how to find events, which needs --events" in wrong.output
