"""The mel-filtered magnitude spectrum: against the oracle, SciPy's spectrogram with librosa's filters, and physics."""

from collections.abc import Callable
from typing import Any

import librosa
import numpy as np
import pytest
import torch
from scipy import signal

from eranntag import features
from eranntag.audio import filterbanks
from eranntag.features.melmag import Config, Frontend

RATE = 32000
CONFIG = Config()
FRONTEND = Frontend(CONFIG)
CENTRES = filterbanks.mel_edges(64, 50.0, 16000.0)[1:-1]


def image(waveform: np.ndarray) -> np.ndarray:
    """(samples,) -> (64, frames) in nepers."""
    return FRONTEND(torch.from_numpy(waveform.astype(np.float32))[None])[0, 0].numpy()


def noise(seconds: int, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(seconds * RATE)


def tone(hz: float, seconds: int = 1, amplitude: float = 0.5) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hz * np.arange(seconds * RATE) / RATE)


def test_the_filter_bank_is_the_oracles(oracle: Callable[[str], Any]) -> None:
    bank = oracle("mel_filterbanks")["filterbanks"]["two_step_32000_2048_64/slaney"]
    assert (bank["sr"], bank["n_fft"], bank["n_mels"], bank["fmin"], bank["fmax"]) == (RATE, 2048, 64, 50.0, 16000.0)
    filters = CONFIG.filters()
    edges = filterbanks.mel_edges(64, 50.0, 16000.0)
    np.testing.assert_allclose(edges, bank["edges_hz (n_mels+2; centres are entries 1..n_mels)"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(filters.sum(1), bank["row_sums (area-normalised)"], rtol=0, atol=1e-9)
    assert (filters > 0).sum(1).tolist() == bank["nonzero_bins_per_filter"]


@pytest.mark.parametrize("kind", ["noise", "tone", "click"])
def test_scipy_and_librosa_compute_the_same(kind: str) -> None:
    """The public code's way: SciPy's magnitude spectrogram, whose default is the scale "density" at a rate of 1 Hz.

    Within 1e-3 nepers down to 100 dB below the loudest; what a tone's window leaves below is float32's rounding.
    """
    waveform = {"noise": noise(2), "tone": tone(1000, 2), "click": 0.9 * (np.arange(2 * RATE) == 20000)}[kind].astype(
        np.float32
    )
    *_, magnitude = signal.spectrogram(
        waveform.astype(np.float64), window=np.hamming(2048), nperseg=2048, noverlap=1024, detrend=False, mode="magnitude"
    )
    filters = librosa.filters.mel(sr=RATE, n_fft=2048, n_mels=64, fmin=50.0, fmax=16000, dtype=np.float64)
    expected = np.log(filters @ magnitude + 1e-8)
    audible = expected > max(expected.max() - 5 * np.log(10), np.log(1e-8) + 0.1)
    assert audible.mean() > 0.02
    np.testing.assert_allclose(image(waveform)[audible], expected[audible], rtol=0, atol=1e-3)
    np.testing.assert_allclose(image(waveform), expected, rtol=0, atol=0.5)


@pytest.mark.parametrize(("seconds", "frames"), [(1, 30), (2, 61), (5, 155), (10, 311), (20, 624)])
def test_nothing_is_added_at_the_edges(seconds: int, frames: int) -> None:
    """Table I: 311 frames of 10 seconds; else floor((n - 2048) / 1024) + 1."""
    padded = CONFIG.padded_samples(seconds * RATE)
    assert padded == seconds * RATE and CONFIG.frames(padded) == frames
    assert image(noise(seconds)).shape == (64, frames)
    assert CONFIG.frames_per_second == 31.25


def test_padding() -> None:
    assert CONFIG.padded_samples(0) == CONFIG.padded_samples(1) == CONFIG.padded_samples(RATE) == RATE
    assert CONFIG.padded_samples(RATE + 1) == 2 * RATE
    assert Config(min_seconds=10).padded_samples(RATE) == 10 * RATE
    for multiple in (1, 16, 32, 128):
        for seconds in (1, 4, 10):
            padded = CONFIG.padded_samples(seconds * RATE, multiple)
            assert CONFIG.frames(padded) % multiple == 0
            assert 0 <= padded - seconds * RATE <= multiple * 1024  # what is missing and no second more
    assert Config(sample_rate_hz=1000, fmax_hz=500.0).frames(Config(sample_rate_hz=1000, fmax_hz=500.0).padded_samples(1)) == 1


def test_silence_is_the_offsets_logarithm() -> None:
    np.testing.assert_allclose(image(np.zeros(RATE)), np.log(1e-8), rtol=1e-6)


@pytest.mark.parametrize("row", [3, 20, 40, 60])
def test_a_tone_peaks_in_its_band(row: int) -> None:
    found = image(tone(CENTRES[row]))
    assert (found.argmax(0) == row).all()


def test_a_click_is_heard_by_the_two_frames_that_hold_it() -> None:
    waveform = np.zeros(RATE)
    waveform[10 * 1024 + 100] = 0.5
    loud = (image(waveform) > np.log(1e-8) + 1).all(0)
    assert np.flatnonzero(loud).tolist() == [9, 10]


def test_twice_the_amplitude_is_a_neper_of_two() -> None:
    """Magnitude and not power, which would be 2 ln 2."""
    np.testing.assert_allclose(image(2 * noise(1)) - image(noise(1)), np.log(2), rtol=0, atol=1e-5)


def test_the_level_of_white_noise() -> None:
    """Its magnitudes are Rayleigh's, with the noise's own root mean square in each bin; their mean is sqrt(pi) / 2 of it.

    Slaney's triangles have the area 1 in Hz, so the sum over bins is 1 / (bin's width) of the mean.
    """
    mean = np.exp(image(noise(20))).mean(1)
    expected = 0.1 * np.sqrt(np.pi) / 2 * CONFIG.filters().sum(1)
    np.testing.assert_allclose(mean, expected, rtol=0.05)
    np.testing.assert_allclose(CONFIG.filters()[30:].sum(1) * RATE / 2048, 1, rtol=0.02)


def test_batches_and_autocast_do_not_matter() -> None:
    clips = torch.from_numpy(np.stack([noise(5, seed) for seed in range(3)]).astype(np.float32))
    together = FRONTEND(clips)
    assert together.shape == (3, 1, 64, 155) and together.dtype == torch.float32
    for clip, theirs in zip(clips, together, strict=True):
        torch.testing.assert_close(FRONTEND(clip[None])[0], theirs, rtol=0, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(FRONTEND(clips), together)


def test_buffers_are_real_and_not_saved() -> None:
    with torch.device("meta"):
        made = Frontend(CONFIG)
    assert made.window.device.type == made.filters.device.type == "cpu" and not made.state_dict()
    assert features.framer("melmag", CONFIG) is None  # its frames do not lie as those of the streamed front-ends


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fmax_hz": 16001.0}, "do not fit 32000 Hz"),
        ({"hop_samples": 2049}, "hop of 2049"),
        ({"hop_samples": 0}, "hop of 0"),
        ({"offset": 0.0}, "silence has no logarithm"),
    ],
)
def test_impossible_configurations(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config(**options)
