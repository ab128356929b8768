"""Kaldi's filterbank: against the oracle, torchaudio's Kaldi-compatible one, and physics."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from eranntag import features
from eranntag.audio import filterbanks
from eranntag.features.fbank import Config, Frontend

RATE = 16000
CONFIG = Config()
FLOOR = np.log(2.0**-23)
ORACLE = "psla_16000_512_128/kaldi"
CENTRES = filterbanks.mel_edges(128, 20.0, 8000.0, "htk")[1:-1]


def signal(kind: str, seconds: int) -> torch.Tensor:
    """(1, samples) float32"""
    n = np.arange(seconds * RATE)
    made = {
        "noise": 0.1 * np.random.default_rng(0).standard_normal(len(n)),
        "tone": 0.5 * np.sin(2 * np.pi * 1000 * n / RATE),
        "click": 0.9 * (n == len(n) // 3),
        "offset": 0.3 + 0.01 * np.random.default_rng(1).standard_normal(len(n)),
    }[kind]
    return torch.from_numpy(made.astype(np.float32))[None]


def image(waveform: torch.Tensor, config: Config = CONFIG) -> torch.Tensor:
    """(1, samples) -> (128, frames) in nepers."""
    return Frontend(config)(waveform)[0, 0]


def test_the_filter_bank_is_the_oracles(oracle: Callable[[str], Any]) -> None:
    bank = oracle("mel_filterbanks")["filterbanks"][ORACLE]
    edges = filterbanks.mel_edges(bank["n_mels"], bank["fmin"], bank["fmax"], "htk")
    np.testing.assert_allclose(edges, bank["edges_hz (n_mels+2; centres are entries 1..n_mels)"], rtol=0, atol=1e-6)
    filters = filterbanks.kaldi_filterbank(bank["sr"], bank["n_fft"], bank["n_mels"], bank["fmin"], bank["fmax"])
    assert filters.shape == (128, 257)
    np.testing.assert_allclose(filters.sum(1), bank["row_sums"], rtol=0, atol=1e-9)
    assert (filters > 0).sum(1).tolist() == bank["nonzero_bins_per_filter"]
    np.testing.assert_array_equal(Frontend(CONFIG).filters.numpy(), filters.astype(np.float32))


@pytest.mark.parametrize("kind", ["noise", "tone", "click", "offset"])
@pytest.mark.parametrize("window", ["hann", "hamming"])
def test_torchaudio_computes_the_same(kind: str, window: str) -> None:
    """Within 1e-3 nepers where a band has sound; in a tone's frames float32 leaves more of what is 70 dB below its peak."""
    kaldi = pytest.importorskip("torchaudio.compliance.kaldi", exc_type=(ImportError, OSError, RuntimeError))
    waveform = signal(kind, 2)
    expected = kaldi.fbank(
        waveform - waveform.mean(), htk_compat=True, use_energy=False, num_mel_bins=128, dither=0.0, frame_shift=10,
        sample_frequency=RATE, window_type="hanning" if window == "hann" else window,
    ).T  # fmt: skip
    ours = image(waveform, Config(window=window))[:, : expected.shape[1]]
    assert expected.shape == (128, 198)
    audible = expected > torch.maximum(expected.amax(0) - 16, torch.tensor(FLOOR + 0.1))
    assert audible.float().mean() > 0.005
    torch.testing.assert_close(ours[audible], expected[audible], rtol=0, atol=1e-3)
    torch.testing.assert_close(ours, expected, rtol=0, atol=0.5)


def test_a_frame_by_hand() -> None:
    """The 7th frame of noise in float64, from the words of the specification."""
    waveform = signal("noise", 1)
    frame = waveform[0, 6 * 160 : 6 * 160 + 400].double().numpy()
    frame = frame - frame.mean()
    frame = np.array([frame[n] - 0.97 * frame[max(n - 1, 0)] for n in range(400)]) * np.hanning(400)
    power = np.abs(np.fft.rfft(frame, 512)) ** 2
    filters = filterbanks.kaldi_filterbank(RATE, 512, 128, 20.0, 8000.0)
    expected = np.log(np.maximum(filters @ power, 2.0**-23))
    np.testing.assert_allclose(image(waveform)[:, 6].numpy(), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("seconds", "sound", "frames"), [(1, 98, 128), (2, 198, 224), (5, 498, 544), (10, 998, 1056)])
def test_zeros_follow_the_frames_of_sound(seconds: int, sound: int, frames: int) -> None:
    heard = image(signal("noise", seconds))
    assert heard.shape == (128, frames) and CONFIG.frames(seconds * RATE) == frames
    assert (heard[:, :sound].abs().amax(0) > 0).all() and not heard[:, sound:].any()


@pytest.mark.parametrize("multiple", [1, 16, 32, 64, 128, 256])
def test_seconds_are_added_until_the_frames_are_a_multiple(multiple: int) -> None:
    for seconds in range(1, 41):
        padded = CONFIG.padded_samples(seconds * RATE - 5, multiple)
        assert padded % RATE == 0 and CONFIG.frames(padded) % multiple == 0
        assert CONFIG.frames(padded) >= 1 + (padded - 400) // 160
        assert CONFIG.padded_samples(padded, multiple) == padded
        shorter = range(seconds, padded // RATE)
        assert all(CONFIG.frames(fewer * RATE) % multiple for fewer in shorter)
    assert CONFIG.padded_samples(1, 32) == RATE


def test_a_constant_added_changes_nothing() -> None:
    """Why the clip's mean is not subtracted."""
    waveform = signal("noise", 1)
    torch.testing.assert_close(image(waveform + 0.25), image(waveform), rtol=0, atol=2e-2)


@pytest.mark.parametrize("mel", [20, 60, 90, 120])
def test_a_tone_peaks_in_the_band_whose_centre_is_nearest(mel: int) -> None:
    n = torch.arange(RATE)
    heard = image(0.5 * torch.sin(2 * torch.pi * CENTRES[mel] * n / RATE)[None])[:, :98]
    assert ((heard.argmax(0) - mel).abs() <= (1 if mel < 40 else 0)).all()  # low bands are narrower than a bin


def test_preemphasis_lifts_the_treble_by_its_formula() -> None:
    """|1 - 0.97 exp(-i w)|^2 at both tones' frequencies, and the bands' weights: the ratio of two tones of one amplitude."""
    flat = Config(preemphasis=0.0)
    n = torch.arange(RATE)
    for hz in (500.0, 4000.0):
        tone = 0.5 * torch.sin(2 * torch.pi * hz * n / RATE)[None]
        row = int(image(tone)[:, 50].argmax())
        gain = np.log(abs(1 - 0.97 * np.exp(-2j * np.pi * hz / RATE)) ** 2)
        assert (image(tone) - image(tone, flat))[row, 50].item() == pytest.approx(gain, abs=0.02)


def test_a_click_is_in_the_frames_that_contain_it() -> None:
    waveform = torch.zeros(1, RATE)
    waveform[0, 50 * 160 + 100] = 0.9
    heard = (image(waveform)[:, :98] > FLOOR + 1).any(0)
    assert np.flatnonzero(heard.numpy()).tolist() == [49, 50]  # 160 i < position < 160 i + 399, but for the window's edge


def test_silence_is_the_floor_and_then_zeros() -> None:
    heard = image(torch.zeros(1, RATE))
    torch.testing.assert_close(heard[:, :98], torch.full((128, 98), FLOOR, dtype=torch.float32))
    assert not heard[:, 98:].any()


def test_a_batch_is_its_clips_and_blocks_are_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    clips = torch.cat([signal("noise", 2), signal("offset", 2)])
    frontend = Frontend(CONFIG)
    batch = frontend(clips)
    assert batch.shape == (2, 1, 128, 224)
    for clip, ours in zip(clips, batch, strict=True):
        torch.testing.assert_close(ours, frontend(clip[None])[0], rtol=0, atol=1e-3)
    monkeypatch.setattr("eranntag.features.fbank.BLOCK_FRAMES", 50)
    torch.testing.assert_close(frontend(clips), batch, rtol=0, atol=1e-3)


def test_autocast_changes_nothing_and_there_is_nothing_to_train_or_save() -> None:
    with torch.device("meta"):
        frontend = Frontend(CONFIG)
    assert not list(frontend.parameters()) and not frontend.state_dict()
    waveform = signal("noise", 1)
    with torch.autocast("cpu", torch.bfloat16):
        heard = frontend(waveform)
    assert heard.dtype == torch.float32 and torch.equal(heard, Frontend(CONFIG)(waveform))


def test_long_sounds_are_computed_at_once() -> None:
    assert features.framer("fbank", CONFIG) is None


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"window": "povey"}, r"'povey' is not hann\|hamming"),
        ({"fmax_hz": 9000.0}, "do not fit 16000 Hz"),
        ({"frame_samples": 600}, "do not fit 512 points"),
        ({"hop_samples": 401}, "do not fit 512 points"),
    ],
)
def test_configurations_that_cannot_be_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Config(**wrong)
