"""EfficientAT's networks against the oracle of the published weights, torchvision's layout and the papers' counts."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runs
import torch

from eranntag import models
from eranntag.audio import reader
from eranntag.checkpoints import header
from eranntag.engines.eager import Eager
from eranntag.engines.torch import Fast
from eranntag.features import melstft
from eranntag.inference.network import Network
from eranntag.models import mn
from eranntag.recipes import audioset
from eranntag.types import Checkpoint, Clip

RATE = 32000
PUBLISHED = "mn04_as_mAP_432.pt"


def checkpoint(name: str = "mn04", **changes: Any) -> Checkpoint:
    config = dataclasses.replace(mn.from_name(name), **changes)  # type: ignore[type-var]
    return Checkpoint(
        name=name,
        family="mn",
        model=dataclasses.asdict(config),
        frontend_family="melstft",
        frontend=dataclasses.asdict(melstft.Config()),
        labels=audioset.RECIPE.labels,
        activation="sigmoid",
    )


@pytest.fixture(scope="module")
def published(data_root: Path) -> Network:
    """The network with the authors' weights, whose tensors fit by name."""
    path = data_root / "teacher" / PUBLISHED
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    network = Network(checkpoint())
    network.model.load_state_dict(torch.load(path, weights_only=True))
    return network.eval()


def lcg(seed: int, samples: int, amplitude: float) -> np.ndarray:
    """The oracles' noise: a linear congruential generator, so that any language can repeat it."""
    state, found = seed, np.empty(samples)
    for index in range(samples):
        state = (1664525 * state + 1013904223) % 2**32
        found[index] = amplitude * (2 * state / 2**32 - 1)
    return found


def signal(name: str, samples: int, data: Path) -> Clip:
    """The sound of an entry of the oracle."""
    if name.startswith("sine"):
        waveform = 0.5 * np.sin(2 * np.pi * 440 * np.arange(samples) / RATE)
    elif name.startswith("lcg"):
        _, _, seed, _, amplitude, *_ = name.replace(",", "").split()
        waveform = lcg(int(seed), samples, float(amplitude))
    else:
        waveform = reader.to_mono(reader.read(data / name.partition(",")[0]), RATE)
    assert len(waveform) == samples
    return Clip(waveform[None].astype(np.float32), RATE, name)


def built(engine: str, network: Network) -> Any:
    """A Tagger of the network in float32."""
    if engine == "eager":
        return Eager(network)
    own = Network(network.checkpoint)
    own.load_state_dict(network.state_dict())
    if engine == "torch":
        return Fast(own.eval(), "float32")
    pytest.importorskip("openvino")
    from eranntag.engines.openvino_compile import compile_network
    from eranntag.engines.openvino_tagger import OpenVINO
    from eranntag.engines.selection import VerifiedCheckpoint

    source = VerifiedCheckpoint(network.checkpoint, "", lambda: own.eval())
    return OpenVINO(source, compile_network(source, "float32", False))


@pytest.mark.parametrize("engine", ["eager", "torch", "openvino"])
def test_every_engine_reproduces_the_oracle(
    engine: str, published: Network, data_root: Path, oracle: Callable[[str], Any]
) -> None:
    """Images, logits and embeddings of computed signals and of real clips, within the oracle's 1e-3."""
    tagger = built(engine, published)
    for name, expected in oracle("mn04")["signals"].items():
        clip = signal(name, expected["samples"], data_root)
        prepared = tagger.prepare(clip)[None]
        image = melstft.Frontend(tagger.frontend)(torch.from_numpy(tagger.waveform(clip))[None])[0, 0].numpy()
        assert image.shape == tuple(expected["image_shape"])
        if engine == "openvino":  # which computes it in numpy
            np.testing.assert_allclose(prepared[0, 0], image, rtol=0, atol=1e-3)
        at = [tuple(map(int, place.split(","))) for place in expected["image"]]
        assert [image[place] for place in at] == pytest.approx(list(expected["image"].values()), abs=1e-3)
        (logits,), (embedding,) = tagger.logits(prepared), tagger.embeddings(prepared)
        best = np.argsort(-logits)[:10]
        assert [tagger.labels[index] for index in best] == [label for _, label, _ in expected["top10"]]
        assert logits[best] == pytest.approx([value for *_, value in expected["top10"]], abs=1e-3)
        assert logits[:8] == pytest.approx(expected["logits_first8"], abs=1e-3)
        assert logits.sum(dtype=float) == pytest.approx(expected["logits_sum"], abs=527e-3)
        assert embedding.shape == (384,) and embedding[:8] == pytest.approx(expected["embedding_first8"], abs=1e-3)
        assert embedding.sum(dtype=float) == pytest.approx(expected["embedding_sum"], abs=384e-3)


@pytest.mark.parametrize("form", ["onnx", "openvino"])
@pytest.mark.slow
def test_exported_networks_reproduce_the_oracle(
    form: str, published: Network, data_root: Path, oracle: Callable[[str], Any], tmp_path: Path
) -> None:
    from eranntag.checkpoints import export, weights

    for package in export.FORMATS[form].packages:
        pytest.importorskip(package)
    weights.save(published, tmp_path / "mn04.safetensors", half=False)
    done = export.export(str(tmp_path / "mn04.safetensors"), form, tmp_path / f"mn04{export.FORMATS[form].suffixes[-1]}")
    run = export.FORMATS[form].load(done.path)
    for name, expected in oracle("mn04")["signals"].items():
        waveform = torch.from_numpy(signal(name, expected["samples"], data_root).waveform)
        (logits,), _, (embedding,) = run(published.frontend(waveform).numpy())
        assert logits[:8] == pytest.approx(expected["logits_first8"], abs=1e-3)
        assert embedding[:8] == pytest.approx(expected["embedding_first8"], abs=1e-3)


@pytest.mark.parametrize(("name", "parameters", "embedding"), [("mn04", 983_599, 384), ("mn10", 4_876_831, 960)])
def test_parameters_are_the_published_ones(name: str, parameters: int, embedding: int) -> None:
    """EfficientAT's table has 4.88 M for mn10; the tensors of mn04 were counted."""
    with torch.device("meta"):
        model = mn.Model(models.resolve(name)[1], 128, 527)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert model.embedding_size == embedding


def test_names_and_widths() -> None:
    assert models.resolve("mn04") == ("mn", mn.Config(0.4)) and models.resolve("mn40") == ("mn", mn.Config(4.0))
    for name in ("mn00", "mn4", "mn100", "mn", "mn0.4"):
        assert mn.from_name(name) is None
    assert mn.to_name(mn.Config(0.4)) == "mn04" and mn.to_name(mn.Config(0.45)) == "mn of width 0.45"
    with pytest.raises(ValueError, match="the width must be"):
        mn.Config(0.0)
    # Table 1 at width 0.4: 90 % of 0.4 * 24 = 9.6 is more than 8
    assert [mn.divisible(channels) for channels in (1, 6.4, 9.6, 16, 25.6, 102.4)] == [8, 8, 16, 16, 24, 104]


@pytest.fixture
def small() -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Network(dataclasses.replace(checkpoint(), labels=("a", "b", "c"))).eval()


def test_the_embedding_is_what_the_head_classifies(small: Network) -> None:
    model, image = small.model, torch.randn(2, 1, 128, 70, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        output = model(image)
        torch.testing.assert_close(output.embedding, model.features(image).mean((2, 3)))
        torch.testing.assert_close(output.clip_logits, model.classifier[2:](output.embedding))
        assert output.frame_logits is None


@pytest.mark.parametrize("frames", [1, 2, 31, 33, 1000])
def test_any_number_of_frames_is_possible(frames: int, small: Network) -> None:
    with torch.inference_mode():
        output = small.model(torch.zeros(1, 1, 128, frames))
    assert output.clip_logits.shape == (1, 3) and output.clip_logits.isfinite().all()


def test_new_heads(small: Network) -> None:
    model, image = small.model, torch.randn(1, 1, 128, 40, generator=torch.Generator().manual_seed(0))
    hidden = model.classifier[2]
    model.replace_head(7)
    assert model.classifier[2] is hidden and model(image).clip_logits.shape == (1, 7)
    model.replace_head(5, "fc1+fc2")
    assert model.classifier[2] is not hidden and model(image).clip_logits.shape == (1, 5)
    with pytest.raises(ValueError, match="fc2 or fc1"):
        model.replace_head(5, "attention")
    linear = model.linear_head(4)
    with torch.inference_mode():
        output = model(image)
        torch.testing.assert_close(output.clip_logits, linear(output.embedding))
    rebuilt = mn.Model(model.config, 128, 4)
    rebuilt.load_state_dict(model.state_dict())
    model.replace_head(6)
    assert model(image).clip_logits.shape == (1, 6) and model.config.linear_head


def test_other_front_ends_are_normalized() -> None:
    model = mn.Model(mn.config_for_other_frontend(mn.Config(0.4)), 128, 3)
    assert model(torch.full((2, 1, 128, 40), -80.0)).clip_logits.isfinite().all()
    assert model.bn0 is not None and model.bn0.num_features == 128


def test_long_sounds_are_windows_of_ten_seconds(small: Network) -> None:
    tagger = Eager(small)
    assert tagger.longest_seconds == 10 and tagger.frame_seconds is None
    waveform = np.random.default_rng(0).normal(0, 0.1, (1, 25 * RATE)).astype(np.float32)
    parts = [tagger.tag(Clip(part, RATE)).scores for part in np.split(waveform, [10 * RATE, 20 * RATE], 1)]
    np.testing.assert_allclose(tagger.tag(Clip(waveform, RATE)).scores, np.average(parts, 0, [10, 10, 5]), rtol=1e-5)


# The front-end


@pytest.mark.parametrize("samples", [1, 513, 514, 32000, 100_003])
def test_numpy_and_torch_agree_and_short_sounds_are_padded(samples: int) -> None:
    config = melstft.Config()
    padded = config.padded_samples(samples)
    waveform = np.zeros(padded, np.float32)
    waveform[:samples] = np.random.default_rng(0).normal(0, 0.3, samples)
    ours = melstft.Frontend(config)(torch.from_numpy(waveform)[None])[0, 0].numpy()
    from eranntag.features._melstft_numpy import compute

    numpys = compute(waveform, config)
    assert ours.shape == numpys.shape == (128, config.frames(padded)) and padded == max(samples, 514)
    np.testing.assert_allclose(numpys, ours, rtol=0, atol=1e-4)  # 0.2 of the logarithm of a sum of float32 numbers


def test_the_front_end_is_the_papers_in_float64() -> None:
    """From the definition, one frame at a time."""
    config, waveform = melstft.Config(), np.random.default_rng(1).normal(0, 0.1, 4000)
    emphasized = waveform[1:] - 0.97 * waveform[:-1]
    padded = np.pad(emphasized, 512, mode="reflect")
    window = np.zeros(1024)
    window[112:912] = np.hanning(800)
    mels = 1127 * np.log1p(np.arange(513) * 31.25 / 700)
    edges = np.linspace(0, 1127 * np.log1p(15000 / 700), 130)
    filters = np.array([np.interp(mels, edges[row : row + 3], [0, 1, 0]) for row in range(128)])
    frames = [np.abs(np.fft.rfft(padded[at : at + 1024] * window)) ** 2 for at in range(0, 4000 - 1, 320)]
    expected = (np.log(filters @ np.array(frames).T + 1e-5) + 4.5) / 5
    ours = melstft.Frontend(config)(torch.from_numpy(waveform.astype(np.float32))[None])[0, 0]
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4)
    assert not filters[:, 512].any()


def test_impossible_configurations_are_refused() -> None:
    for wrong, message in (
        ({"fmax_hz": 20000.0}, "mel bands"),
        ({"frame_samples": 2000}, "no place"),
        ({"frame_samples": 801}, "no place"),
        ({"hop_samples": 0}, "hop"),
        ({"offset": 0.0}, "positive"),
    ):
        with pytest.raises(ValueError, match=message):
            melstft.Config(**wrong)
    assert (melstft.Config().padded_samples(32000, 64) - 1) // 320 + 1 == 128  # for families that need whole columns
    assert melstft.Config(min_seconds=2).padded_samples(1) == 64000


# Training


@pytest.mark.slow
def test_it_is_trained_and_fine_tuned_like_any_family(tmp_path: Path) -> None:
    data = runs.esc50(tmp_path / "ESC-50-master")
    short = ("--fold", 1, "--iterations", 2, "--batch", 2, "--evaluate-every", 1, "--data", data, *runs.TINY)
    trained = runs.command("train", "esc50", "--model", "mn04", "--out", tmp_path / "trained", *short)
    assert trained.exit_code == 0, trained.stderr
    spec = header.read_checkpoint(tmp_path / "trained" / "last.safetensors")
    assert (spec.family, spec.frontend_family, spec.model["width"]) == ("mn", "melstft", 0.4)
    tuned = runs.command(
        "finetune", tmp_path / "trained" / "best.safetensors", "esc50", "--out", tmp_path / "tuned", "--validation", 0, *short
    )
    assert tuned.exit_code == 0, tuned.stderr
    other = runs.command("train", "esc50", "--model", "mn04", "--features", "logmel", "--out", tmp_path / "other", *short)
    assert other.exit_code == 0, other.stderr
    assert header.read_checkpoint(tmp_path / "other" / "last.safetensors").model["input_norm"] is True
    evaluated = runs.command("evaluate", "esc50", "--fold", 1, "--data", data, "-c", tmp_path / "tuned" / "last.safetensors")
    assert evaluated.exit_code == 0 and "accuracy" in evaluated.stdout, evaluated.stderr
    found = runs.command("detect", data / "audio" / "1-110-A-10.wav", "-c", tmp_path / "tuned" / "last.safetensors")
    assert found.exit_code == 0, found.stderr
