"""MFCC and GFCC: against librosa, scipy and physics."""

import itertools
from typing import Any

import librosa
import numpy as np
import pytest
import scipy.fft
import scipy.integrate
import scipy.signal
import torch

from eranntag.audio import filterbanks
from eranntag.features import gfcc, logmel, mfcc

RATE = 44100
CENTRES = filterbanks.erb_centers(128, 50.0, 14000.0)


def sound(seconds: float = 1) -> torch.Tensor:
    """White noise (1, samples)."""
    return 0.1 * torch.randn(1, round(seconds * RATE), generator=torch.Generator().manual_seed(0))


def tone(hz: float) -> torch.Tensor:
    return torch.from_numpy(0.5 * np.sin(2 * np.pi * hz * np.arange(RATE) / RATE)).float()[None]


def image(module: Any, waveform: torch.Tensor, **values: Any) -> np.ndarray:
    """(rows, frames) of a front-end with its defaults, but for `values`."""
    return module.Frontend(module.Config(**values))(waveform)[0, 0].double().numpy()


def test_the_cosine_transform_is_scipys() -> None:
    np.testing.assert_allclose(filterbanks.dct_matrix(128, 128), scipy.fft.dct(np.eye(128), axis=0, norm="ortho"), atol=1e-12)
    np.testing.assert_array_equal(filterbanks.dct_matrix(40, 128), filterbanks.dct_matrix(128, 128)[:40])


def test_librosa_computes_the_same_mfcc() -> None:
    """Log-mels in float32 are 1e-3 dB apart; the transform keeps a frame's norm: sqrt(128) as much in the worst coefficient."""
    waveform = sound(2)
    power = librosa.feature.melspectrogram(
        y=waveform[0].numpy(), sr=RATE, n_fft=1380, hop_length=345, pad_mode="reflect", n_mels=128, fmin=50, fmax=14000
    )
    reference = librosa.feature.mfcc(S=librosa.power_to_db(power, amin=1e-10, top_db=None), n_mfcc=128)
    np.testing.assert_allclose(image(mfcc, waveform), reference[:, :256], rtol=0, atol=1e-3 * np.sqrt(128))


def test_all_mfcc_together_are_the_log_mel() -> None:
    waveform = sound()
    back = scipy.fft.idct(image(mfcc, waveform), axis=0, norm="ortho")
    np.testing.assert_allclose(back, image(logmel, waveform), rtol=0, atol=1e-3)


@pytest.mark.parametrize(("module", "option"), [(mfcc, "n_mfcc"), (gfcc, "n_gfcc")])
def test_fewer_coefficients_are_the_lowest(module: Any, option: str) -> None:
    waveform = sound()
    fewer = image(module, waveform, **{option: 40})
    assert fewer.shape == (40, 128) and module.Config(**{option: 40}).rows == 40
    np.testing.assert_allclose(fewer, image(module, waveform)[:40], rtol=0, atol=1e-3)


def test_loudness_is_the_first_mfcc_alone() -> None:
    waveform = sound()
    change = image(mfcc, 2 * waveform) - image(mfcc, waveform)
    np.testing.assert_allclose(change[0], 20 * np.log10(2) * np.sqrt(128), rtol=0, atol=1e-3)
    np.testing.assert_allclose(change[1:], 0, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("module", "option"), [(mfcc, "n_mfcc"), (gfcc, "n_gfcc")])
def test_impossible_counts_and_bands_are_refused(module: Any, option: str) -> None:
    for count in (0, 129):
        with pytest.raises(ValueError, match=f"{option} {count} is not from 1 to 128"):
            module.Config(**{option: count})
    with pytest.raises(ValueError, match="do not fit 44100 Hz"):
        module.Config(fmax_hz=23000.0)


def test_bandwidths_and_centres_are_those_of_glasberg_and_moore() -> None:
    """132.6 Hz at 1 kHz, 456.5 at 4 kHz: their eq. (3). Neighbours are equally many ERBs apart: the integral of df / ERB(f)."""
    np.testing.assert_allclose(filterbanks.erb_hz([1000, 4000]), [132.64, 456.46], atol=0.01)
    np.testing.assert_allclose(CENTRES[[0, -1]], [50, 14000])
    steps = [scipy.integrate.quad(lambda hz: 1 / filterbanks.erb_hz(hz), *pair)[0] for pair in itertools.pairwise(CENTRES)]
    np.testing.assert_allclose(steps, steps[0], rtol=1e-9)


@pytest.mark.parametrize("index", range(0, 128, 9))
def test_scipys_gammatones_respond_the_same(index: int) -> None:
    """Ours is the transform of the continuous impulse response, scipy's samples it: what lies above 22 kHz folds back, at most
    (1 + x)^-4 with x = (44.1 kHz - 2 f_c) / b = 10 for the highest: 1e-4 of the amplitude at the peak."""
    hz, ours = np.arange(691) * RATE / 1380, filterbanks.gammatone_filterbank(RATE, 1380, 128, 50.0, 14000.0)[index]
    taps, _ = scipy.signal.gammatone(CENTRES[index], "fir", order=4, numtaps=RATE // 4, fs=RATE)
    response = scipy.signal.freqz(taps, worN=hz, fs=RATE)[1]
    np.testing.assert_allclose(ours, np.abs(response) ** 2, rtol=0, atol=5e-4)


@pytest.mark.parametrize("index", range(30, 128, 9))
def test_slaneys_recursive_gammatones_are_near(index: int) -> None:
    """His four sections have the same poles, but zeros of their own: within 2 % of the peak power from 450 Hz up."""
    hz, ours = np.arange(691) * RATE / 1380, filterbanks.gammatone_filterbank(RATE, 1380, 128, 50.0, 14000.0)[index]
    response = scipy.signal.freqz(*scipy.signal.gammatone(CENTRES[index], "iir", fs=RATE), worN=hz, fs=RATE)[1]
    np.testing.assert_allclose(ours, np.abs(response) ** 2, rtol=0, atol=0.02)


def test_a_filter_lets_through_one_erb_of_white_noise() -> None:
    """The integral of |H|^2 is b pi (2 n - 2)! / (4^(n - 1) (n - 1)!^2) = 0.9817 b for order n = 4: why b = 1.019 ERB."""
    bank = filterbanks.gammatone_filterbank(RATE, 2**16, 128, 50.0, 14000.0)
    widths = bank.sum(1) * RATE / 2**16
    middle = (CENTRES > 300) & (CENTRES < 8000)  # neither cut off at 0 Hz nor at 22 kHz
    np.testing.assert_allclose(widths[middle], filterbanks.erb_hz(CENTRES)[middle], rtol=2e-3)


def test_the_window_resolves_the_filters() -> None:
    """What the docstring of gfcc says of its 1380 samples."""
    assert (filterbanks.erb_hz(CENTRES) < RATE / 1380).sum() == 2
    assert ((gfcc.Config().filters() > 0.1).sum(1) >= 2).all()


def test_gfcc_by_hand_are_the_same() -> None:
    """In float64, the window and the transform as scipy has them."""
    waveform = sound()
    window, filters = scipy.signal.get_window("hann", 1380), filterbanks.gammatone_filterbank(RATE, 1380, 128, 50.0, 14000.0)
    mirrored, ours = np.pad(waveform[0].double().numpy(), 690, mode="reflect"), image(gfcc, waveform)
    for index in (0, 1, 60, 127):
        power = np.abs(scipy.fft.rfft(mirrored[345 * index : 345 * index + 1380] * window)) ** 2
        reference = scipy.fft.dct(np.cbrt(filters @ power), norm="ortho")
        np.testing.assert_allclose(ours[:, index], reference, rtol=0, atol=1e-5 * np.abs(reference).max())


def heard(waveform: torch.Tensor) -> np.ndarray:
    """The loudest gammatone filter of each frame in the middle."""
    return scipy.fft.idct(image(gfcc, waveform), axis=0, norm="ortho")[:, 2:-2].argmax(0)


@pytest.mark.parametrize("index", [50, 70, 90, 110, 127])
def test_a_tone_peaks_at_the_filter_of_its_frequency(index: int) -> None:
    assert set(heard(tone(CENTRES[index]))) == {index}


def test_a_chromatic_scale_climbs_the_filters() -> None:
    peaks = [heard(tone(880 * 2 ** (semitone / 12))) for semitone in range(13)]
    assert all(len(set(peak)) == 1 for peak in peaks)
    assert (np.diff([peak[0] for peak in peaks]) > 0).all()


def test_twice_the_amplitude_is_the_cube_root_of_four_times_the_power() -> None:
    waveform = sound()
    np.testing.assert_allclose(image(gfcc, 2 * waveform), 4 ** (1 / 3) * image(gfcc, waveform), rtol=0, atol=1e-3)


def test_silence_is_minus_100_db_and_no_loudness() -> None:
    silence = torch.zeros(1, RATE)
    expected = np.zeros((128, 128))
    assert (image(gfcc, silence) == expected).all()
    expected[0] = -100 * np.sqrt(128)
    np.testing.assert_allclose(image(mfcc, silence), expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("module", [mfcc, gfcc])
def test_a_click_is_in_the_frames_that_contain_it(module: Any) -> None:
    click, silence = torch.zeros(1, RATE), torch.zeros(1, RATE)
    click[0, 60 * 345 + 100] = 0.9
    change = np.abs(image(module, click) - image(module, silence)).max(0)
    assert np.flatnonzero(change > 0.01).tolist() == [59, 60, 61, 62]
