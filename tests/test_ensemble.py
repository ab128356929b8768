"""Ensembles: what their members say, fused; everything that comes before is done once; and the command that names them."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runs
import torch
from click.testing import Result

from eranntag import recipes
from eranntag.audio import reader
from eranntag.benchmark import run
from eranntag.benchmark.plan import Plan
from eranntag.checkpoints import catalog as tables, header, loading, weights
from eranntag.engines.eager import Eager
from eranntag.errors import AudioError, CheckpointError, EranntagError, UsageError
from eranntag.features.logmel import Config
from eranntag.inference import fusion
from eranntag.inference.ensemble import Ensemble
from eranntag.inference.network import Network
from eranntag.inference.pipeline import predict
from eranntag.inference.prepared import LongAudio
from eranntag.inference.tagger import Tagger
from eranntag.recipes import esc50, was_trained_on
from eranntag.training import ensemble_search
from eranntag.types import Checkpoint, Clip, Example, Prediction

LABELS = ("dog", "rain", "siren")
AT_44_KHZ = Config()
AT_16_KHZ = Config(sample_rate_hz=16000, hop_samples=125, window_samples=1000, n_mels=40, fmax_hz=8000)
RATE = 44100


def network_of(seed: int, labels: Sequence[str] = LABELS, config: Config = AT_44_KHZ, **changes: Any) -> Network:
    """ERANN-2-1 with random weights that has heard noise, so that its scores are not saturated."""
    fields = {"family": "erann", "model": {"s_m": 2, "width": 1}, "frontend_family": "logmel", "activation": "softmax"}
    about = {"name": f"m{seed}", "frontend": dataclasses.asdict(config), "labels": tuple(labels), **fields}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = Network(Checkpoint(**{**about, **changes})).train()
        for _ in range(3):
            network(0.1 * torch.randn(2, config.sample_rate_hz))
    return network.eval()


def member(seed: int, *args: Any, **changes: Any) -> Eager:
    return Eager(network_of(seed, *args, **changes))


def sound(seconds: float, seed: int = 0, rate: int = RATE, channels: int = 1) -> Clip:
    noise = 0.1 * np.random.default_rng(seed).standard_normal((channels, round(seconds * rate)))
    tone = 0.2 * np.sin(2 * np.pi * (300 + 200 * seed) * np.arange(noise.shape[1]) / rate)
    return Clip((noise + tone).astype(np.float32), rate, f"sound{seed}")


@pytest.fixture(scope="module")
def three() -> list[Eager]:
    """The second has another order of labels, the third another rate, too."""
    return [member(0), member(1, ("siren", "dog", "rain")), member(2, ("rain", "siren", "dog"), AT_16_KHZ)]


def fused(members: Sequence[Tagger], clip: Clip, rule: str = fusion.WEIGHTED, weights: Sequence[float] = ()) -> np.ndarray:
    """By hand: each member's own scores by the names of the classes."""
    rows = []
    for each in members:
        said = dict(zip(each.labels, each.tag(clip).scores, strict=True))
        rows.append([said[label] for label in members[0].labels])
    return fusion.fuse(np.array(rows), rule, members[0].checkpoint.activation, weights)


def assert_same(ours: np.ndarray, expected: np.ndarray, atol: float = 1e-6) -> None:
    np.testing.assert_allclose(ours, expected, rtol=0, atol=atol)


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ERANNTAG_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


# The face of a Tagger


@pytest.mark.parametrize("rule", fusion.RULES)
def test_it_says_what_its_members_say_together(rule: str, three: list[Eager]) -> None:
    clip = sound(1.3, rate=48000, channels=2)
    prediction = Ensemble("trio", three, rule).tag(clip)
    assert (prediction.labels, prediction.checkpoint, prediction.source) == (LABELS, "trio", "sound0")
    assert prediction.seconds == pytest.approx(1.3) and prediction.scores.dtype == np.float32
    assert np.ptp(prediction.scores) > 0.01
    assert_same(prediction.scores, fused(three, clip, rule))


def test_weights_are_the_members(three: list[Eager]) -> None:
    clip, given = sound(1), (0.7, 0.1, 0.2)
    assert_same(Ensemble("trio", three, weights=given).tag(clip).scores, fused(three, clip, weights=given))


def test_one_model_twice_is_that_model(three: list[Eager]) -> None:
    clip = sound(1)
    assert_same(Ensemble("twice", [three[0], three[0]]).tag(clip).scores, three[0].tag(clip).scores, 1e-7)


def test_independent_classes_are_fused_one_by_one() -> None:
    members, clip = [member(seed, activation="sigmoid") for seed in (0, 1)], sound(1)
    scores = Ensemble("duo", members, "dempster-shafer").tag(clip).scores
    first, second = (each.tag(clip).scores.astype(np.float64) for each in members)
    assert_same(scores, first * second / (first * second + (1 - first) * (1 - second)))


def test_a_batch_of_any_lengths_is_its_clips(three: list[Eager]) -> None:
    trio = Ensemble("trio", three, "improved-dempster-shafer")
    clips = [sound(1, 0), sound(2.5, 1), sound(1, 2)]
    together = trio.scores(np.stack([trio.prepare(clip) for clip in clips]))
    assert together.shape == (3, 3)
    for scores, clip in zip(together, clips, strict=True):
        assert_same(scores, trio.tag(clip).scores)


def test_predict_takes_it_as_any_tagger(three: list[Eager], wav: Callable[..., Path]) -> None:
    paths = [str(wav(f"{seed}.wav", sound(1 + seed, seed).waveform[0], subtype="FLOAT")) for seed in range(3)]
    trio = Ensemble("trio", three)
    results = list(predict(trio, [*paths, "nowhere.wav"], 2))
    for path, result in zip(paths, results, strict=False):
        assert isinstance(result, Prediction) and result.source == path
        assert_same(result.scores, trio.tag(path).scores)
    assert not isinstance(results[3], Prediction)


def test_it_runs_as_its_members_do(three: list[Eager]) -> None:
    trio = Ensemble("trio", three)
    assert (trio.engine, trio.dtype, trio.device, trio.parallel, trio.batch) == ("eager", "float32", "cpu", 1, 1)
    noted = Eager(three[0].network, notes=("a reason",))
    assert Ensemble("duo", [noted, three[1]]).notes == ("m0: a reason",)


def test_scores_of_a_member_that_are_not_finite_are_nobodys(three: list[Eager], monkeypatch: pytest.MonkeyPatch) -> None:
    trio, logits = Ensemble("trio", three), three[1].logits
    monkeypatch.setattr(three[1], "logits", lambda prepared: logits(prepared) * np.array([[np.inf], [1.0]], np.float32))
    scores = trio.scores(np.stack([trio.prepare(sound(1, seed)) for seed in (0, 1)]))
    assert np.isnan(scores[0]).all() and np.isfinite(scores[1]).all()
    with pytest.raises(EranntagError, match="not finite"):
        trio.prediction(scores[0], 1.0, "sound0")


# What is done once


def test_what_comes_before_the_networks_is_computed_once(three: list[Eager], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(reader, "to_mono", lambda clip, rate, mono=reader.to_mono: calls.append(rate) or mono(clip, rate))
    again = [*three, member(3), member(4, config=AT_16_KHZ), member(5, config=Config(n_mels=40))]
    ensemble = Ensemble("six", again)
    prepared = ensemble.prepare(sound(1, rate=48000))
    assert prepared.shape == (3,)  # at 44.1 kHz in 128 and in 40 rows, and at 16 kHz
    at_own_rate = {id(clip) for clip in prepared}
    assert len(at_own_rate) == 3 and calls.count(16000) == 2 and calls.count(RATE) == 3
    # each rate is reached once from the file's; the rest finds the sound at its own rate


def test_the_image_is_shared_where_an_engine_computes_it_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ahead(Eager):
        images = 0

        def prepare(self, clip: Clip) -> np.ndarray:
            type(self).images += 1
            return super().prepare(clip)

    members = [Ahead(network_of(seed)) for seed in (0, 1)]
    clip = sound(1)
    scores = Ensemble("duo", members).tag(clip).scores
    assert Ahead.images == 1
    assert_same(scores, fused(members, clip))
    monkeypatch.setattr("eranntag.features.twin", lambda family: None)  # something in it may be learned, so each has its own
    Ahead.images = 0
    assert Ensemble("duo", members).prepare(clip).shape == (2,) and Ahead.images == 2


# Members that do not fit


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": ("dog", "rain", "wind")}, "duo: of m0 and m1 only one has the class 'siren'"),
        ({"labels": ("dog", "rain", "siren", "wind")}, "duo: of m0 and m1 only one has the class 'wind'"),
        ({"activation": "sigmoid"}, "m0 gives softmax, m1 sigmoid scores"),
    ],
)
def test_members_must_know_the_same(changes: dict[str, Any], words: str, three: list[Eager]) -> None:
    other = member(1)
    other.checkpoint = dataclasses.replace(other.checkpoint, **changes)
    with pytest.raises(CheckpointError, match=words):
        Ensemble("duo", [three[0], other])


def test_a_wrong_rule_or_weight_is_refused(three: list[Eager]) -> None:
    with pytest.raises(CheckpointError, match="trio: fusion 'mean' is none of"):
        Ensemble("trio", three, "mean")
    with pytest.raises(CheckpointError, match="trio: 2 weights for 3 members"):
        Ensemble("trio", three, weights=(0.5, 0.5))


def test_its_checkpoint_knows_what_its_members_were_made_of(three: list[Eager]) -> None:
    recipe = dataclasses.replace(esc50.RECIPE, labels=LABELS)
    parts = [
        {"training": {"recipe": "esc50", "fold": 1}, "data": f"{recipe.title}, without fold 1", "licence": "CC0"},
        {"training": {"recipe": "csv", "bases": [{"recipe": "esc50", "fold": 2}]}, "data": "Mine", "licence": "CC0"},
    ]
    members = [member(seed) for seed in (0, 1)]
    for each, changes in zip(members, parts, strict=True):
        each.checkpoint = dataclasses.replace(each.checkpoint, **changes)
    about = Ensemble("duo", members, title="Two").checkpoint
    assert (about.name, about.title, about.family, about.licence) == ("duo", "Two", "ensemble", "CC0")
    assert about.data == f"{recipe.title}, without fold 1; Mine" and about.thresholds == ()
    folds = {fold: Example("x", (0,), fold) for fold in (1, 2, 3)}
    assert all(was_trained_on(example, about, recipe) for example in folds.values())  # each fold by one of them
    assert not was_trained_on(folds[1], Ensemble("one", members[:1]).checkpoint, recipe)


# Long sounds


def in_blocks(members: Sequence[Tagger], frames: Sequence[int]) -> list[Tagger]:
    for each, block in zip(members, frames, strict=True):
        each.geometry = dataclasses.replace(each.geometry, block_frames=block)
    return list(members)


@pytest.fixture
def of_blocks(three: list[Eager]) -> list[Tagger]:
    """Members that take 3 s, 4 s and 5 s whole."""
    return in_blocks([Eager(each.network) for each in three], (384, 512, 640))


def test_it_takes_what_all_its_members_take_whole(of_blocks: list[Tagger]) -> None:
    assert Ensemble("trio", of_blocks).longest_seconds == 3.0


@pytest.mark.parametrize("seconds", [3.5, 4.5, pytest.param(10.7, marks=pytest.mark.slow)])
def test_a_long_sound_is_fused_of_what_each_member_makes_of_it(
    seconds: float, of_blocks: list[Tagger], wav: Callable[..., Path]
) -> None:
    """Some of these are long for the first member alone."""
    clip = sound(seconds, rate=48000, channels=2)
    path = str(wav("long.wav", clip.waveform.T, 48000, subtype="FLOAT"))
    trio = Ensemble("trio", of_blocks, "improved-dempster-shafer")
    heard = trio.prepare_source(path)
    assert isinstance(heard, LongAudio)
    expected = fused(of_blocks, dataclasses.replace(clip, source=path), "improved-dempster-shafer")
    prediction = trio.predict_long(heard)
    assert_same(prediction.scores, expected, 1e-5)
    assert (prediction.source, prediction.seconds) == (path, pytest.approx(seconds))
    (result,) = predict(trio, [path])
    assert isinstance(result, Prediction)
    assert_same(result.scores, prediction.scores)
    assert_same(trio.tag(clip).scores, prediction.scores, 1e-5)


def test_a_long_sound_that_is_damaged_is_an_error(of_blocks: list[Tagger], wav: Callable[..., Path]) -> None:
    path = wav("long.wav", sound(30).waveform[0], subtype="PCM_16", format="FLAC")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(AudioError, match=r"long\.wav"):
        Ensemble("trio", of_blocks).tag(path)


def test_long_audio_ends_when_its_consumer_stops(of_blocks: list[Tagger], monkeypatch: pytest.MonkeyPatch) -> None:
    audio = Ensemble("trio", of_blocks).prepare_source(sound(40))
    assert isinstance(audio, LongAudio)
    columns, pieces = of_blocks[0].columns, list[np.ndarray]()

    def stop(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pieces.append(images)
        audio.cancelled.set()
        return columns(images)

    monkeypatch.setattr(of_blocks[0], "columns", stop)
    with pytest.raises(InterruptedError):
        Ensemble("trio", of_blocks).predict_long(audio)
    assert 1 <= len(pieces) < 10, "of 13 pieces of 3 s"


# Registry


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a.safetensors and b.safetensors, at two rates, and what does not fit to them."""
    folder = tmp_path_factory.mktemp("members")
    for name, network in {
        "a": network_of(0, name="a", data="A's data", licence="CC0"),
        "b": network_of(1, ("rain", "siren", "dog"), AT_16_KHZ, name="b", data="B's data", licence="CC BY 4.0"),
        "wind": network_of(2, ("rain", "siren", "wind"), name="wind"),
    }.items():
        weights.save(network, folder / f"{name}.safetensors")
    return folder


@pytest.fixture
def registry(files: Path) -> Callable[..., str]:
    """`registry(fusion=...)` writes a registry beside the files whose ensemble `duo` has these fields."""

    def write(members: Sequence[str] = ("a.safetensors", "b.safetensors"), **fields: Any) -> str:
        row = {"title": "Duo", "classes": 3, "members": members and list(members), **fields}
        lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in row.items())
        (files / "own.toml").write_text(f"[checkpoints.duo]\n{lines}")
        return str(files / "own.toml")

    return write


def load(name: str, registry: str | None = None) -> Any:
    return loading.load(name, "cpu", "float32", registry, engine="eager")


def test_a_row_of_the_registry_is_an_ensemble(files: Path, registry: Callable[..., str]) -> None:
    duo = load("duo", registry(fusion_weights=[0.25, 0.75]))
    assert isinstance(duo, Ensemble) and (duo.checkpoint.name, duo.checkpoint.title) == ("duo", "Duo")
    members, clip = [load(str(files / f"{name}.safetensors")) for name in "ab"], sound(1)
    assert_same(duo.tag(clip).scores, fused(members, clip, weights=(0.25, 0.75)))
    other = load("duo", registry(fusion="dempster-shafer"))
    assert_same(other.tag(clip).scores, fused(members, clip, "dempster-shafer"))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"fusion": "dempster"}, "fusion 'dempster' is none of weighted-average, dempster-shafer, "),
        ({"members": ["a.safetensors"]}, "members must be two texts or more"),
        ({"members": ["a.safetensors", 1]}, "members must be two texts or more"),
        ({"members": ""}, r"members must be list\[str, ...\], not ''"),
        ({"fusion_weights": [1.0]}, "1 weights for 2 members"),
        ({"fusion_weights": [-0.5, 1.5]}, "weights must be 0 or more, and must add up to 1"),
        ({"fusion_weights": [0.5, 0.4]}, "weights must be 0 or more, and must add up to 1"),
        ({"fusion_weights": ["x", 0.4]}, "fusion_weights must be numbers"),
        ({"weights": "a.safetensors"}, "weights is for rows without members"),
        ({"architecture": "erann-2-1"}, "architecture is for rows without members"),
    ],
)
def test_a_wrong_ensemble_is_one_clear_line(fields: dict[str, Any], words: str, registry: Callable[..., str]) -> None:
    path = registry(**fields)
    with pytest.raises(CheckpointError, match=f"^{path}: duo: {words}"):
        tables.load_catalog(path)


def test_fusion_needs_members(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(
        '[checkpoints.x]\ntitle = "X"\nclasses = 3\narchitecture = "erann-2-1"\nweights = "x"\nfusion = "weighted-average"\n'
    )
    with pytest.raises(CheckpointError, match="x: fusion is for rows with members"):
        tables.load_catalog(str(path))


def test_members_that_cannot_be_are_refused(files: Path, registry: Callable[..., str]) -> None:
    path = registry(["a.safetensors", "erann-2-4-audiose"])
    with pytest.raises(CheckpointError, match=f"{path}: duo: no checkpoint is called 'erann-2-4-audiose'.*did you mean"):
        load("duo", path)
    with pytest.raises(CheckpointError, match=f"{path}: duo: its member duo is an ensemble"):
        load("duo", registry(["a.safetensors", "duo"]))
    with pytest.raises(CheckpointError, match="duo: of a and wind only one has the class 'dog'"):
        load("duo", registry(["a.safetensors", "wind.safetensors"]))


# The command line


def one_line(result: Result, code: int = 2) -> str:
    return runs.error(result, code)


def test_row_prints_what_a_registry_takes(files: Path, tmp_path: Path, wav: Callable[..., Path]) -> None:
    a, b = (files / f"{name}.safetensors" for name in "ab")
    done = runs.command("ensemble", "row", "my duo", a, b, "--weights", "0.3,0.7")
    assert done.exit_code == 0, done.stderr
    (tmp_path / "my.toml").write_text(done.stdout)
    row = tables.load_catalog(str(tmp_path / "my.toml")).rows["my duo"]
    assert (row.classes, row.fusion, row.fusion_weights) == (3, "weighted-average", (0.3, 0.7))
    assert (row.data, row.licence) == ("A's data; B's data", "CC0; CC BY 4.0")
    clip = wav("clip.wav", sound(1).waveform[0])
    options = ("--registry", tmp_path / "my.toml", "--device", "cpu", "--engine", "eager", "--format", "json", "-v")
    said = runs.command("predict", "-c", "my duo", clip, *options)
    assert said.exit_code == 0, said.stderr
    (result,) = json.loads(said.stdout)["results"]
    expected = Ensemble("duo", [load(str(a)), load(str(b))], weights=(0.3, 0.7)).tag(clip)
    assert result["checkpoint"] == "my duo"
    assert {tag["label"]: tag["score"] for tag in result["tags"]} == pytest.approx(
        dict(zip(expected.labels, expected.scores.tolist(), strict=True)), abs=2e-6
    )
    assert "eranntag: a: eager" in said.stderr and "eranntag: b: eager" in said.stderr


def test_row_refuses_what_would_not_load(files: Path) -> None:
    a, b, wind = (str(files / f"{name}.safetensors") for name in ("a", "b", "wind"))
    assert "two members or more" in one_line(runs.command("ensemble", "row", "x", a))
    assert "a name of its own" in one_line(runs.command("ensemble", "row", a, a, b))
    assert "only one has the class" in one_line(runs.command("ensemble", "row", "x", a, wind), 1)
    assert "is none of weighted-average" in one_line(runs.command("ensemble", "row", "x", a, b, "--rule", "dempster"))
    assert "add up to 1" in one_line(runs.command("ensemble", "row", "x", a, b, "--weights", "1,1"))
    assert "--weights 1;1" in one_line(runs.command("ensemble", "row", "x", a, b, "--weights", "1;1"))
    assert "no such checkpoint file" in one_line(runs.command("ensemble", "row", "x", a, "no.safetensors"), 1)


@pytest.mark.slow
def test_checkpoints_cope_with_an_ensemble(files: Path, registry: Callable[..., str]) -> None:
    own = ("--registry", registry())
    assert "duo" in runs.command("checkpoints", "list", *own).stdout
    shown = runs.command("checkpoints", "show", "duo", *own).stdout
    assert "members:           a.safetensors, b.safetensors\n" in shown and "fusion:            weighted-average\n" in shown
    assert runs.command("checkpoints", "verify", "duo", *own).stdout == "duo: good (3 classes)\n"
    pulled = runs.command("checkpoints", "pull", "duo", *own).stdout.splitlines()
    assert pulled == [str(files / "a.safetensors"), str(files / "b.safetensors")]


def test_what_needs_weights_asks_for_a_member(registry: Callable[..., str], tmp_path: Path) -> None:
    own = ("--registry", registry())
    words = "duo: an ensemble, which has no weights of its own; name a member: a.safetensors, b.safetensors"
    assert one_line(runs.command("export", "duo", "--format", "onnx", "-o", tmp_path / "x.onnx", *own)) == words
    data = runs.esc50(tmp_path / "esc50")
    assert one_line(runs.command("finetune", "duo", "esc50", "--data", data, "--fold", 1, *own)) == words


@pytest.mark.slow
def test_bench_measures_an_ensemble(registry: Callable[..., str]) -> None:
    plan = Plan(batches=(2,), seconds=1, clips=2, engine="eager", device="cpu", budget=0.02, cold_runs=0)
    path = registry()
    (result,) = run.run(["duo"], plan, path).results
    assert (result.name, result.architecture, result.engine) == ("duo", "erann-2-1 + erann-2-1", "eager")
    assert result.parameters == sum(p.numel() for each in load("duo", path).members for p in each.network.parameters())
    assert result.files_per_second.median > 0 and sum(result.shares.values()) == pytest.approx(1)


# Weights and combinations on a data set


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.esc50(tmp_path_factory.mktemp("data") / "esc50")


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two members of runs that held out a quarter of folds 1 to 4, and one that selected on fold 5."""
    folder = tmp_path_factory.mktemp("runs")
    words = ("--model", "erann-2-1", "--fold", 5, "--iterations", 1, "--batch", 2, "--validation", 0.25, "--data", data)
    done = runs.command("train", "esc50", *words, *runs.TINY, "--out", folder / "run")
    assert done.exit_code == 0, done.stderr
    made = [Path(done.stdout.strip())]
    about = header.read_checkpoint(made[0])
    for name, changes in {"second": {}, "selected": {"validation": 0.0}}.items():
        network = network_of(7, about.labels, name=name, data=about.data, training={**about.training, **changes})
        made.append(folder / f"{name}.safetensors")
        weights.save(network, made[-1])
    return made


def fit(*members: Path, data: Path, recipe: str = "esc50") -> Result:
    return runs.command("ensemble", "fit", recipe, "duo", *members, "--data", data, "--device", "cpu", "--engine", "eager")


def test_fit_takes_the_clips_that_all_runs_held_out(data: Path, trained: list[Path]) -> None:
    dataset = recipes.load("esc50", str(data))
    about = [header.read_checkpoint(path) for path in trained[:2]]
    examples = ensemble_search.clips_unseen_by_all(dataset, about)
    assert [example.targets for example in examples] == [(0,), (10,)]  # a dog and rain
    assert all(example.fold != 5 for example in examples)
    split = (trained[0].parent / "split.csv").read_text().splitlines()
    assert sorted(f"{example.path},validation" for example in examples) == sorted(
        line for line in split if line.endswith(",validation")
    )


def test_fit_prints_a_row_and_what_it_brings(data: Path, trained: list[Path], tmp_path: Path) -> None:
    done = fit(*trained[:2], data=data)
    assert done.exit_code == 0, done.stderr
    (tmp_path / "my.toml").write_text(done.stdout)
    row = tables.load_catalog(str(tmp_path / "my.toml")).rows["duo"]
    assert sum(row.fusion_weights) == pytest.approx(1) and len(row.fusion_weights) == 2
    lines = {line.split("  ")[0].strip(): line for line in done.stderr.splitlines() if "log loss" in line}
    losses = [float(lines[name].split("log loss ")[1].split()[0]) for name in ("equal weights", "fitted weights")]
    assert losses[1] <= losses[0] and "accuracy" in lines["equal weights"]
    assert "on 2 validation clips" in done.stderr


def test_fit_refuses_members_without_unseen_clips(data: Path, trained: list[Path], files: Path, tmp_path: Path) -> None:
    selected = one_line(fit(trained[0], trained[2], data=data))
    assert "held out no clips but those that are reported" in selected and "--validation 0.1" in selected
    assert "eranntag ensemble row" in selected
    about = header.read_checkpoint(trained[0])

    def refused(words: str, **changes: Any) -> None:
        fields = {"name": "other", "data": about.data, "training": about.training, **changes}
        weights.save(network_of(8, about.labels, **fields), tmp_path / "other.safetensors")
        assert words in one_line(fit(trained[0], tmp_path / "other.safetensors", data=data))

    refused("other: not of a run on esc50", training={})
    refused("other: its run had other clips", training={**about.training, "clips": "8+2 clips 000000000000"})
    refused("other: its run had other clips", training={**about.training, "seed": 1})
    earlier = {"recipe": "esc50", "fold": 1}
    refused("no clip was held out by the runs of all members", training={**about.training, "bases": [earlier]})
    a, b = (files / f"{name}.safetensors" for name in "ab")
    assert "a has 3 classes of its own, not those of esc50" in one_line(fit(a, b, data=data))


def test_table_measures_every_combination(data: Path, trained: list[Path]) -> None:
    words = ("ensemble", "table", "esc50", *trained, "--data", data, "--fold", 5, "--device", "cpu", "--engine", "eager")
    done = runs.command(*words, "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["clips"], found["metric"], found["trained_on"]) == (2, "accuracy", 0)
    names = [str(path) for path in trained]
    assert [row["members"] for row in found["combinations"]] == [
        [names[0]], [names[1]], [names[2]], names[:2], [names[0], names[2]], names[1:], names,
    ]  # fmt: skip
    assert [list(row["values"]) for row in found["combinations"]] == 3 * [[fusion.WEIGHTED]] + 4 * [list(fusion.RULES)]
    shown = runs.command(*words)
    lines = shown.stdout.splitlines()
    assert lines[0] == "accuracy on esc50, fold 5 (2 clips)" and any(line.startswith("A B C  ") for line in lines)
    assert "**" in shown.stdout and "training set" not in shown.stderr
    words = ("ensemble", "table", "esc50", *trained[:2], "--data", data, "--fold", 1, "--device", "cpu", "--engine", "eager")
    assert "2 of the clips were in the training set of a member" in runs.command(*words).stderr


def test_every_combination_of_a_few_and_some_of_many() -> None:
    assert ensemble_search.subsets(1) == [(0,)]
    assert ensemble_search.subsets(3) == [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]
    assert len(ensemble_search.subsets(8)) == 255
    assert [len(chosen) for chosen in ensemble_search.subsets(9)] == 9 * [1] + 9 * [8] + [9]


def test_combinations_have_the_measures_of_their_fused_scores() -> None:
    recipe = dataclasses.replace(esc50.RECIPE, labels=LABELS)
    evidence = np.random.default_rng(0).dirichlet(np.ones(3), (3, 2500))  # more than a block
    targets = np.eye(3, dtype=bool)[np.random.default_rng(1).integers(0, 3, 2500)]
    evidence[0, 0], evidence[1, 0] = [1, 0, 0], [0, 1, 0]
    heard = ensemble_search.MemberScores(recipe, evidence, targets)
    found = {each.members: each for each in ensemble_search.combinations_by_rule(heard)}
    for members, rule in (((0, 1), "dempster-shafer"), ((0, 1, 2), "improved-dempster-shafer"), ((1,), fusion.WEIGHTED)):
        best = fusion.fuse(evidence[list(members)], rule).argmax(1)
        assert found[members].values[rule] == pytest.approx((best == targets.argmax(1)).mean())
    assert (found[0, 1].undefined, found[0, 2].undefined) == (1, 0)


def test_rounded_weights_still_add_up_to_one() -> None:
    for seed in range(20):
        given = np.random.default_rng(seed).dirichlet(np.full(7, 0.5))
        ours = ensemble_search.rounded(given)
        assert abs(sum(ours) - 1) < 1e-9 and min(ours) >= 0
        np.testing.assert_allclose(ours, given, atol=1e-3)
    assert ensemble_search.rounded(np.array([1.0, 0.0])) == (1.0, 0.0)


def test_evaluate_tells_that_a_member_knows_the_clips(data: Path, trained: list[Path], tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text(runs.command("ensemble", "row", "duo", *trained[:2]).stdout)
    options = ("--data", data, "--registry", tmp_path / "my.toml", "--device", "cpu", "--engine", "eager", "--json")
    known = runs.command("evaluate", "esc50", "-c", "duo", "--fold", 1, *options)
    assert known.exit_code == 0, known.stderr
    assert json.loads(known.stdout)["trained_on"] == 2
    unknown = json.loads(runs.command("evaluate", "esc50", "-c", "duo", "--fold", 5, *options).stdout)
    assert (unknown["trained_on"], unknown["checkpoint"], unknown["clips"]) == (0, "duo", 2)


def test_members_must_be_about_the_recipes_classes(three: list[Eager]) -> None:
    recipe = dataclasses.replace(esc50.RECIPE, labels=LABELS, activation="sigmoid")
    with pytest.raises(UsageError, match="m0 has softmax scores, esc50 needs sigmoid ones"):
        ensemble_search.check_members(recipe, [three[0].checkpoint])
