"""The tempogram: against librosa, and clicks whose period is known."""

import librosa
import numpy as np
import pytest
import torch

from eranntag.features import logmel
from eranntag.features.tempogram import Config, Frontend

RATE = 44100
FRONTEND = Frontend(Config())


def image(waveform: np.ndarray) -> np.ndarray:
    """(samples,) -> (128 lags, frames)"""
    return FRONTEND(torch.from_numpy(waveform.astype(np.float32))[None])[0, 0].numpy()


def clicks(every_hops: int, seconds: int = 3) -> np.ndarray:
    waveform = np.zeros(seconds * RATE)
    waveform[1000 :: every_hops * 345] = 0.9
    return waveform


def noise(seconds: int) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal(seconds * RATE)


@pytest.mark.parametrize("kind", ["noise", "clicks", "swells"])
def test_librosa_computes_the_same(kind: str) -> None:
    """The flux of our log-mel by librosa, its tempogram, one frame later. Where a window reaches beyond the sound (64 frames at
    either end) ours hears the sound mirrored; librosa fades. Ours is in float32: 1e-5 of the maximum."""
    swells = noise(3) * np.sin(np.pi * 3 * np.arange(3 * RATE) / RATE) ** 2
    waveform = {"noise": noise(3), "clicks": clicks(20), "swells": swells}[kind].astype(np.float32)
    mel = logmel.Frontend(logmel.Config())(torch.from_numpy(waveform)[None])[0, 0].numpy()
    flux = librosa.onset.onset_strength(S=mel.astype(np.float64), sr=RATE, hop_length=345, lag=1, center=False)
    reference = librosa.feature.tempogram(onset_envelope=flux, sr=RATE, hop_length=345, win_length=128)
    np.testing.assert_allclose(image(waveform)[:, 64:-65], reference[:, 65:-64], rtol=0, atol=2e-5)


@pytest.mark.parametrize("hops", [16, 24, 40, 60])
def test_clicks_peak_at_multiples_of_their_period(hops: int) -> None:
    """And between them is nothing; the fewer periods a window holds, the lower the peak."""
    middle = image(clicks(hops))[:, 64:-64]
    multiples = np.arange(0, 128, hops)
    near = np.abs(np.arange(128)[:, None] - multiples).min(1) <= 4  # as far as one click's flux reaches
    assert middle[~near].max() < 1e-4
    assert (middle[hops - 4 : hops + 5].argmax(0) == 4).all()
    assert (np.diff(middle[multiples], axis=0) < 0).all()


def test_the_tempo_is_where_its_period_is() -> None:
    """Clicks every 32 hops in the first three seconds, every 50 in the last."""
    waveform = np.concatenate([clicks(32), clicks(50)])
    lags = 10 + image(waveform)[10:].argmax(0)
    assert set(lags[64 : 3 * 128 - 64]) == {32} and set(lags[3 * 128 + 70 : 6 * 128 - 64]) == {50}


def test_what_stays_the_same_is_zero_and_what_changes_has_one_at_lag_zero() -> None:
    """A click is heard in the frames whose 128 flux values contain its onset, 64 before and 63 after: half a second."""
    assert not image(np.zeros(2 * RATE)).any()
    click = np.zeros(3 * RATE)
    click[200 * 345] = 0.9
    heard = image(click)
    changed = np.flatnonzero(heard[0])
    assert set(heard[0]) == {0.0, 1.0}
    assert changed[0] == 200 - 65 and changed[-1] == 200 + 62 and len(changed) == 128
    assert not heard[3:].max() > 1e-6  # its onset is one or two frames long


def test_loudness_does_not_matter() -> None:
    """As long as no mel falls to the floor: the flux is a difference in dB."""
    np.testing.assert_allclose(image(0.01 * noise(2)), image(noise(2)), rtol=0, atol=1e-4)


def test_noise_has_no_period() -> None:
    mean = image(noise(3)).mean(1)
    envelope = np.hanning(129)[:128]
    expected = np.correlate(envelope, envelope, "full")[127:]  # what a constant flux would give
    np.testing.assert_allclose(mean, expected / expected[0], rtol=0, atol=0.1)


def test_more_lags_are_more_rows_and_a_longer_window() -> None:
    config = Config(lags=64, mel_window_samples=690)
    assert config.rows == 64 and config.window_samples == 690 + 64 * 345
    assert Frontend(config)(torch.zeros(1, RATE)).shape == (1, 1, 64, 128)


@pytest.mark.parametrize("values", [{"lags": 0}, {"lags": 127}])
def test_windows_that_have_no_middle_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="is not an even number"):
        Config(**values)


def test_bands_that_do_not_fit_the_rate_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit 44100 Hz"):
        Config(fmax_hz=23000.0)
