"""What holds for every front-end whose frames see the sound through a window."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch
from conftest import float32_tolerance

from eranntag import registry
from eranntag.features._framed import Windowed

RATE = 44100
Same = Callable[[torch.Tensor, torch.Tensor], None]


def windowed() -> list[str]:
    """Names of the front-ends that derive from Windowed."""
    names = registry.names("eranntag.features")
    return [name for name in names if issubclass(import_module(f"eranntag.features.{name}").Frontend, Windowed)]


@pytest.fixture(scope="module", params=windowed())
def frontend(request: pytest.FixtureRequest) -> Any:
    module = import_module(f"eranntag.features.{request.param}")
    return module.Frontend(module.Config())


def noise(frontend: Any, seconds: int, batch: int = 1) -> torch.Tensor:
    samples = frontend.config.padded_samples(seconds * RATE)
    return 0.1 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def assert_same(frontend: Any) -> Same:
    """Equal within float32's error: of dB, where a quiet bin has more of it, of cepstra up to 1000, of correlations up to 1.

    A frame is of sums over its window and then over rows; the result itself is rounded a few times more.
    """
    tolerance = float32_tolerance(
        lambda sound: frontend(torch.from_numpy(sound)).numpy(),
        noise(frontend, 2).numpy(),
        terms=frontend.config.window_samples * frontend.config.rows,
    )

    def check(ours: torch.Tensor, reference: torch.Tensor) -> None:
        assert ours.shape == reference.shape
        rounding = 8 * torch.finfo(torch.float32).eps * float(reference.abs().max())
        torch.testing.assert_close(ours, reference, rtol=0, atol=tolerance + rounding)

    return check


def test_there_are_such_front_ends() -> None:
    assert {"logmel", "mfcc", "gfcc", "chroma", "tempogram"} <= set(windowed())


@pytest.mark.parametrize("seconds", [1, 2, 5, 6, 10])
def test_a_second_has_128_frames(frontend: Any, seconds: int) -> None:
    image = frontend(noise(frontend, seconds))
    assert image.shape == (1, 1, frontend.config.rows, 128 * seconds)
    assert image.is_contiguous() and torch.isfinite(image).all()


def test_a_batch_is_its_sounds_one_by_one(frontend: Any, assert_same: Same) -> None:
    sounds = noise(frontend, 1, batch=3) * torch.tensor([[1.0], [0.1], [0.5]])
    singly = torch.cat([frontend(sound[None]) for sound in sounds])
    for ours, reference in zip(frontend(sounds), singly, strict=True):
        assert_same(ours, reference)


def test_blocks_of_frames_are_the_whole(frontend: Any, assert_same: Same, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = noise(frontend, 2)
    whole = frontend(sound)
    monkeypatch.setattr("eranntag.features._framed.BLOCK_FRAMES", 100)
    assert_same(frontend(sound), whole)


def test_all_frames_at_once_are_the_same(frontend: Any, assert_same: Same, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = noise(frontend, 2)
    few = frontend(sound)
    monkeypatch.setattr("eranntag.features._spectrogram.CACHED_FRAMES", 10**6)
    assert_same(frontend(sound), few)


@pytest.mark.parametrize("index", [70, 127, 185])
def test_a_frame_depends_on_its_window_alone(frontend: Any, assert_same: Same, index: int) -> None:
    """Also on no neighbour in the batch, and it stands in the middle of its window."""
    config, sound = frontend.config, noise(frontend, 2, batch=2)
    start = index * config.hop_samples - config.window_samples // 2
    heard = slice(start, start + config.window_samples)
    assert heard.start >= 0 and heard.stop <= sound.shape[1]  # nothing mirrored
    other = sound.flip(1) * 3
    other[0, heard] = sound[0, heard]
    assert_same(frontend(other)[0, 0, :, index], frontend(sound)[0, 0, :, index])
    assert_same(frontend.image(sound[:, heard])[0], frontend(sound)[0, 0, :, index, None])


def test_autocast_changes_nothing(frontend: Any) -> None:
    sound = noise(frontend, 1)
    expected = frontend(sound)
    with torch.autocast("cpu", torch.bfloat16):
        assert (sound @ sound.T).dtype == torch.bfloat16  # autocast is on
        assert torch.equal(frontend(sound), expected)
    assert expected.dtype == torch.float32


def test_silence_is_the_same_in_all_frames(frontend: Any) -> None:
    image = frontend(torch.zeros(1, RATE))
    assert torch.isfinite(image).all()
    same = image[..., :1].expand_as(image)
    rounding = 8 * torch.finfo(torch.float32).eps * float(image.abs().max())  # of a sum over 128 rows, in blocks of frames
    torch.testing.assert_close(image, same, rtol=0, atol=rounding)


def test_a_constant_and_a_very_quiet_sound_are_finite(frontend: Any) -> None:
    quiet = 1e-18 * noise(frontend, 1)
    for sound in (torch.ones(1, RATE), quiet, -torch.ones(1, RATE)):
        assert torch.isfinite(frontend(sound)).all()


def test_nothing_is_trained_or_saved_and_meta_gives_real_buffers(frontend: Any) -> None:
    assert not list(frontend.parameters()) and not frontend.state_dict()
    with torch.device("meta"):
        built = type(frontend)(frontend.config)
    sound = noise(frontend, 1)
    assert torch.equal(built(sound), frontend(sound))


def test_halves_are_heard_as_floats(frontend: Any, assert_same: Same) -> None:
    sound = noise(frontend, 1).half()
    assert_same(frontend(sound), frontend(sound.float()))
