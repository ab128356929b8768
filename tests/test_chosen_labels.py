"""predict and detect with --labels: what a list of labels means, and that only these come out, in every form."""

import csv
import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click import UsageError as ClickError
from click.testing import CliRunner, Result

from eranntag.checkpoints import weights
from eranntag.cli import cli
from eranntag.cli._options import labels as label_options
from eranntag.engines.eager import Eager
from eranntag.errors import UsageError
from eranntag.inference.detector import Detector, only, postprocessing, thresholds
from eranntag.inference.pipeline import predict
from eranntag.recipes import audioset
from eranntag.types import Checkpoint, Clip, Event, Prediction
from eranntag.visualization.timeline import Viewer

LABELS = ("Dog", "Cattle, bovinae", "Fly", "Fly, housefly", "Hiss", "hiss", "[/bold]")


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERANNTAG_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ERANNTAG_REGISTRY", raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def tiny_checkpoint(tiny_checkpoint: Checkpoint) -> Checkpoint:
    return dataclasses.replace(tiny_checkpoint, labels=LABELS)


# What a list means


def chosen(checkpoint: Checkpoint, text: str | None = None, file: str | None = None) -> tuple[str, ...]:
    return label_options.select(label_options.LabelOptions(text, file).read(), checkpoint)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dog", {"Dog"}),
        ("[/bold],Dog", {"Dog", "[/bold]"}),
        (" dog , DOG,, ", {"Dog"}),
        ("Cattle, bovinae,Dog", {"Dog", "Cattle, bovinae"}),
        ("dog,cattle,BOVINAE", {"Dog", "Cattle, bovinae"}),
        ("Fly", {"Fly"}),
        ("Fly, housefly", {"Fly, housefly"}),
        ("Fly,Fly,housefly", {"Fly", "Fly, housefly"}),
        ("hiss", {"hiss"}),
        ("Hiss,Dog,hiss", {"Hiss", "hiss", "Dog"}),
    ],
)
def test_labels_are_separated_by_commas_that_they_hold_too(tiny_checkpoint: Checkpoint, text: str, expected: set[str]) -> None:
    found = chosen(tiny_checkpoint, text)
    assert set(found) == expected and list(found) == [label for label in LABELS if label in expected]


def test_all_of_audiosets_labels_in_one_list(tiny_checkpoint: Checkpoint) -> None:
    spec = dataclasses.replace(tiny_checkpoint, labels=audioset.RECIPE.labels)
    assert chosen(spec, ",".join(spec.labels)) == spec.labels
    assert chosen(spec, ",".join(reversed(spec.labels)).lower()) == spec.labels
    with_commas = tuple(label for label in spec.labels if "," in label)
    assert len(with_commas) > 50 and chosen(spec, ",".join(with_commas)) == with_commas


def test_labels_come_from_a_file(tiny_checkpoint: Checkpoint) -> None:
    Path("labels.txt").write_bytes("\ufeffdog\r\n\r\n  Cattle, bovinae \n[/bold]\n".encode())
    assert chosen(tiny_checkpoint, file="labels.txt") == ("Dog", "Cattle, bovinae", "[/bold]")
    Path("labels.txt").write_text("Dog\n\n# Cats\n")
    with pytest.raises(ClickError, match=r"^--labels-from labels.txt, line 3: tiny has no label '# Cats' \("):
        chosen(tiny_checkpoint, file="labels.txt")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Dogg", "--labels: tiny has no label 'Dogg' (`eranntag checkpoints labels tiny` lists them); did you mean 'Dog'?"),
        ("Dog,Cattle", "has no label 'Cattle' (`eranntag checkpoints labels tiny` lists them); did you mean 'Cattle, bov"),
        ("Catle, bovinae,Dog", "has no label 'Catle' (`eranntag checkpoints labels tiny` lists them); did you mean 'Cattle, b"),
        ("housefly", "did you mean 'Fly, housefly'?"),
        ("zzz", "--labels: tiny has no label 'zzz' (`eranntag checkpoints labels tiny` lists them)"),
        ("HISS", "--labels: 'HISS' may be 'Hiss' or 'hiss'; write it as it is"),
        (" , ", "--labels: names no label"),
    ],
)
def test_unknown_labels_are_named_and_the_right_one_suggested(tiny_checkpoint: Checkpoint, text: str, words: str) -> None:
    with pytest.raises(ClickError) as error:
        chosen(tiny_checkpoint, text)
    assert words in error.value.message


def test_thresholds_are_those_of_the_labels(tiny_checkpoint: Checkpoint) -> None:
    calibrated = dataclasses.replace(tiny_checkpoint, thresholds=tuple(np.arange(1, 8) / 10))
    kept = ("Cattle, bovinae", "hiss")
    assert thresholds(calibrated, labels=kept).tolist() == pytest.approx([0.2, 0.6])
    assert thresholds(calibrated, [("hiss", 0.9)], labels=kept).tolist() == pytest.approx([0.2, 0.9])
    with pytest.raises(UsageError, match=r"^--threshold Dog=0.5: this label is not among those that --labels keeps$"):
        thresholds(calibrated, [("Dog", 0.5)], labels=kept)


# Detectors and views of some labels


def sound(seconds: float = 3.0) -> Clip:
    waveform = 0.1 * np.random.default_rng(0).standard_normal((1, round(44100 * seconds)))
    return Clip(waveform.astype(np.float32), 44100, "noise")


def test_a_detector_of_some_labels_finds_their_events_alone(tiny_tagger: Eager) -> None:
    rng = np.random.default_rng(1)
    scores = rng.random((60, len(LABELS))).astype(np.float32)
    high = np.linspace(0.4, 0.9, len(LABELS), dtype=np.float32)
    kept = ("Fly", "Hiss")
    every = Detector(tiny_tagger, postprocessing(high, min_length_seconds=0.0))
    some = Detector(tiny_tagger, postprocessing(high[[2, 4]], min_length_seconds=0.0), kept)
    found, those = (detector.prediction(scores, 30.0, "x").events for detector in (every, some))
    assert {event.label for event in those} == set(kept) < {event.label for event in found}
    assert those == tuple(event for event in found if event.label in kept)


def test_a_gate_of_some_labels_is_theirs(tiny_tagger: Eager) -> None:
    """A clip whose own score of a label is at most 0.1 has no frames of it."""
    tiny_tagger.geometry = dataclasses.replace(tiny_tagger.geometry, clip_gate=True)
    tiny_tagger.scores = lambda prepared: np.full((len(prepared), 7), 0.05, np.float32)  # type: ignore[method-assign]
    prepared = tiny_tagger.prepare(sound())[None]
    closed = Detector(tiny_tagger, postprocessing(np.full(2, 0.5)), ("Fly", "hiss")).scores(prepared)[0]
    assert not closed[:, [2, 5]].any() and closed.any()
    open_ = Detector(tiny_tagger, postprocessing(np.array([0.5, 0.01])), ("Fly", "hiss")).scores(prepared)[0]
    assert not open_[:, 2].any() and open_[:, 5].all()


def test_a_view_of_some_labels_has_their_lanes_and_tags_alone(tiny_tagger: Eager, wav: Callable[..., Path]) -> None:
    path = str(wav("sound.wav", sound().waveform[0]))
    kept = ("Dog", "Hiss")
    how = postprocessing(np.full(7, 0.0), min_length_seconds=0.0), postprocessing(np.full(2, 0.0), min_length_seconds=0.0)
    [every], [some] = (
        predict(Viewer(Detector(tiny_tagger, each, labels)), [path]) for each, labels in zip(how, ((), kept), strict=True)
    )
    assert some.prediction.labels == kept and set(some.labels) == set(kept)
    assert some.prediction.to_dict() == only(every.prediction, kept).to_dict()
    assert {event.label for event in some.detection.events} == set(kept)
    for label, lane in zip(some.labels, some.lanes, strict=True):
        np.testing.assert_array_equal(lane, every.lanes[every.labels.index(label)])


def test_only_keeps_the_order_of_the_scores(tiny_checkpoint: Checkpoint) -> None:
    prediction = Prediction(LABELS, np.arange(7, dtype=np.float32) / 10, 1.0, "x")
    assert [tag.label for tag in only(prediction, ("Dog", "Hiss", "[/bold]")).top()] == ["[/bold]", "Hiss", "Dog"]
    assert only(prediction, LABELS) is prediction


# The commands


@pytest.fixture
def model(tiny_tagger: Eager, tmp_path: Path) -> str:
    weights.save(tiny_tagger.network, tmp_path / "tiny.safetensors")
    return str(tmp_path / "tiny.safetensors")


@pytest.fixture
def clip(wav: Callable[..., Path]) -> str:
    return str(wav("clip.wav", sound(1.0).waveform[0]))


def run(name: str, model: str, *args: str | Path) -> Result:
    args = (name, "-c", model, *args, "--device", "cpu", "--engine", "eager")
    return CliRunner().invoke(cli, list(map(str, args)), catch_exceptions=False)


def tags(model: str, *args: str) -> list[dict[str, object]]:
    result = run("predict", model, *args, "--format", "jsonl")
    assert (result.exit_code, result.stderr) == (0, "")
    found: list[dict[str, object]] = json.loads(result.stdout)["tags"]
    return found


def test_predict_prints_the_chosen_labels_alone_in_every_format(model: str, clip: str) -> None:
    every = tags(model, clip, "--top", "7")
    kept = {"Dog", "Cattle, bovinae", "hiss"}
    options = ("--labels", "Cattle, bovinae,dog,hiss")
    expected = [tag for tag in every if tag["label"] in kept]
    assert tags(model, clip, *options) == expected and len(expected) == 3
    assert json.loads(run("predict", model, clip, *options, "--format", "json").stdout)["results"][0]["tags"] == expected
    rows = list(csv.DictReader(io.StringIO(run("predict", model, clip, *options, "--format", "csv").stdout)))
    assert [(row["rank"], row["label"]) for row in rows] == [(str(n), tag["label"]) for n, tag in enumerate(expected, 1)]
    table = run("predict", model, clip, *options).stdout.splitlines()[1:]
    assert [line.split("  ")[-1] for line in table] == [tag["label"] for tag in expected]
    Path("labels.txt").write_text("Cattle, bovinae\nDog\nhiss\n")
    assert tags(model, clip, "--labels-from", "labels.txt") == expected
    assert len(tags(model, clip, "--labels", ",".join(LABELS[:6]))) == 5
    assert tags(model, clip, *options, "--top", "1") == expected[:1]
    assert tags(model, clip, *options, "--threshold", "0", "--threshold", "Dog=1") == [
        tag for tag in expected if tag["label"] != "Dog"
    ]


def test_parquet_holds_the_chosen_labels_alone(model: str, clip: str) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for name, column in (("predict", "tags"), ("detect", "events")):
        options = (clip, "--labels", "Dog,hiss", "--threshold", "0", "--format", "parquet", "-o", name)
        assert run(name, model, *options).exit_code == 0
        (row,) = parquet.read_table(f"{name}/part-00000.parquet").to_pylist()
        assert {each["label"] for each in row[column]} == {"Dog", "hiss"}


def test_detect_finds_events_of_the_chosen_labels_alone(model: str, clip: str, wav: Callable[..., Path]) -> None:
    def events(*args: str) -> list[dict[str, object]]:
        result = run("detect", model, clip, "--threshold", "0", "--min-seconds", "0", "--format", "jsonl", *args)
        assert (result.exit_code, result.stderr) == (0, "")
        found: list[dict[str, object]] = json.loads(result.stdout)["events"]
        return found

    every = events()
    assert {event["label"] for event in every} == set(LABELS)
    kept = [event for event in every if event["label"] in ("Fly", "Fly, housefly")]
    assert events("--labels", "Fly,Fly, housefly") == kept
    assert {event["label"] for event in events("--resolution", "0.5", "--labels", "Fly")} == {"Fly"}
    assert events("--labels", "Fly,Fly, housefly", "--jobs", "1") == kept
    result = run("detect", model, clip, "--threshold", "0", "--min-seconds", "0", "--format", "audacity", "--labels", "[/bold]")
    assert {line.split("\t")[2] for line in result.stdout.splitlines()} == {"[/bold]"}


@pytest.mark.parametrize("name", ["predict", "detect"])
@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("--labels Dogg", "--labels: tiny has no label 'Dogg' (`eranntag checkpoints labels MODEL` lists them); did you mean"),
        ("--labels Dog --labels-from x", "labels come from --labels or from --labels-from, not from both"),
        ("--labels-from nowhere.txt", "--labels-from nowhere.txt: cannot be read (No such file or directory); name a file"),
        ("--labels-from .", "--labels-from .: cannot be read (a folder); name a file that can"),
        ("--labels-from empty.txt", "--labels-from empty.txt: names no label"),
        ("--labels Dog --threshold hiss=0.5", "--threshold hiss=0.5: this label is not among those that --labels keeps"),
    ],
)
def test_wrong_labels_are_one_line(name: str, args: str, words: str, model: str, clip: str) -> None:
    Path("empty.txt").write_text("\n \n,\n")
    result = run(name, model, clip, *args.split())
    assert (result.exit_code, result.stdout) == (2, "")
    assert words.replace("MODEL", model) in result.stderr and result.stderr.count("\n") == 1


def test_files_of_labels_are_bounded(model: str, clip: str) -> None:
    with open("large.txt", "wb") as file:
        file.truncate(label_options.MOST_BYTES + 1)
    result = run("predict", model, clip, "--labels-from", "large.txt")
    assert result.exit_code == 2 and f"at most {label_options.MOST_BYTES} are read" in result.stderr


@pytest.mark.parametrize("name", ["predict", "detect"])
def test_resume_refuses_other_labels(name: str, model: str, clip: str, wav: Callable[..., Path]) -> None:
    """A folder of parts is resumed after it is finished, too."""
    pytest.importorskip("pyarrow")
    how = (clip, "--format", "parquet", "-o", "out")
    assert run(name, model, *how, "--labels", "Dog,hiss").exit_code == 0
    other = str(wav("other.wav", sound(0.5).waveform[0]))
    for options, words in (("", "now no --labels"), ("--labels Dog", "begun with --labels Dog, hiss, now --labels Dog")):
        refused = run(name, model, other, *how, "--resume", *options.split())
        assert refused.exit_code == 2 and words in refused.stderr
    Path("labels.txt").write_text("hiss\nDog\n")
    assert run(name, model, other, *how, "--resume", "--labels-from", "labels.txt").exit_code == 0


def test_pictures_show_the_chosen_labels_alone(model: str, clip: str) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("PIL.Image")
    for name in ("predict", "detect"):
        result = run(name, model, clip, "--labels", "Dog,hiss", "--plot", f"{name}.html")
        assert (result.exit_code, result.stderr) == (0, "")
        page = Path(f"{name}.html").read_text(encoding="utf-8")
        row = page[page.index('<tr role="row" data-seconds') :]
        assert "hiss" in row and "bovinae" not in row and "housefly" not in row
    tags = json.loads(run("predict", model, clip, "--labels", "Dog,hiss", "--plot", "clip.png", "--format", "jsonl").stdout)
    assert {tag["label"] for tag in tags["tags"]} == {"Dog", "hiss"} and Path("clip.png").stat().st_size


def test_the_labels_of_an_event_are_as_the_checkpoint_has_them(tiny_tagger: Eager) -> None:
    detector = Detector(tiny_tagger, postprocessing(np.full(1, 0.5), min_length_seconds=0.0), ("hiss",))
    scores = np.zeros((4, 7), np.float32)
    scores[1:3, [4, 5]] = 0.9
    length = detector.frame_seconds
    [event] = detector.prediction(scores, 4 * length, "x").events
    assert event == Event("hiss", pytest.approx(length), pytest.approx(3 * length), pytest.approx(0.9))
