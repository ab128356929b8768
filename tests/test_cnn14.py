"""CNN14 against its published size and an independent computation; the converter with files like PANNs' and hostile ones."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor
from torch.nn import functional

from eranntag import features, models
from eranntag.checkpoints import convert, header, pickled, weights
from eranntag.cli import cli
from eranntag.engines.eager import Eager
from eranntag.engines.torch import Fast
from eranntag.errors import CheckpointError, EranntagError, UsageError
from eranntag.features import logmel
from eranntag.inference.network import Network
from eranntag.models.cnn14 import FRONTEND, Config, Model, from_name, to_name

LABELS = ("dog", "rain", "siren")
CHANNELS = 2  # 320 times fewer parameters than 64
FRONT = logmel.Config(**FRONTEND[1])
State = dict[str, Any]


def uniform(rng: torch.Generator, *shape: int, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(*shape, generator=rng)


def batch_norm(rng: torch.Generator, name: str, size: int, mean: tuple[float, float], var: tuple[float, float]) -> State:
    return {
        f"{name}.weight": uniform(rng, size, low=0.5, high=1.5),
        f"{name}.bias": uniform(rng, size, low=-0.2, high=0.2),
        f"{name}.running_mean": uniform(rng, size, low=mean[0], high=mean[1]),
        f"{name}.running_var": uniform(rng, size, low=var[0], high=var[1]),
        f"{name}.num_batches_tracked": torch.tensor(600_000),
    }


def panns_state(channels: int = CHANNELS, classes: int = len(LABELS)) -> State:
    """Random weights with the names and shapes of PANNs' files, kernels (out, in, time, frequency)."""
    rng = torch.Generator().manual_seed(0)
    state = batch_norm(rng, "bn0", 64, (-40, -20), (50, 150))  # decibels
    inputs = 1
    for block in range(6):
        outputs = channels * 2**block
        for layer, width in ((1, inputs), (2, outputs)):
            kernel = torch.randn(outputs, width, 3, 3, generator=rng) * (2 / (9 * width)) ** 0.5
            state[f"conv_block{block + 1}.conv{layer}.weight"] = kernel
            state |= batch_norm(rng, f"conv_block{block + 1}.bn{layer}", outputs, (-0.2, 0.2), (0.5, 1.5))
        inputs = outputs
    for name, size in (("fc1", inputs), ("fc_audioset", classes)):
        state[f"{name}.weight"] = torch.randn(size, inputs, generator=rng) * (2 / inputs) ** 0.5
        state[f"{name}.bias"] = uniform(rng, size, low=-0.2, high=0.2)
    return state


def published_logits(state: State, image: Tensor) -> Tensor:
    """The network of Table 1 from raw tensors; the image (batch, 1, frames, mels) is time by frequency, as published."""

    def norm(x: Tensor, name: str, dim: int) -> Tensor:
        shape = [1] * x.ndim
        shape[dim] = -1
        weight, bias, mean, var = (
            state[f"{name}.{part}"].view(shape) for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias

    x = norm(image, "bn0", 3)
    for block in range(1, 7):
        for layer in (1, 2):
            x = functional.conv2d(x, state[f"conv_block{block}.conv{layer}.weight"], padding=1)
            x = norm(x, f"conv_block{block}.bn{layer}", 1).clamp(min=0)
        if block < 6:
            x = functional.avg_pool2d(x, 2)
    x = x.mean(3)  # over frequency
    x = x.amax(2) + x.mean(2)
    x = functional.linear(x, state["fc1.weight"], state["fc1.bias"]).clamp(min=0)
    return functional.linear(x, state["fc_audioset.weight"], state["fc_audioset.bias"])


def constants() -> State:
    """The front-end's constants as torchlibrosa keeps them, from torch's own Fourier transform and window."""
    window = torch.hann_window(1024, dtype=torch.float64)
    spectra = torch.fft.rfft(torch.diag(window))  # (samples, bins): row n is the transform of an impulse at n
    return {
        "spectrogram_extractor.stft.conv_real.weight": spectra.real.T[:, None].float().contiguous(),
        "spectrogram_extractor.stft.conv_imag.weight": spectra.imag.T[:, None].float().contiguous(),
        "logmel_extractor.melW": torch.from_numpy(FRONT.filters().T).float().contiguous(),
    }


def image(batch: int, frames: int, seed: int = 1, rows: int = 64) -> Tensor:
    """Noise in decibels; each of the batch falls more steeply over the rows."""
    noise = torch.randn(batch, 1, rows, frames, generator=torch.Generator().manual_seed(seed))
    slopes = torch.arange(batch)[:, None, None, None] * torch.linspace(40, -40, rows)[:, None]
    return 10 * noise - 30 + slopes


def small(classes: int = len(LABELS), rows: int = 64) -> Model:
    """With weights that `panns_state` has too, for 64 rows and 3 classes."""
    model = Model(Config(CHANNELS), rows, classes).eval()
    if (rows, classes) == (64, len(LABELS)):
        state = {convert.PUBLISHED["cnn14"].source_name(name): name for name in model.state_dict()}
        given = panns_state()
        assert state.keys() == given.keys()
        model.load_state_dict({ours: given[name].transpose(2, 3) if given[name].ndim == 4 else given[name]
                               for name, ours in state.items()})  # fmt: skip
    return model


def on_meta(rows: int = 64, classes: int = 527) -> Model:
    with torch.device("meta"):
        return Model(Config(), rows, classes).eval()


def test_the_parameter_count_is_the_published_one(oracle: Callable[[str], Any]) -> None:
    model = on_meta()
    assert sum(parameter.numel() for parameter in model.parameters()) == 80_753_615
    assert oracle("parameter_counts")["cnn14_64mel_527_trainable"] == 80_753_615


def test_ten_seconds_become_the_sizes_of_the_paper() -> None:
    """Table 1: six blocks, each pooling but the last halves both axes, odd ones rounded down."""
    x, sizes = torch.empty(1, 1, 64, 1000, device="meta"), []
    for block in on_meta().blocks:
        x = block(x)
        sizes.append(tuple(x.shape[1:]))
    assert sizes == [(64, 32, 500), (128, 16, 250), (256, 8, 125), (512, 4, 62), (1024, 2, 31), (2048, 2, 31)]


@pytest.mark.parametrize("frames", [32, 100, 101, 333, 1001])
def test_the_network_computes_what_was_published(frames: int) -> None:
    x = image(2, frames)
    expected = published_logits(panns_state(), x.transpose(2, 3))
    assert (expected[0] - expected[1]).abs().max() > 0.01 and expected.std() > 0.1  # a hundred times what is allowed below
    torch.testing.assert_close(small()(x).clip_logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("seconds", [1, 10])
def test_whole_seconds_have_the_frames_of_the_published_code(seconds: int) -> None:
    """Centred windows: one frame more than 100 a second, which the last columns can see."""
    padded = FRONT.padded_samples(32_000 * seconds)
    assert padded == 32_000 * seconds and FRONT.frames(padded) == 100 * seconds + 1
    assert logmel.Frontend(FRONT)(torch.zeros(1, padded)).shape == (1, 1, 64, 100 * seconds + 1)


def test_short_images_are_continued_with_the_mean_of_each_bin() -> None:
    model = small()
    for frames in (1, 2, 31):
        x = image(1, frames)
        means = model.bn0.running_mean - model.bn0.bias / model.bn0.weight * torch.sqrt(model.bn0.running_var + 1e-5)
        continued = torch.cat([x, means.view(1, 1, 64, 1).expand(1, 1, 64, 32 - frames)], -1)
        torch.testing.assert_close(model(x).clip_logits, model(continued).clip_logits, rtol=1e-4, atol=1e-4)
        assert model.feature_map(x).shape[-1] == 1


def test_what_is_masked_counts_as_nothing() -> None:
    model, x, mask = small(), image(1, 64), torch.ones(1, 1, 64, 64)
    expected = model(x).clip_logits
    assert torch.equal(model(x, mask).clip_logits, expected)
    mask[..., 10:30] = 0
    assert not torch.allclose(model(x, mask).clip_logits, expected, rtol=1e-3)
    other = torch.where(mask == 0, image(1, 64, seed=2), x)
    assert torch.equal(model(x, mask).clip_logits, model(other, mask).clip_logits)


def test_dropout_is_for_training_and_gradients_reach_everything() -> None:
    torch.manual_seed(0)
    model, x = small(), image(2, 64)
    assert torch.equal(model(x).clip_logits, model(x).clip_logits)
    model.train()
    assert not torch.equal(model(x).clip_logits, model(x).clip_logits)
    model(x).clip_logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all() and parameter.grad.any(), name


@pytest.mark.parametrize(("layers", "new"), [("fc2", {"fc2"}), ("fc1+fc2", {"fc1", "fc2"})])
def test_a_new_head_keeps_everything_else(layers: str, new: set[str]) -> None:
    model = small()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.replace_head(7, layers)
    assert {name.partition(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])} == new
    assert model(image(2, 64)).clip_logits.shape == (2, 7)
    with pytest.raises(ValueError, match=r"fc2 or fc1\+fc2, not 'fc1'"):
        model.replace_head(7, "fc1")


def test_half_precision_is_finite_and_near() -> None:
    model, x = small(), image(2, 100)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(x).clip_logits
    assert torch.isfinite(rough).all()
    torch.testing.assert_close(rough.float().sigmoid(), model(x).clip_logits.sigmoid(), rtol=0, atol=0.05)


@torch.no_grad()
def test_optimised_it_computes_the_same() -> None:
    x = image(2, 100)
    expected = small()(x).clip_logits
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.bfloat16, 0.2)):
        model = small().requires_grad_(False)
        model.optimize(dtype)
        assert not [layer for layer in model.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
        result = model(x).clip_logits
        assert result.dtype == torch.float32
        torch.testing.assert_close(result, expected, rtol=0, atol=tolerance)


def test_names() -> None:
    assert from_name("cnn14") == Config() and to_name(Config()) == "cnn14"
    assert models.resolve("cnn14") == ("cnn14", Config())
    for name in ("", "CNN14", "cnn14-64", "cnn14 ", "cnn10", to_name(Config(CHANNELS))):
        assert from_name(name) is None
    with pytest.raises(ValueError, match="not 0"):
        Config(0)


def test_images_of_other_heights() -> None:
    for rows in (32, 63, 128):
        assert small(rows=rows)(image(1, 40, rows=rows)).clip_logits.shape == (1, 3)
    with pytest.raises(ValueError, match="needs 32 or more, not 31"):
        Model(Config(CHANNELS), 31, 3)


# The converter


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """PANNs' weights as if their network had 2 channels and 3 classes: 320 MB would be too much for a test."""
    full = convert.PUBLISHED["cnn14"]
    spec = dataclasses.replace(full.checkpoint, model={"channels": CHANNELS}, labels=LABELS)
    monkeypatch.setitem(convert.PUBLISHED, "cnn14", dataclasses.replace(full, checkpoint=spec))


@pytest.fixture(scope="module")
def front() -> State:
    return constants()


@pytest.fixture
def published(tmp_path: Path, front: State) -> Callable[..., Path]:
    """`published(**changed)` writes such a file; tensors that are None are left out."""

    def write(zipped: bool = True, beside: State | None = None, **changed: Any) -> Path:
        state = {**front, **panns_state(), **{name.replace("__", "."): value for name, value in changed.items()}}
        content = {"iteration": 600_000, "model": {name: value for name, value in state.items() if value is not None}}
        path = tmp_path / "Cnn14_mAP=0.431.pth"
        torch.save(content | (beside or {}), path, _use_new_zipfile_serialization=zipped)
        return path

    return write


def refusal(file: Path, kind: type[EranntagError] = CheckpointError, **options: Any) -> str:
    """Why `file` is not converted, in one line; nothing is left behind."""
    output = file.parent / "out.safetensors"
    with pytest.raises(kind) as caught:
        convert.convert(file, output, **options)
    assert sorted(path.name for path in file.parent.iterdir()) == [file.name]
    assert len(str(caught.value).splitlines()) == 1 and str(caught.value).startswith(f"{file}: ")
    return str(caught.value).removeprefix(f"{file}: ")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("half", [True, False])
def test_converted_weights_predict_what_the_published_ones_do(
    zipped: bool, half: bool, published: Callable[..., Path], tmp_path: Path, front: State
) -> None:
    convert.convert(published(zipped), tmp_path / "out.safetensors", half=half)
    network = weights.load(tmp_path / "out.safetensors")
    sound = 0.1 * torch.randn(1, 64_000, generator=torch.Generator().manual_seed(3))
    padded = functional.pad(sound, (512, 512), mode="reflect")[:, None]
    real, imaginary = (functional.conv1d(padded, kernels, stride=320) for kernels in list(front.values())[:2])
    mel = (real**2 + imaginary**2).transpose(1, 2) @ front["logmel_extractor.melW"]  # (1, frames, mels)
    expected = published_logits(panns_state(), 10 * torch.log10(mel.clamp(min=1e-10))[:, None, :200]).sigmoid().numpy()
    assert ((expected > 0.02) & (expected < 0.98)).all()
    for tagger in (Eager(network), Fast(network, "float32")):
        np.testing.assert_allclose(tagger.scores(sound.numpy()), expected, rtol=0, atol=5e-3 if half else 1e-4)


def test_the_header_says_where_the_weights_come_from(published: Callable[..., Path], tmp_path: Path) -> None:
    convert.convert(published(), tmp_path / "out.safetensors")
    spec = header.read_checkpoint(tmp_path / "out.safetensors")
    assert (spec.family, spec.activation, spec.licence, spec.data) == ("cnn14", "sigmoid", "CC BY 4.0", "AudioSet")
    assert spec.source == "https://zenodo.org/records/3987831" and spec.labels == LABELS
    assert features.logmel.Config(**spec.frontend) == FRONT and FRONT.sample_rate_hz == 32_000


def test_the_full_network_is_the_published_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    full = convert.PUBLISHED["cnn14"]
    with torch.device("meta"):
        network = Network(full.checkpoint)
    assert sum(parameter.numel() for parameter in network.model.parameters()) == 80_753_615
    assert len(full.checkpoint.labels) == 527 and full.checkpoint.labels[:2] == ("Speech", "Male speech, man speaking")
    assert {full.source_name(name) for name in network.model.state_dict()} == panns_state(1, 1).keys()


@pytest.mark.parametrize("zipped", [True, False])
def test_arrays_beside_the_weights_never_reach_numpy(
    zipped: bool, published: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, allowed = [], torch.serialization.get_safe_globals()
    file = published(zipped, {"sampler": {"indexes": np.arange(5), "best": np.float64(0.4), "names": np.array(["a"], object)}})
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda *args, **options: loaded.append(load(*args, **options)) or loaded[-1])
    convert.convert(file, tmp_path / "out.safetensors")
    assert {type(value) for value in loaded[0]["sampler"].values()} == {pickled.SkippedArray}
    assert set(torch.serialization.get_safe_globals()) == set(allowed)
    assert "fc1.bias is no plain tensor" in refusal_after(file, published, fc1__bias=np.zeros(64, np.float32))


def refusal_after(file: Path, published: Callable[..., Path], **changed: Any) -> str:
    (file.parent / "out.safetensors").unlink()
    return refusal(published(**changed))


class Hostile:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("where", ["beside", "in the weights"])
def test_code_is_refused_and_not_run(zipped: bool, where: str, published: Callable[..., Path], tmp_path: Path) -> None:
    evil = Hostile(tmp_path / "run")
    file = published(zipped, {"sampler": evil}) if where == "beside" else published(zipped, fc1__bias=evil)
    assert "refused: it asks for" in (why := refusal(file)) and ".mkdir" in why and "nothing of it was run" in why
    assert not evil.folder.exists()
    torch.load(file, weights_only=False)
    assert evil.folder.exists()  # or the test would show nothing


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kept", [0.0, 0.0001, 0.3, 0.9, 0.99999])
def test_a_truncated_file_is_refused(zipped: bool, kept: float, published: Callable[..., Path]) -> None:
    file = published(zipped)
    file.write_bytes(file.read_bytes()[: int(kept * file.stat().st_size)])
    assert "not a file of torch.save, or not all of it" in refusal(file)


def test_other_files_are_refused(published: Callable[..., Path]) -> None:
    file = published()
    for content in (b"<html>404</html>", b"\x80\x02" + b"x" * 50, b"PK\x03\x04" + bytes(50)):
        file.write_bytes(content)
        assert "not a file of torch.save" in refusal(file)
    for content in ([1, 2], {"state_dict": {}}, {"model": [torch.ones(1)]}):
        torch.save(content, file)
        assert "no dictionary 'model'" in refusal(file)


def test_tensors_that_do_not_fit_are_refused(published: Callable[..., Path]) -> None:
    for changed, why in (
        ({"fc1__bias": None}, "not the weights of cnn14-audioset: fc1.bias missing"),
        ({"att_block__att__weight": torch.ones(2)}, "not the weights of cnn14-audioset: att_block.att.weight unknown"),
        ({"bn0__weight": torch.ones(128)}, "bn0.weight has shape (128,), not (64,)"),
        ({"fc_audioset__weight": torch.ones(4, 64)}, "fc_audioset.weight has shape (4, 64), not (3, 64)"),
        ({"fc1__bias": torch.full((64,), torch.nan)}, "fc1.bias has values that are not finite"),
        ({"fc1__bias": torch.full((64,), 1e300, dtype=torch.float64)}, "fc1.bias has values that are not finite"),
        ({"fc1__bias": torch.ones(64, dtype=torch.int64)}, "fc1.bias is of torch.int64, not torch.float32"),
        ({"fc1__bias": torch.ones(64).to_sparse()}, "fc1.bias is no plain tensor"),
        ({"fc1__bias": torch.ones(64, device="meta")}, "fc1.bias is no plain tensor"),
        ({"fc1__bias": "text"}, "fc1.bias is no plain tensor"),
        ({"fc1__weight": torch.full((64, 64), 1e5)}, "fc1.weight has values too large for float16; use --float32"),
    ):
        assert refusal(published(**changed)) == why


def test_another_variants_front_end_is_refused(published: Callable[..., Path], front: State) -> None:
    narrower = dataclasses.replace(FRONT, sample_rate_hz=16_000, window_samples=512, fmax_hz=8000.0)
    wider = dataclasses.replace(FRONT, fmax_hz=16_000.0)
    no_window = torch.fft.rfft(torch.eye(1024)).real.T[:, None].contiguous()
    for changed in (
        {"logmel_extractor__melW": torch.from_numpy(narrower.filters().T).float()},
        {"logmel_extractor__melW": torch.from_numpy(wider.filters().T).float()},
        {"logmel_extractor__melW": torch.full((513, 64), torch.nan)},
        {"spectrogram_extractor__stft__conv_real__weight": no_window},
    ):
        why = refusal(published(**changed))
        assert "another front-end than that of cnn14 (32000 Hz)" in why and why.startswith(
            next(iter(changed)).replace("__", ".")
        )
    convert.convert(published(**dict.fromkeys(name.replace(".", "__") for name in front)), published().parent / "o.safetensors")


def test_what_is_there_is_kept(published: Callable[..., Path], tmp_path: Path) -> None:
    output = tmp_path / "out.safetensors"
    output.write_bytes(b"mine")
    for target, why in (
        (output, "is there already; use --force"),
        (tmp_path / "out.pth", "must end in .safetensors"),
        (tmp_path / "none" / "x.safetensors", "must be in a folder that exists"),
    ):
        with pytest.raises(UsageError, match=why):
            convert.convert(published(), target)
    with pytest.raises(CheckpointError):
        convert.convert(published(fc1__bias=None), output, force=True)
    assert output.read_bytes() == b"mine"
    convert.convert(published(), output, force=True)
    assert header.read_checkpoint(output).family == "cnn14"


def run(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


def test_the_command(published: Callable[..., Path], tmp_path: Path) -> None:
    half, full = tmp_path / "half.safetensors", tmp_path / "full.safetensors"
    done = run("checkpoints", "convert", published(), "--model", "cnn14", "-o", half)
    assert (done.exit_code, done.stdout) == (0, f"{half}\n") and "licence of the weights: CC BY 4.0" in done.stderr
    assert run("checkpoints", "convert", published(), "--model", "cnn14", "-o", full, "--float32").exit_code == 0
    assert half.stat().st_size < 0.7 * full.stat().st_size
    assert "is there already" in run("checkpoints", "convert", published(), "--model", "cnn14", "-o", full).stderr
    assert run("checkpoints", "convert", published(), "--model", "cnn14", "-o", full, "--force").exit_code == 0
    assert run("checkpoints", "convert", published(), "--model", "cnn15", "-o", full).exit_code == 2
    with pytest.raises(UsageError, match="only for cnn14"):
        convert.convert(published(), full, model="cnn15")
