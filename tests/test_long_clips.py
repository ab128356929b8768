"""Hours of sound in blocks: the same numbers as in one pass."""

import pytest
import torch

from eranntag.features import logmel
from eranntag.models import erann


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(1, 1, 128, 128 * 18, generator=torch.Generator().manual_seed(1))


def calibrated(s_m: int, image: torch.Tensor) -> erann.Model:
    torch.manual_seed(0)
    model = erann.Model(erann.Config(s_m=s_m, width=1), rows=128, classes=5).train()
    with torch.no_grad():
        for _ in range(20):
            model(image[..., :128])
    return model.eval()


@pytest.mark.parametrize("s_m", [0, 1, 2])
@torch.inference_mode()
def test_blocks_give_the_result_of_one_pass(s_m: int, image: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    model = calibrated(s_m, image)
    whole = model(image).clip_logits
    monkeypatch.setattr(erann, "LONG_FRAMES", 256)
    torch.testing.assert_close(model(image).clip_logits, whole, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_less_context_than_the_layers_see_would_change_the_result(image: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    model = calibrated(1, image)
    whole = model(image).clip_logits
    monkeypatch.setattr(erann, "LONG_FRAMES", 256)
    monkeypatch.setattr(erann.Model, "context_frames", 64)
    assert (model(image).clip_logits - whole).abs().max() > 1e-3


def test_context_is_what_the_gradient_of_one_column_reaches(image: torch.Tensor) -> None:
    model = calibrated(0, image)
    signal = image.clone().requires_grad_()
    column = 128 * 18 // model.frame_multiple // 2
    model.feature_map(signal)[..., column].square().sum().backward()
    assert signal.grad is not None
    reached = signal.grad.abs().sum((0, 1, 2)).nonzero().squeeze()
    first, last = column * model.frame_multiple, (column + 1) * model.frame_multiple - 1
    reach = max(first - int(reached[0]), int(reached[-1]) - last)
    assert model.context_frames - model.frame_multiple <= reach <= model.context_frames


def test_log_mel_blocks_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    config = logmel.Config()
    frontend = logmel.Frontend(config)
    waveform = torch.randn(2, config.padded_samples(44100 * 3))
    whole = frontend(waveform)
    monkeypatch.setattr(logmel, "BLOCK_FRAMES", 100)
    torch.testing.assert_close(frontend(waveform), whole, atol=1e-3, rtol=0)
