"""The learned front-end: its stack as in PANNs, where its columns and frames lie, and what training needs."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from eranntag import features
from eranntag.features.wavegram import Config, Frontend

RATE = 44100
SMALL = Config(n_channels=16)


@pytest.fixture(scope="module")
def small() -> Frontend:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Frontend(SMALL).eval()


def noise(samples: int, batch: int = 1) -> torch.Tensor:
    return 0.1 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(0))


def columns(frontend: Frontend, waveform: torch.Tensor) -> torch.Tensor:
    """(batch, channels, columns): what is learned, before its time axis is interpolated."""
    return frontend.blocks(frontend.first(waveform[:, None]))


def test_the_stack_is_that_of_panns() -> None:
    frontend = Frontend(Config())
    layers = [layer for layer in frontend.modules() if isinstance(layer, nn.Conv1d)]
    assert [(layer.in_channels, layer.out_channels, *layer.kernel_size, *layer.dilation) for layer in layers] == [
        (1, 64, 11, 1), (64, 64, 3, 1), (64, 64, 3, 2), (64, 128, 3, 1), (128, 128, 3, 2), (128, 128, 3, 1), (128, 128, 3, 2),
    ]  # fmt: skip
    assert [layer.bias for layer in layers] == [None] * 7
    assert sum(parameter.numel() for parameter in frontend.parameters()) == 198_720  # 197 312 weights, 2 * 704 of BatchNorm
    for layer in layers:  # Xavier: uniform to sqrt(6 / (fan in + fan out))
        bound = math.sqrt(6 / ((layer.in_channels + layer.out_channels) * layer.kernel_size[0]))
        assert 0.95 * bound < layer.weight.abs().max() <= bound
        assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)


@pytest.mark.parametrize("seconds", range(1, 11))
def test_frames_are_128_a_second(small: Frontend, seconds: int) -> None:
    with torch.no_grad():
        image = small(noise(SMALL.padded_samples(seconds * RATE - 1)))
    assert image.shape == (1, 1, 16, 128 * seconds) and image.dtype == torch.float32


def test_columns_are_centred_where_frames_look_for_them() -> None:
    """With kernels of ones, a click answers evenly to both sides of its place only where that is a column's centre."""
    frontend = Frontend(SMALL).eval()
    for layer in frontend.modules():
        if isinstance(layer, nn.Conv1d):
            nn.init.ones_(layer.weight)
    for column in (20, 33):
        waveform = torch.zeros(1, RATE)
        waveform[0, [320 * column + 157, 320 * column + 158]] = 1.0  # their middle is 320 column + 157.5
        with torch.no_grad():
            heard = columns(frontend, waveform)[0, 0]
        assert heard.argmax() == column
        np.testing.assert_allclose(heard[column + 1 : column + 4], heard[column - 3 : column].flip(0), rtol=1e-5)
        assert heard[column + 1] > 0


@pytest.mark.parametrize("seconds", [1, 5, 10])
def test_frames_lie_between_columns(small: Frontend, seconds: int) -> None:
    """Columns that say where they are give frames that say where they are: sample 345 i, or the outermost column's."""
    samples = SMALL.padded_samples(seconds * RATE)
    with torch.no_grad():
        count = columns(small, noise(samples)).shape[-1]
    centres = 320 * np.arange(count) + 157.5
    frames = SMALL.frames(samples)
    placed = small._frames(torch.from_numpy(centres)[None, None].float(), frames)[0, 0].numpy()
    np.testing.assert_allclose(placed, np.clip(345 * np.arange(frames), centres[0], centres[-1]), rtol=1e-6)
    values = np.random.default_rng(0).standard_normal((3, count)).astype(np.float32)
    ours = small._frames(torch.from_numpy(values), frames).numpy()
    expected = [np.interp(345 * np.arange(frames), centres, row) for row in values]
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)


def test_a_burst_is_heard_where_it_is(small: Frontend) -> None:
    waveform = torch.zeros(1, 2 * RATE)
    waveform[:, 40000:44000] = noise(4000)
    with torch.no_grad():
        heard = np.flatnonzero(small(waveform)[0, 0].numpy().any(0))
    assert set(range(math.ceil(40000 / 345), 44000 // 345)) <= set(heard)
    assert abs(heard.mean() - 42000 / 345) < 1
    assert heard[0] > 40000 / 345 - 5 and heard[-1] < 44000 / 345 + 5  # a column sees 1001 samples, a frame two columns


def test_a_click_lies_in_its_frame() -> None:
    """Wherever it stands among the columns, of which one is 0.93 frames: half a column more or less is seen."""
    frontend = Frontend(Config(n_channels=2)).eval()
    for layer in frontend.modules():
        if isinstance(layer, nn.Conv1d):
            nn.init.ones_(layer.weight)
    samples = torch.arange(20_000, 20_320, 5)  # all places of the first convolution in one column
    clicks = torch.zeros(len(samples), RATE)
    clicks[torch.arange(len(samples)), samples] = 1.0
    with torch.no_grad():
        image = frontend(clicks)[:, 0, 0].double()
    off = (image * torch.arange(128)).sum(1) / image.sum(1) - samples / 345
    assert off.abs().max() < 0.15 and off.mean().abs() < 0.05


def test_silence_is_finite_and_constant(small: Frontend) -> None:
    with torch.no_grad():
        image = small(torch.zeros(1, RATE))
    assert torch.isfinite(image).all() and image.std(-1).max() == 0


def test_a_batch_is_its_clips(small: Frontend) -> None:
    clips = noise(RATE, 3)
    with torch.no_grad():
        batch = small(clips)
        for clip, ours in zip(clips, batch, strict=True):
            torch.testing.assert_close(ours, small(clip[None])[0], rtol=1e-4, atol=1e-5)


def test_every_layer_learns() -> None:
    frontend = Frontend(SMALL).train()
    (frontend(noise(RATE, 2)) * torch.linspace(-1, 1, 128)).square().sum().backward()
    for name, parameter in frontend.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_autocast_speeds_up_the_layers_but_the_image_is_float32(small: Frontend) -> None:
    waveform = noise(RATE)
    with torch.no_grad():
        exact = small(waveform)
        with torch.autocast("cpu", torch.bfloat16):
            cast = small(waveform)
    assert cast.dtype == torch.float32 and not torch.equal(cast, exact)
    torch.testing.assert_close(cast, exact, rtol=0, atol=0.05 * exact.max().item())


def test_weights_are_saved_and_come_back_where_it_is_built_of_meta_tensors(small: Frontend) -> None:
    with torch.device("meta"):
        other = Frontend(SMALL).eval()
    other.load_state_dict(small.state_dict(), assign=True)
    with torch.no_grad():
        assert torch.equal(other(noise(RATE)), small(noise(RATE)))


def test_long_sounds_are_computed_at_once() -> None:
    assert features.framer("wavegram", Config()) is None


@pytest.mark.parametrize("channels", [0, 1, 127])
def test_channels_that_cannot_be_halved_are_refused(channels: int) -> None:
    with pytest.raises(ValueError, match=f"even number, not {channels}"):
        Config(n_channels=channels)
