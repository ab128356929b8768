"""A front-end that is learned: trained, averaged, saved, resumed, fine-tuned and executed as a part of the network."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import runs
import torch
from click.testing import Result
from safetensors.torch import load_file

from eranntag import registry
from eranntag.checkpoints import header, loading, weights
from eranntag.engines.eager import Eager
from eranntag.errors import CheckpointError, TrainingError
from eranntag.inference.network import Network
from eranntag.recipes import esc50
from eranntag.training import initialization, loop
from eranntag.training.config import from_recipe
from eranntag.types import Clip

RATE = 44100
MODEL = ("--model", "erann-0-1", "--features", "wavegram")
FIRST = "frontend.first.0.weight"
DECAY = 0.5


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ERANNTAG_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.esc50(tmp_path_factory.mktemp("data") / "ESC-50-master")


def train(data: Path, out: Path, *options: object) -> Result:
    short = [*MODEL, "--fold", 1, "--iterations", 4, "--batch", 2, "--evaluate-every", 2, "--lr", 1e-3, *runs.TINY]
    return runs.command("train", "esc50", "--data", data, "--out", out, *short, "--set", f"ema_decay={DECAY}", *options)


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of four iterations, with the recipe's mixup and SpecAugment."""
    out = tmp_path_factory.mktemp("runs") / "trained"
    result = train(data, out)
    assert result.exit_code == 0, result.stderr
    return out


def begun() -> Network:
    """What a run begins with."""
    return initialization.network(esc50.RECIPE, from_recipe(esc50.RECIPE, "erann-0-1", features="wavegram"), None)


def sounds() -> np.ndarray:
    """(2, samples): a tone and noise of two seconds."""
    seconds = np.arange(2 * RATE) / RATE
    return np.stack([0.3 * np.sin(2 * np.pi * 500 * seconds), 0.1 * np.random.default_rng(0).standard_normal(2 * RATE)]).astype(
        np.float32
    )


@pytest.fixture(scope="module")
def told_apart(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained network after it has heard these sounds, so that its scores depend on them."""
    network = weights.load(trained / "last.safetensors").train()
    for norm in network.modules():
        if hasattr(norm, "running_mean"):
            norm.reset_running_stats()
            norm.momentum = None  # a cumulative average: one forward is enough
    with torch.no_grad():
        network(torch.from_numpy(sounds()))
    path = tmp_path_factory.mktemp("network") / "wavegram.safetensors"
    weights.save(network.eval(), path, half=False)
    return path


# Which front-ends are learned


@pytest.mark.parametrize("name", registry.names("eranntag.features"))
def test_a_front_end_is_saved_if_it_is_learned_and_costs_nothing_else(name: str) -> None:
    """Checkpoints of the others hold the model alone; and a run may put them around a model on a device without memory."""
    module = registry.get("eranntag.features", name)
    with torch.device("meta"):
        frontend = module.Frontend(module.Config())
    learned = any(True for _ in frontend.parameters())
    assert learned == bool(frontend.state_dict()) == (name == "wavegram")
    assert learned or not any(buffer.is_meta for buffer in frontend.buffers())


def test_tensors_are_the_models_and_the_front_ends_and_come_back(trained: Path) -> None:
    network, other = weights.load(trained / "last.safetensors"), begun()
    tensors = network.tensors()
    assert set(tensors) == {*network.model.state_dict(), *(f"frontend.{name}" for name in network.frontend.state_dict())}
    assert network.learned and network.trained is network
    other.load_tensors(tensors)
    assert all(torch.equal(tensor, other.tensors()[name]) for name, tensor in tensors.items())
    plain = initialization.network(esc50.RECIPE, from_recipe(esc50.RECIPE, "erann-0-1"), None)
    assert not plain.learned and plain.trained is plain.model and plain.tensors().keys() == plain.model.state_dict().keys()
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_tensors({name: tensor for name, tensor in tensors.items() if name != FIRST})


# Training


def test_the_loss_is_finite_and_every_layer_of_the_front_end_learns(trained: Path) -> None:
    losses = [row["loss"] for row in runs.history(trained) if "loss" in row]
    assert len(losses) == 4 and all(0 < loss < 20 for loss in losses)
    state = load_file(trained / "state.safetensors")
    for name, before in begun().state_dict().items():
        assert name == "model.bn0.num_batches_tracked" or not torch.equal(state[f"model.{name}"], before), name
    adam = {name.split(".")[1] for name in state if name.startswith("adam.")}
    assert len(adam) == sum(1 for _ in begun().parameters())


def test_the_average_is_of_the_front_end_too(data: Path, tmp_path: Path) -> None:
    """Eq. (6) after one iteration: decay * begun + (1 - decay) * trained."""
    assert train(data, tmp_path, "--iterations", 1).exit_code == 0
    state, network = load_file(tmp_path / "state.safetensors"), begun()
    for name, before in network.named_parameters():
        now = state[f"model.{name}"]
        torch.testing.assert_close(state[f"average.{name}"], DECAY * before.detach() + (1 - DECAY) * now, rtol=1e-5, atol=1e-7)
    moved = state["model.frontend.first.0.weight"] - network.frontend.first[0].weight.detach()
    assert moved.abs().max().item() == pytest.approx(1e-3, rel=0.01)  # Adam's first step
    assert torch.equal(load_file(tmp_path / "last.safetensors")[FIRST], state[f"average.{FIRST}"].half())


def test_the_header_names_the_front_end(trained: Path) -> None:
    spec = header.read_checkpoint(trained / "last.safetensors")
    assert (spec.name, spec.frontend_family) == ("erann-0-1-wavegram-esc50-fold1", "wavegram")
    assert spec.training["features"] == "wavegram" and spec.training["model"] == "erann-0-1"
    shown = runs.command("checkpoints", "show", trained / "last.safetensors").stdout
    assert "erann-0-1-wavegram" in shown


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_bit(data: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = loop.Trainer.step

    def stopped(run: loop.Trainer, *given: object) -> torch.Tensor:
        if run.state.iteration == 3:
            raise TrainingError("the power failed")
        return step(run, *given)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "SAVE_SECONDS", -1)  # after every iteration
        patch.setattr(loop.Trainer, "step", stopped)
        assert runs.error(train(data, tmp_path)) == "the power failed"
    assert train(data, tmp_path).exit_code == 0
    assert runs.history(tmp_path) == runs.history(trained)
    for file in ("state.safetensors", "last.safetensors", "best.safetensors"):
        ours, theirs = load_file(tmp_path / file), load_file(trained / file)
        assert ours.keys() == theirs.keys() and [key for key in ours if not torch.equal(ours[key], theirs[key])] == []
    assert "features 'wavegram' there, 'logmel' now" in runs.error(train(data, tmp_path, "--features", "logmel"))


@pytest.mark.parametrize(
    "options",
    [
        ("--mixup", "none", "--augment", "time-frequency-mask"),
        ("--mixup", "standard", "--augment", "none", "--set", "accumulate=2"),
        ("--dtype", "bfloat16", "--set", "clip_gradients=0.1"),
    ],
)
@pytest.mark.slow
def test_it_learns_with_other_settings_too(options: tuple[str, ...], data: Path, tmp_path: Path) -> None:
    assert train(data, tmp_path, "--iterations", 1, *options).exit_code == 0
    state = load_file(tmp_path / "state.safetensors")
    assert not torch.equal(state[f"model.{FIRST}"], begun().frontend.first[0].weight)
    assert all(tensor.isfinite().all() for tensor in state.values())


def test_masked_frames_give_the_front_end_no_gradient(data: Path) -> None:
    """The mask falls on the learned image, frame by frame."""
    network = begun().eval()
    waveform, mask = torch.from_numpy(sounds()[1:, :RATE]), torch.ones(1, 1, 128, 128)
    mask[..., 64:] = 0
    waveform.requires_grad_()
    network(waveform, mask).clip_logits.square().sum().backward()
    assert waveform.grad is not None
    reached = waveform.grad[0].nonzero()
    assert reached.min() < 345 and 60 * 345 < reached.max() < 70 * 345


def test_images_that_are_learned_cannot_be_mixed(data: Path, trained: Path, tmp_path: Path) -> None:
    said = runs.error(train(data, tmp_path / "run", "--mixup", "log-mel"), 2)
    assert "--mixup log-mel" in said and "wavegram" in said and not (tmp_path / "run").exists()
    result = runs.command("finetune", trained / "last.safetensors", "esc50", "--data", data, "--mixup", "log-mel",
                          "--out", tmp_path / "run", *runs.TINY)  # fmt: skip
    assert "wavegram" in runs.error(result, 2) and not (tmp_path / "run").exists()


def test_an_unknown_front_end_gets_a_guess(data: Path, tmp_path: Path) -> None:
    said = runs.error(train(data, tmp_path / "run", "--features", "wavegramm"), 2)
    assert "wavegramm" in said and "did you mean wavegram" in said.replace("'", "")


# Saved and loaded


def test_a_checkpoint_predicts_what_was_trained(trained: Path, data: Path) -> None:
    """The averaged weights of the state, by hand, against the file."""
    network = weights.load(trained / "last.safetensors")
    average = begun()
    state = load_file(trained / "state.safetensors")
    average.load_state_dict({name.removeprefix("average."): t for name, t in state.items() if name.startswith("average.")})
    ours, theirs = (Eager(each.eval()).scores(sounds()) for each in (network, average))
    np.testing.assert_allclose(ours, theirs, atol=1e-3)  # matrices are kept in half precision
    fresh = Eager(begun().eval()).scores(sounds())
    assert np.abs(ours - fresh).max() > 10 * np.abs(ours - theirs).max()


def test_a_round_trip_is_exact(told_apart: Path, tmp_path: Path) -> None:
    network = weights.load(told_apart)
    weights.save(network, tmp_path / "again.safetensors", half=False)
    again = weights.load(tmp_path / "again.safetensors")
    np.testing.assert_array_equal(Eager(again).scores(sounds()), Eager(network).scores(sounds()))
    assert not again.frontend.training


def test_a_file_whose_tensors_are_not_those_of_its_header_is_refused(
    told_apart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A front-end's layers that its header says nothing of, or that it promises."""
    network = weights.load(told_apart)
    spec = network.checkpoint
    network.checkpoint = dataclasses.replace(spec, frontend_family="logmel", frontend={})
    weights.save(network, tmp_path / "more.safetensors")
    network.checkpoint = spec
    monkeypatch.setattr(Network, "tensors", lambda network: network.model.state_dict())
    weights.save(network, tmp_path / "fewer.safetensors")
    monkeypatch.undo()
    for name in ("more", "fewer"):
        with pytest.raises(CheckpointError, match=rf"{name}\.safetensors.*frontend\."):
            weights.load(tmp_path / f"{name}.safetensors")


@pytest.mark.slow
def test_predict_and_evaluate_take_it(trained: Path, data: Path) -> None:
    path, clip = trained / "last.safetensors", data / "audio" / "1-10-A-0.wav"
    said = {}
    for engine in ("eager", "torch", "openvino"):
        if engine == "openvino":
            pytest.importorskip("openvino")
        options = ("--device", "cpu", "--dtype", "float32", "--engine", engine, "--format", "jsonl", "--top", 50)
        result = runs.command("predict", "-c", path, clip, *options)
        assert result.exit_code == 0, result.stderr
        said[engine] = {tag["label"]: tag["score"] for tag in json.loads(result.stdout)["tags"]}
        assert said[engine] == pytest.approx(said["eager"], abs=1e-3)
    result = runs.command("evaluate", "esc50", "-c", path, "--device", "cpu", "--data", data, "--fold", 1, "--json")
    measured = json.loads(result.stdout)
    assert measured["clips"] == 2
    assert measured["accuracy"] == header.read_checkpoint(path).metrics["value"]


@pytest.mark.parametrize("engine", ["torch", "openvino"])
@pytest.mark.slow
def test_engines_agree(engine: str, told_apart: Path) -> None:
    pytest.importorskip(engine)
    eager = loading.load(told_apart, engine="eager", device="cpu", dtype="float32")
    clips = [Clip(waveform[None], RATE, "sound") for waveform in sounds()]
    clips.append(Clip(sounds()[:1, : RATE // 3], RATE, "short"))  # another number of frames
    expected = np.array([eager.tag(clip).scores for clip in clips])
    assert np.abs(expected[0] - expected[1]).max() > 0.01
    for _ in range(2):  # openvino: compiled now, then as it was kept
        tagger = loading.load(told_apart, engine=engine, device="cpu", dtype="float32")
        np.testing.assert_allclose([tagger.tag(clip).scores for clip in clips], expected, atol=1e-4)


@pytest.mark.slow
def test_two_checkpoints_of_one_architecture_do_not_share_a_compiled_front_end(told_apart: Path, tmp_path: Path) -> None:
    """What is kept is kept by the weights, those of the front-end included."""
    pytest.importorskip("openvino")
    network = weights.load(told_apart)
    torch.nn.init.normal_(network.frontend.first[0].weight, 0, 0.5, torch.Generator().manual_seed(0))
    weights.save(network, tmp_path / "other.safetensors", half=False)
    load = {"engine": "openvino", "device": "cpu", "dtype": "float32"}
    taggers = [loading.load(path, **load) for path in (told_apart, tmp_path / "other.safetensors")]
    first, other = (each.prepare(Clip(sounds()[1:], RATE)) for each in taggers)
    assert first.shape == other.shape == (1, 128, 256) and np.abs(first - other).max() > 0.1


# Fine-tuning


@pytest.mark.slow
def test_fine_tuning_begins_with_its_front_end_and_trains_it(trained: Path, data: Path, tmp_path: Path) -> None:
    base = weights.load(trained / "last.safetensors")
    settings = from_recipe(esc50.RECIPE, "erann-0-1", base="base", features="wavegram", head="fc2")
    network = initialization.network(esc50.RECIPE, settings, base)
    for (name, ours), theirs in zip(network.frontend.state_dict().items(), base.frontend.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs) and ours.data_ptr() != theirs.data_ptr(), name
    assert all(parameter.requires_grad and not parameter.is_meta for parameter in network.parameters())
    assert not torch.equal(network.model.fc2.weight, base.model.fc2.weight)
    options = ("--fold", 1, "--iterations", 2, "--batch", 2, "--validation", 0, "--out", tmp_path, "--set", "ema_decay=0")
    result = runs.command("finetune", trained / "last.safetensors", "esc50", "--data", data, *options, *runs.TINY)
    assert result.exit_code == 0, result.stderr
    tuned, spec = load_file(tmp_path / "last.safetensors"), header.read_checkpoint(tmp_path / "last.safetensors")
    assert spec.frontend_family == "wavegram" and spec.training["features"] == "wavegram"
    moved = (tuned[FIRST].float() - base.frontend.first[0].weight.detach()).abs().max()
    assert 0 < moved < 1e-3  # two steps of 1e-4


@pytest.mark.slow
def test_averages_of_kept_checkpoints_hold_the_front_end(data: Path, tmp_path: Path) -> None:
    assert train(data, tmp_path, "--iterations", 2, "--set", "keep_every=1").exit_code == 0
    paths = [tmp_path / f"iteration-{iteration:07}.safetensors" for iteration in (1, 2)]
    assert runs.command("average", *paths, "-o", tmp_path / "mean.safetensors").exit_code == 0
    first, second, mean = (load_file(path)[FIRST].float() for path in (*paths, tmp_path / "mean.safetensors"))
    assert not torch.equal(first, second)
    torch.testing.assert_close(mean, (first + second) / 2, rtol=2**-10, atol=1e-6)


def test_it_is_not_exported_without_its_front_end(told_apart: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    output = tmp_path / "x.xml"
    said = runs.error(runs.command("export", told_apart, "--format", "openvino", "--output", output), 2)
    assert "wavegram" in said and "learned" in said and not output.exists()
