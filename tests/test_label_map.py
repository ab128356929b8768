"""Labels of one set for another: the maps of the recipes, the scores they make, and `evaluate` by them."""

import csv
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator
from math import sqrt
from pathlib import Path
from typing import Any

import miniature
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from eranntag import registry
from eranntag.checkpoints import weights
from eranntag.cli import cli
from eranntag.engines.eager import Eager
from eranntag.errors import UsageError
from eranntag.evaluation import label_map, metrics
from eranntag.evaluation.label_map import LabelMap
from eranntag.evaluation.tagging import evaluate
from eranntag.features import melstft
from eranntag.inference import pipeline as predicting
from eranntag.inference.network import Network
from eranntag.inference.tagger import Tagger
from eranntag.models import mn
from eranntag.recipes import audioset, esc50, ravdess
from eranntag.types import Checkpoint, Dataset, Example, Prediction, Recipe

MEANINGS = {"dog": ("Bark", "Dog"), "rain": ("Rain",), "fridge": (), "wind": ("Wind", "Howl")}
LABELS = ("Rain", "Howl", "Dog", "Speech", "Wind", "Bark")
MAPPED = dataclasses.replace(esc50.RECIPE, name="four", labels=tuple(MEANINGS), audioset_labels=MEANINGS, folds=(1, 2))
SCORES = {  # file: (true class, scores of LABELS, fold)
    "a": (0, (0.1, 0.2, 0.3, 0.9, 0.4, 0.6), 1),  # Bark, a dog
    "b": (0, (0.1, 0.2, 0.5, 0.9, 0.6, 0.3), 1),  # Wind before Dog
    "c": (1, (0.7, 0.2, 0.3, 0.9, 0.1, 0.6), 1),  # Rain
    "d": (2, (0.3, 0.2, 0.1, 0.9, 0.2, 0.1), 2),  # the fridge, which has no label: Rain
    "e": (3, (0.1, 0.8, 0.3, 0.9, 0.1, 0.6), 2),  # Howl, the wind
}
DATASET = Dataset(MAPPED, tuple(Example(name, (true,), fold) for name, (true, _, fold) in SCORES.items()))


# The maps


@pytest.mark.parametrize("name", registry.names("eranntag.recipes"))
def test_every_map_is_of_the_recipes_classes_and_of_audiosets_labels(name: str) -> None:
    recipe: Recipe = registry.get("eranntag.recipes", name).RECIPE
    assert bool(recipe.audioset_labels) == (name in ("esc50", "urbansound8k"))
    if recipe.audioset_labels:
        labels = [label for meanings in recipe.audioset_labels.values() for label in meanings]
        assert tuple(recipe.audioset_labels) == recipe.labels
        assert set(labels) <= set(audioset.RECIPE.labels)
        assert len(set(labels)) == len(labels)  # else two classes would share a score
        without = [label for label, meanings in recipe.audioset_labels.items() if not meanings]
        assert without == (["washing_machine"] if name == "esc50" else [])


def test_esc50s_map_is_the_one_beside_the_data_but_for_the_rodent(data_root: Path) -> None:
    with open(data_root / "esc50" / "to_audioset.csv", newline="", encoding="utf-8") as file:
        theirs = {row["category"]: tuple(filter(None, row["audioset_labels"].split("|"))) for row in csv.DictReader(file)}
    assert theirs == {**esc50.RECIPE.audioset_labels, "mouse_click": ("Mouse", "Clicking")}


# Columns


def spec(checkpoint: Checkpoint, *labels: str, **changes: Any) -> Checkpoint:
    return dataclasses.replace(checkpoint, labels=labels, **changes)


def test_a_checkpoints_own_labels_come_before_the_map(tiny_checkpoint: Checkpoint) -> None:
    own = label_map.between(spec(tiny_checkpoint, "wind", "fridge", "dog", "rain"), MAPPED)
    assert own == LabelMap(((2,), (3,), (1,), (0,))) and not own.missing
    some = label_map.between(spec(tiny_checkpoint, *LABELS, *MAPPED.labels), MAPPED)
    assert some == LabelMap(((6,), (7,), (8,), (9,)))
    mapped = label_map.between(spec(tiny_checkpoint, *LABELS), MAPPED)
    assert mapped == LabelMap(((5, 2), (0,), (), (4, 1)), mapped=True) and mapped.missing == (2,)


def test_a_class_has_the_highest_score_of_its_labels(tiny_checkpoint: Checkpoint) -> None:
    mapped = label_map.between(spec(tiny_checkpoint, *LABELS), MAPPED)
    scores = np.random.default_rng(0).random((5, 6), np.float32)
    by_name = dict(zip(LABELS, scores.T, strict=True))
    result = mapped.scores(scores)
    assert result.dtype == np.float32 and result.shape == (5, 4)
    for label, column in zip(MAPPED.labels, result.T, strict=True):
        expected = np.max([by_name[each] for each in MEANINGS[label]], 0) if MEANINGS[label] else np.zeros(5)
        np.testing.assert_array_equal(column, expected)


def test_a_checkpoint_that_lacks_labels_of_both_is_refused(tiny_checkpoint: Checkpoint) -> None:
    with pytest.raises(UsageError, match="tiny has 5 classes of its own, not those of four: it has no 'dog', nor 'Bark', "):
        label_map.between(spec(tiny_checkpoint, *LABELS[:-1]), MAPPED)
    without = dataclasses.replace(MAPPED, audioset_labels={})
    with pytest.raises(UsageError, match=r"not those of four: it has no 'dog'$"):
        label_map.between(spec(tiny_checkpoint, *LABELS), without)


# Evaluation


@pytest.fixture
def by_hand(tiny_tagger: Tagger, monkeypatch: pytest.MonkeyPatch) -> Tagger:
    """Its scores are those of SCORES."""

    def scored(tagger: Tagger, sources: Iterable[str], batch: int | None) -> Iterator[Prediction]:
        for source in sources:
            yield Prediction(tagger.labels, np.array(SCORES[source][1], np.float32), 1.0, source)

    monkeypatch.setattr(predicting, "predict", scored)
    tiny_tagger.checkpoint = spec(tiny_tagger.checkpoint, *LABELS)
    return tiny_tagger


def test_other_labels_are_evaluated_by_the_map(by_hand: Tagger) -> None:
    result = evaluate(by_hand, DATASET)
    np.testing.assert_array_equal(result.confusion, [[1, 0, 0, 1], [0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    assert result.value == result.measures["accuracy"] == pytest.approx(3 / 5)
    assert sorted(result.confusions()) == [("dog", "wind", 1), ("fridge", "rain", 1)]
    fridge = result.per_class[2]
    assert (fridge["clips"], fridge["recall"], fridge["AUC"]) == (1, 0, 0.5) and np.isnan(fridge["precision"])
    summary = result.summary()
    assert summary[0] == f"tiny on four: accuracy 0.6000 (standard error {sqrt(0.6 * 0.4 / 5):.4f}, 5 clips)"
    assert "labels mapped: the score of a class is the highest of its labels' among the checkpoint's 6" in summary
    assert "cannot be recognized, as no label of the checkpoint means them: fridge (1 clip)" in summary
    assert evaluate(by_hand, DATASET, fold=1).unmapped == [{"label": "fridge", "clips": 0}]


def test_json_says_that_labels_were_mapped_and_which_classes_were_not(by_hand: Tagger) -> None:
    record = json.loads(json.dumps(evaluate(by_hand, DATASET).to_dict(), allow_nan=False))
    assert (record["labels_mapped"], record["unmapped"]) == (True, [{"label": "fridge", "clips": 1}])
    assert (record["classes"], record["checkpoint_classes"]) == (4, 6)
    assert record["standard_error"] == pytest.approx(sqrt(0.6 * 0.4 / 5)) and record["value"] == pytest.approx(0.6)
    assert [row["label"] for row in record["per_class"]] == list(MEANINGS)


def test_a_map_has_no_calibrated_thresholds_but_a_part_of_the_classes_has(by_hand: Tagger) -> None:
    several = dataclasses.replace(MAPPED, activation="sigmoid", metric="mAP", folds=())
    by_hand.checkpoint = dataclasses.replace(by_hand.checkpoint, thresholds=(0.65, 0.5, 0.2, 0.5, 0.5, 0.55))
    examples = tuple(dataclasses.replace(example, fold=None) for example in DATASET.examples)
    mapped = evaluate(by_hand, Dataset(several, examples))
    assert mapped.decisions.keys() == {"0.5"} and "standard_error" not in mapped.to_dict()
    part = dataclasses.replace(several, labels=("Dog", "Rain"), audioset_labels={})
    some = evaluate(by_hand, Dataset(part, examples[:3]))
    np.testing.assert_array_equal(some.scores, np.array([[0.3, 0.1], [0.5, 0.1], [0.3, 0.7]], np.float32))
    assert some.decisions["calibrated"] == pytest.approx(
        metrics.precision_recall_f1(some.scores >= np.array([0.2, 0.65]), some.targets)
    )
    assert "2 of the checkpoint's 6 classes" in some.summary()
    assert (some.to_dict()["labels_mapped"], some.to_dict()["unmapped"]) == (False, [])


def test_a_checkpoint_with_its_own_classes_says_nothing_of_labels(by_hand: Tagger) -> None:
    recipe = dataclasses.replace(MAPPED, labels=LABELS)
    lines = evaluate(by_hand, Dataset(recipe, DATASET.examples)).summary()
    assert not [line for line in lines if "mapped" in line or "of the checkpoint's" in line]


# The command, with AudioSet's 527 labels and random weights


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ESC-50 of a dog, a rooster and a washing machine."""
    root = tmp_path_factory.mktemp("data")
    (root / "ESC-50" / "meta").mkdir(parents=True)
    lines = ["filename,fold,target,category"]
    for index, label in enumerate(("dog", "rooster", "washing_machine"), 1):
        lines.append(f"{index}-{index}-A.wav,{index},{esc50.LABELS.index(label)},{label}")
        miniature.tones(root / "ESC-50" / "audio" / f"{index}-{index}-A.wav", (300.0 * index,), 0.3, seed=index)
    (root / "ESC-50" / "meta" / "esc50.csv").write_text("\n".join(lines), encoding="utf-8")
    return root


@pytest.fixture
def model(tiny_tagger: Tagger, tiny_checkpoint: Checkpoint, tmp_path: Path) -> str:
    """Of the tiny tagger's statistics, so that scores are not saturated."""
    network = Network(dataclasses.replace(tiny_checkpoint, labels=audioset.RECIPE.labels))
    tiny = tiny_tagger.network.state_dict()
    own = network.state_dict()
    network.load_state_dict({name: tiny[name] if tiny[name].shape == value.shape else value for name, value in own.items()})
    weights.save(network, tmp_path / "audioset.safetensors")
    return str(tmp_path / "audioset.safetensors")


def command(*args: str | Path) -> Result:
    return CliRunner().invoke(cli, [*map(str, args), "--device", "cpu", "--engine", "eager"], catch_exceptions=False)


def said_by_hand(data: Path, model: str) -> dict[str, str]:
    """The true class of each clip, and the best one by what `predict` prints."""
    clips = {"1-1-A.wav": "dog", "2-2-A.wav": "rooster", "3-3-A.wav": "washing_machine"}
    lines = command("predict", data / "ESC-50" / "audio", "-c", model, "--top", "527", "--format", "jsonl").stdout.splitlines()
    said = {}
    for record in map(json.loads, lines):
        scores = {tag["label"]: tag["score"] for tag in record["tags"]}
        best = {label: max((scores[each] for each in of), default=0) for label, of in esc50.RECIPE.audioset_labels.items()}
        said[clips[Path(record["source"]).name]] = max(best, key=lambda label: best[label])
    return said


def test_evaluate_scores_esc50_by_audiosets_labels(data: Path, model: str) -> None:
    esc = ("evaluate", "esc50", "--data", data, "-c", model)
    result = command(*esc)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "cannot be recognized, as no label of the checkpoint means them: washing_machine (1 clip)\n" in result.stdout
    record = json.loads(command(*esc, "--json", "--paper").stdout)
    said = said_by_hand(data, model)
    assert {pair["true"]: pair["said"] for pair in record["confusions"]} == {k: v for k, v in said.items() if k != v}
    assert record["value"] == pytest.approx(np.mean([true == best for true, best in said.items()]))
    assert (record["trained_on"], record["labels_mapped"], record["paper"]) == (0, True, [])
    assert json.loads(command(*esc, "--json", "--fold", "2", "--sample-rate", "8000").stdout)["clips"] == 1


def test_the_page_of_mapped_labels(data: Path, model: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert command("evaluate", "esc50", "--data", data, "-c", model, "--page", tmp_path / "page.html").exit_code == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "washing_machine (1 clip)" in page and "labels mapped" in page


def test_an_ensemble_is_mapped_as_its_members_are(data: Path, model: str, tmp_path: Path) -> None:
    digest = hashlib.sha256(Path(model).read_bytes()).hexdigest()
    rows = [
        f'[checkpoints.{name}]\ntitle = "{name}"\narchitecture = "erann-2-1"\nclasses = 527\n'
        f'weights = "audioset.safetensors"\nsha256 = "{digest}"\n'
        for name in ("one", "two")
    ]
    both = '[checkpoints.both]\ntitle = "both"\nclasses = 527\nmembers = ["one", "two"]\nfusion = "weighted-average"\n'
    (tmp_path / "own.toml").write_text("\n".join([*rows, both]), encoding="utf-8")
    esc = ("evaluate", "esc50", "--data", data, "--json", "--registry", tmp_path / "own.toml")
    one, two = (json.loads(command(*esc, "-c", name).stdout) for name in ("one", "both"))
    assert two["labels_mapped"] and (two["value"], two["confusions"]) == (one["value"], one["confusions"])


def test_data_of_ones_own_may_have_some_of_the_checkpoints_classes(data: Path, model: str, tmp_path: Path) -> None:
    audio = data / "ESC-50" / "audio"
    rows = ["filename,label", f"{audio}/1-1-A.wav,Dog", f'{audio}/2-2-A.wav,"Crowing, cock-a-doodle-doo"']
    (tmp_path / "own.csv").write_text("\n".join(rows), encoding="utf-8")
    own = ("evaluate", "csv", "--data", tmp_path / "own.csv", "-c", model)
    result = command(*own)
    assert result.exit_code == 0 and "2 of the checkpoint's 527 classes\n" in result.stdout
    record = json.loads(command(*own, "--json").stdout)
    assert (record["classes"], record["checkpoint_classes"], record["labels_mapped"]) == (2, 527, False)
    (tmp_path / "own.csv").write_text("\n".join([*rows, f"{audio}/3-3-A.wav,washer"]), encoding="utf-8")
    refused = command(*own)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.endswith("has 527 classes of its own, not those of csv: it has no 'washer'\n")


def test_a_public_tagger_recognizes_esc50_without_training(data_root: Path) -> None:
    """Two clips of each category; of all 2000 it recognizes 0.7615."""
    path = data_root / "teacher" / "mn04_as_mAP_432.pt"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    public = Checkpoint(
        name="mn04",
        family="mn",
        model=dataclasses.asdict(mn.Config(width=0.4)),
        frontend_family="melstft",
        frontend=dataclasses.asdict(melstft.Config()),
        labels=audioset.RECIPE.labels,
        activation="sigmoid",
    )
    network = Network(public)
    network.model.load_state_dict(torch.load(path, weights_only=True))
    dataset = esc50.read(str(data_root))
    clips: dict[tuple[int, ...], list[Example]] = {}
    for example in dataset.examples:
        clips.setdefault(example.targets, []).append(example)
    some = tuple(example for examples in clips.values() for example in examples[-2:])
    result = evaluate(Eager(network.eval()), dataclasses.replace(dataset, examples=some))
    assert result.clips == 100 and result.value == pytest.approx(0.7615, abs=3 * sqrt(0.76 * 0.24 / 100))
    assert result.unmapped == [{"label": "washing_machine", "clips": 2}]


def test_urbansound8k_is_mapped_as_a_whole(model: str, tmp_path: Path) -> None:
    root = miniature.urbansound8k(tmp_path / "UrbanSound8K", per_fold=1)
    result = command("evaluate", "urbansound8k", "--data", root, "-c", model, "--json")
    record = json.loads(result.stdout)
    assert (result.exit_code, record["labels_mapped"], record["unmapped"], record["clips"]) == (0, True, [], 10)


def test_emotions_are_no_sounds_of_audioset(tiny_checkpoint: Checkpoint) -> None:
    with pytest.raises(UsageError, match=r"not those of ravdess: it has no '\w+'$"):
        label_map.between(spec(tiny_checkpoint, *audioset.RECIPE.labels), ravdess.RECIPE)
