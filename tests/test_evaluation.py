"""evaluate on scores made by hand, and the command on files of which some are broken."""

import dataclasses
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from click.testing import CliRunner, Result as Run

from eranntag.checkpoints import weights
from eranntag.cli import cli
from eranntag.errors import DataError, UsageError
from eranntag.evaluation import metrics
from eranntag.evaluation.low_rate import downsampled
from eranntag.evaluation.tagging import evaluate
from eranntag.inference import pipeline as predicting
from eranntag.inference.network import Network
from eranntag.inference.prepared import Prepared, PreparedClip
from eranntag.inference.tagger import Tagger
from eranntag.recipes import esc50
from eranntag.types import Checkpoint, Dataset, Example, Failure, Prediction, Published, ShardEntry

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
EXAMPLES = tuple(Example(name, (true,), fold) for name, (true, _, fold) in CLIPS.items())
DATASET = Dataset(RECIPE, EXAMPLES, missing=("g", "h"))

TAGS = {  # several classes a clip: its targets and scores
    "a": ((0, 1), (0.9, 0.8, 0.1, 0.3)),
    "b": ((), (0.6, 0.2, 0.3, 0.3)),
    "c": ((1,), (0.2, 0.7, 0.4, 0.1)),
    "d": ((0, 2), (0.7, 0.1, 0.6, 0.2)),
}
TAGGING = Dataset(
    dataclasses.replace(RECIPE, name="tiny-set", activation="sigmoid", metric="mAP", folds=()),
    (*(Example(name, targets, split="test") for name, (targets, _) in TAGS.items()), Example("e", (3,), split="train")),
)


@pytest.fixture
def tiny_checkpoint(tiny_checkpoint: Checkpoint) -> Checkpoint:
    return dataclasses.replace(tiny_checkpoint, labels=LABELS, activation="softmax")


@pytest.fixture(autouse=True)
def by_hand(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network says what CLIPS says, in the order of its own labels; except in tests with `data`."""

    def said(tagger: Tagger, sources: Iterable[str], batch: int | None) -> Iterator[Prediction | Failure]:
        for source in sources:
            if tagger.checkpoint.activation == "sigmoid":
                yield Prediction(tagger.labels, np.array(TAGS[source][1], np.float32), 1.0, source)
                continue
            index = CLIPS[source][1]
            if index is None:
                yield Failure(source, "no sound")
            else:
                scores = np.array([0.9 if label == LABELS[index] else 0.2 for label in tagger.labels])
                yield Prediction(tagger.labels, scores, 1.0, source)

    if "data" not in request.fixturenames:
        monkeypatch.setattr(predicting, "predict", said)


def test_accuracy_is_the_share_of_the_clips_that_could_be_read(tiny_tagger: Tagger) -> None:
    result = evaluate(tiny_tagger, DATASET)
    assert (result.clips, result.value, result.measures["accuracy"]) == (5, pytest.approx(3 / 5), result.value)
    assert (result.failures, result.missing) == ((Failure("f", "no sound"),), 2)
    assert (result.checkpoint.name, result.recipe.name, result.fold) == ("tiny", "tiny50", None)
    assert "not evaluated: 1 unreadable and 2 missing clips" in result.summary()


def test_rows_of_the_confusion_matrix_are_the_truth(tiny_tagger: Tagger) -> None:
    result = evaluate(tiny_tagger, DATASET)
    np.testing.assert_array_equal(result.confusion, [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    assert result.confusions() == [("dog", "rain", 1), ("siren", "dog", 1)]
    assert result.confusions(1) == [("dog", "rain", 1)]


def test_every_class_has_its_recall_and_precision(tiny_tagger: Tagger) -> None:
    rows = evaluate(tiny_tagger, DATASET).per_class
    found = [tuple(row[name] for name in ("label", "clips", "recall", "precision")) for row in rows]
    never = pytest.approx(np.nan, nan_ok=True)
    assert found == [
        ("dog", 2, 1 / 2, 1 / 2),
        ("rain", 2, 1, pytest.approx(2 / 3)),
        ("siren", 1, 0, never),
        ("wind", 0, never, never),
    ]
    assert rows[1]["AUC"] == pytest.approx(5 / 6)  # rain: said of both its clips and of one of three others


def test_one_class_a_clip_has_measures_of_each_class_against_the_rest(tiny_tagger: Tagger) -> None:
    result = evaluate(tiny_tagger, DATASET)
    assert result.measures.keys() == {"accuracy", "mAP", "mAUC", "d_prime", "f1_macro"}
    assert result.measures["f1_macro"] == pytest.approx((1 / 2 + 4 / 5 + 0) / 3)
    assert result.measures["mAP"] == pytest.approx(np.nanmean([row["AP"] for row in result.per_class]))
    assert result.decisions == {}


def test_the_order_of_the_checkpoints_labels_does_not_matter(tiny_tagger: Tagger) -> None:
    expected = evaluate(tiny_tagger, DATASET)
    order = (2, 0, 3, 1)
    tiny_tagger.checkpoint = dataclasses.replace(tiny_tagger.checkpoint, labels=tuple(LABELS[index] for index in order))
    result = evaluate(tiny_tagger, DATASET)
    assert result.to_dict() == expected.to_dict()
    np.testing.assert_array_equal(result.confusion, expected.confusion)


def test_a_fold_is_evaluated_alone(tiny_tagger: Tagger) -> None:
    result = evaluate(tiny_tagger, DATASET, fold=1)
    assert (result.fold, result.clips, result.value) == (1, 3, pytest.approx(2 / 3))
    with pytest.raises(UsageError, match="has the folds 1, 2, not 3"):
        evaluate(tiny_tagger, DATASET, fold=3)


def test_every_clip_is_a_step_of_the_progress(tiny_tagger: Tagger) -> None:
    steps = []
    evaluate(tiny_tagger, DATASET, step=lambda: steps.append(1))
    assert len(steps) == len(CLIPS)


def test_other_classes_cannot_be_evaluated(tiny_tagger: Tagger) -> None:
    recipe = dataclasses.replace(RECIPE, labels=("dog", "rain", "siren", "zebra"))
    with pytest.raises(UsageError, match="not those of tiny50: it has no 'zebra', nor 'Bark'"):
        evaluate(tiny_tagger, Dataset(recipe, EXAMPLES))


def test_nothing_to_evaluate_is_an_error_with_the_first_reason(tiny_tagger: Tagger) -> None:
    with pytest.raises(DataError, match="no clip could be read; the first: f: no sound"):
        evaluate(tiny_tagger, Dataset(RECIPE, EXAMPLES[-1:]))


def test_json_has_no_nan(tiny_tagger: Tagger) -> None:
    content = json.loads(json.dumps(evaluate(tiny_tagger, DATASET).to_dict(), allow_nan=False))
    assert content["failed"] == [{"source": "f", "reason": "no sound"}]
    wind = {"label": "wind", "clips": 0, "recall": None, "precision": None, "AP": None, "AUC": None}
    assert content["per_class"][3] == wind
    assert (content["metric"], content["value"], content["accuracy"], content["missing"]) == ("accuracy", 0.6, 0.6, 2)
    assert (content["classes"], content["classes_in_mAP"], content["classes_in_mAUC"]) == (4, 3, 3)
    assert "paper" not in content
    assert content["confusions"][0] == {"true": "dog", "said": "rain", "clips": 1}


def test_clips_of_the_training_folds_are_counted(tiny_tagger: Tagger) -> None:
    trained = dataclasses.replace(tiny_tagger.checkpoint, training={"recipe": RECIPE.name, "fold": 1}, data=RECIPE.title)
    tiny_tagger.checkpoint = trained
    everything, held_out = evaluate(tiny_tagger, DATASET), evaluate(tiny_tagger, DATASET, fold=1)
    assert held_out.trained_on == 0
    assert everything.trained_on == sum(example.fold != 1 for example in EXAMPLES) > 0
    assert everything.summary()[-1].endswith("choose --fold")
    tiny_tagger.checkpoint = dataclasses.replace(trained, training={"recipe": RECIPE.name, "fold": None}, data=RECIPE.title)
    assert evaluate(tiny_tagger, DATASET).trained_on == len(EXAMPLES)


# Several classes a clip.


@pytest.fixture
def tagging(tiny_tagger: Tagger) -> Tagger:
    tiny_tagger.checkpoint = dataclasses.replace(tiny_tagger.checkpoint, activation="sigmoid")
    return tiny_tagger


def test_several_classes_a_clip_are_ranked(tagging: Tagger) -> None:
    result = evaluate(tagging, TAGGING)
    scores, targets = result.scores, result.targets
    assert scores.dtype == np.float32 and targets.tolist() == [[c in targets for c in range(4)] for targets, _ in TAGS.values()]
    assert result.measures.keys() == {"mAP", "mAUC", "d_prime", "micro_AP"}
    assert result.value == result.measures["mAP"] == 1  # every class is ranked perfectly among its clips
    assert result.measures["micro_AP"] == metrics.micro_average_precision(scores, targets) < 1
    dog, _, _, wind = result.per_class
    expected = {"label": "dog", "clips": 2, "AP": 1, "AUC": 1, "f1": 1, "threshold": pytest.approx(0.65)}
    assert dog == expected
    assert wind == {**expected, "label": "wind", "clips": 0, "threshold": 0.5} | dict.fromkeys(
        ("AP", "AUC", "f1"), pytest.approx(np.nan, nan_ok=True)
    )
    assert result.confusions() == []
    assert "mAP is over 3 of 4 classes: the others have no clips here" in result.summary()


def test_decisions_are_made_at_a_half_and_at_the_checkpoints_thresholds(tagging: Tagger) -> None:
    assert evaluate(tagging, TAGGING).decisions == {"0.5": pytest.approx(metrics.precision_recall_f1(*_decided(0.5)))}
    tagging.checkpoint = dataclasses.replace(tagging.checkpoint, thresholds=(0.65, 0.5, 0.5, 0.5))
    assert evaluate(tagging, TAGGING).decisions["calibrated"]["f1_micro"] == 1


def _decided(threshold: float) -> tuple[np.ndarray, np.ndarray]:
    scores = np.array([scores for _, scores in TAGS.values()])
    return scores >= threshold, np.array([[c in targets for c in range(4)] for targets, _ in TAGS.values()])


def test_several_classes_a_clip_have_no_confusions_in_json_and_no_nan(tagging: Tagger) -> None:
    content = json.loads(json.dumps(evaluate(tagging, TAGGING).to_dict(), allow_nan=False))
    assert (content["metric"], content["value"], content["d_prime"]) == ("mAP", 1, None)  # d' is infinite
    assert "confusions" not in content and "accuracy" not in content
    assert content["thresholds"]["0.5"]["recall_micro"] == 1
    assert content["per_class"][3]["AP"] is None


def test_the_parts_of_a_data_set_without_folds(tagging: Tagger) -> None:
    tagging.checkpoint = dataclasses.replace(
        tagging.checkpoint, training={"recipe": "tiny-set", "fold": None}, data=RECIPE.title
    )
    assert evaluate(tagging, TAGGING).trained_on == 0  # the test part alone
    everything = dataclasses.replace(
        TAGGING, examples=tuple(dataclasses.replace(e, split="train") for e in TAGGING.examples[:3])
    )
    assert evaluate(tagging, everything).trained_on == 3
    with pytest.raises(UsageError, match="tiny-set has no folds"):
        evaluate(tagging, TAGGING, fold=1)


def test_clips_without_any_class_have_no_measure(tagging: Tagger) -> None:
    result = evaluate(tagging, dataclasses.replace(TAGGING, examples=(Example("b", ()),)))
    assert np.isnan(result.value)
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["value"] is None


# The paper.


def test_the_paper_is_compared_with_row_by_row(tiny_tagger: Tagger) -> None:
    published = (
        Published("erann-2-1", 0.5, "Table 6"),
        Published("erann-2-1", 0.75, "Table 6", "fine-tuned"),
        Published("erann-2-1", 0.7, "Table 7", metric="mAP"),
        Published("erann-1-3", 0.9, "Table 6"),
    )
    result = evaluate(tiny_tagger, dataclasses.replace(DATASET, recipe=dataclasses.replace(RECIPE, paper=published)))
    mean_average_precision = result.measures["mAP"]
    assert mean_average_precision != 0.6
    assert [(row["how"], row["paper"], row["metric"], row["ours"]) for row in result.paper()] == [
        ("scratch", 0.5, "accuracy", 0.6),
        ("fine-tuned", 0.75, "accuracy", 0.6),
        ("scratch", 0.7, "mAP", mean_average_precision),
    ]
    assert [row["difference"] for row in result.paper()] == pytest.approx([0.1, -0.15, mean_average_precision - 0.7])
    assert result.to_dict(paper=True)["paper"][0]["table"] == "Table 6"


def test_an_architecture_that_the_paper_does_not_have(tiny_tagger: Tagger) -> None:
    result = evaluate(tiny_tagger, DATASET)
    assert result.paper() == []
    assert "erann-2-1 on tiny50; those there are of erann-0-3, erann-1-3" in result.unpublished()
    nothing = evaluate(tiny_tagger, dataclasses.replace(DATASET, recipe=dataclasses.replace(RECIPE, paper=())))
    assert nothing.unpublished().endswith("nor of any other model with these classes")


# The command.


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """An ESC-50 of three clips: the second is broken, and a fourth in the CSV is not there."""
    for folder in ("audio", "meta"):
        (tmp_path / "ESC-50" / folder).mkdir(parents=True)
    rows = ["filename,fold,target,category"] + [
        f"1-{index}-A-{index}.wav,1,{index},{esc50.LABELS[index]}" for index in range(4)
    ]
    (tmp_path / "ESC-50" / "meta" / "esc50.csv").write_text("\n".join(rows))
    for index in (0, 2):
        noise = np.random.default_rng(index).normal(0, 0.1, 9999)
        soundfile.write(tmp_path / "ESC-50" / "audio" / f"1-{index}-A-{index}.wav", noise, 44100)
    (tmp_path / "ESC-50" / "audio" / "1-1-A-1.wav").write_text("no sound")
    return tmp_path


@pytest.fixture
def model(tiny_checkpoint: Checkpoint, tmp_path: Path) -> str:
    network = Network(dataclasses.replace(tiny_checkpoint, labels=tuple(esc50.LABELS), activation="softmax"))
    weights.save(network, tmp_path / "tiny.safetensors")
    return str(tmp_path / "tiny.safetensors")


def command(data: Path, model: str, *args: str) -> Run:
    return CliRunner().invoke(cli, ["evaluate", "esc50", "--data", str(data), "-c", model, "--device", "cpu", *args])


def test_a_broken_clip_is_counted_and_the_exit_code_tells(data: Path, model: str) -> None:
    result = command(data, model, "--json", "--fold", "1")
    content: dict[str, Any] = json.loads(result.stdout)
    broken = str(data / "ESC-50" / "audio" / "1-1-A-1.wav")
    assert (content["clips"], content["missing"]) == (2, 1)
    assert [failure["source"] for failure in content["failed"]] == [broken]
    assert [line.startswith(f"eranntag: {broken}: ") for line in result.stderr.splitlines()] == [True]
    assert result.exit_code == 3


def test_people_get_a_table_of_the_classes(data: Path, model: str) -> None:
    (data / "ESC-50" / "audio" / "1-1-A-1.wav").unlink()
    result = command(data, model, "--offline")
    first, _, _, missing, _, heading, *rows = result.stdout.splitlines()
    assert first.startswith("tiny on esc50: accuracy ") and first.endswith(", 2 clips)")
    assert missing == "not evaluated: 0 unreadable and 2 missing clips"
    assert heading.split() == ["class", "clips", "recall", "precision", "AP", "AUC"]
    assert [row.split()[0] for row in rows[:50]] == list(esc50.LABELS)
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.slow
def test_the_paper_is_named_in_words_and_in_json(data: Path, model: str) -> None:
    assert "no published result of erann-2-1 on esc50; those there are of erann-0-3" in command(data, model, "--paper").stdout
    assert json.loads(command(data, model, "--paper", "--json").stdout)["paper"] == []


def test_a_page_with_another_ending_is_refused_before_any_work(data: Path, model: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = command(data, "no-such-checkpoint", "--page", "page.pdf")
    assert result.stderr == "eranntag: error: --page page.pdf: must end in .html or .png\n"
    assert result.exit_code == 2
    assert "a folder that exists" in command(data, model, "--page", str(tmp_path / "no" / "page.html")).stderr


@pytest.mark.slow
def test_a_page_is_written_with_the_command(data: Path, model: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = command(data, model, "--page", str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert result.exit_code == 3
    assert f"eranntag evaluate esc50 --data {data} --page {tmp_path}/page.html --checkpoint {model} --device cpu" in page
    assert result.stdout.splitlines()[0] in page


def test_a_clip_of_a_shard_is_evaluated_like_its_file(tiny_tagger: Tagger, data: Path) -> None:
    first, _, last = (data / "ESC-50" / "audio" / f"1-{index}-A-{index}.wav" for index in range(3))
    shard = data / "shard.tar"
    shard.write_bytes(first.read_bytes() + last.read_bytes())
    sizes = first.stat().st_size, last.stat().st_size
    packed = ShardEntry(str(shard), 0, sizes[0], first.name), ShardEntry(str(shard), sizes[0], sizes[1], last.name)
    beyond = ShardEntry(str(shard), sizes[0], 10**9, "beyond.wav")
    files = evaluate(tiny_tagger, Dataset(RECIPE, (Example(str(first), (0,)), Example(str(last), (1,)))))
    shards = evaluate(tiny_tagger, Dataset(RECIPE, tuple(Example(p, (i,)) for i, p in enumerate((*packed, beyond)))))
    np.testing.assert_array_equal(files.scores, shards.scores)
    assert shards.failures == (Failure(f"{shard}/beyond.wav", "the shard is cut short"),)


def test_a_lower_sample_rate_is_that_of_files_recorded_so(tiny_tagger: Tagger, data: Path, tmp_path: Path) -> None:
    sound, low = data / "ESC-50" / "audio" / "1-0-A-0.wav", tmp_path / "low.wav"
    soundfile.write(low, soxr.resample(soundfile.read(sound)[0], 44100, 8000), 8000, subtype="FLOAT")
    telephone = downsampled(tiny_tagger, 8000)

    def array(scorer: Any, path: Path) -> np.ndarray:
        prepared = scorer.prepare_source(str(path))
        assert isinstance(prepared, PreparedClip)
        return prepared.array

    there, heard = array(tiny_tagger, sound), telephone.prepare_source(str(sound))
    assert isinstance(heard, PreparedClip) and heard.source == str(sound)
    np.testing.assert_allclose(heard.array, array(tiny_tagger, low), atol=1e-5)
    assert heard.array.std() < 0.7 * there.std()
    assert heard.seconds == pytest.approx(9999 / 44100, abs=1e-3)
    np.testing.assert_array_equal(array(telephone, low), array(tiny_tagger, low))
    np.testing.assert_array_equal(array(downsampled(tiny_tagger, 48000), sound), there)
    assert downsampled(tiny_tagger, None) is tiny_tagger


@pytest.mark.slow
def test_the_command_evaluates_at_a_lower_sample_rate(data: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    heard, prepare = [], Tagger.prepare_source

    def noted(tagger: Tagger, source: Any, name: str = "") -> Prepared:
        heard.append(source.rate)
        return prepare(tagger, source, name)

    with monkeypatch.context() as patch:
        patch.setattr(Tagger, "prepare_source", noted)
        narrow = command(data, model, "--sample-rate", "8000")
    assert heard == [8000, 8000] and ", at 8000 Hz: accuracy " in narrow.stdout.splitlines()[0]
    assert (narrow.exit_code, narrow.stderr.count("\n")) == (3, 1)  # the broken clip, as ever
    records = (command(data, model, "--json", *args) for args in ([], ["--sample-rate", "8000"]))
    assert [json.loads(record.stdout)["sample_rate_hz"] for record in records] == [None, 8000]
    wrong = command(data, model, "--sample-rate", "8")
    assert wrong.exit_code == 2 and "8 is not in the range 1000<=x<=192000" in wrong.stderr


def test_a_checkpoint_with_other_classes_is_refused_in_one_line(data: Path, tiny_tagger: Tagger, tmp_path: Path) -> None:
    weights.save(tiny_tagger.network, tmp_path / "other.safetensors")
    result = command(data, str(tmp_path / "other.safetensors"))
    line = (
        "eranntag: error: tiny has 4 classes of its own, not those of esc50: it has no 'rooster', nor 'Bark', "
        "which the map to AudioSet's labels needs\n"
    )
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", line)
