"""The chromagram: against librosa, and tones whose pitch class is known."""

import librosa
import numpy as np
import pytest
import torch

from eranntag.audio import filterbanks
from eranntag.features.chroma import Config, Frontend

RATE = 44100
NAMES = "C C# D D# E F F# G G# A A# B".split()
FRONTEND = Frontend(Config())


def image(waveform: np.ndarray) -> np.ndarray:
    """(samples,) -> (12, frames)"""
    return FRONTEND(torch.from_numpy(waveform.astype(np.float32))[None])[0, 0].numpy()


def tone(*hz: float) -> np.ndarray:
    time = np.arange(RATE) / RATE
    return 0.2 * sum(np.sin(2 * np.pi * frequency * time) for frequency in hz)


@pytest.mark.parametrize("n_fft", [2048, 4096])
def test_the_filters_are_librosas(n_fft: int) -> None:
    reference = librosa.filters.chroma(sr=RATE, n_fft=n_fft, tuning=0, dtype=np.float64)
    np.testing.assert_allclose(filterbanks.chroma_filterbank(RATE, n_fft), reference, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("kind", ["noise", "chord", "decay"])
def test_librosa_computes_the_same(kind: str) -> None:
    """Both in float32, sums of 2049 powers: 1e-5 of a frame's maximum. Here librosa mirrors the ends as well."""
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE)
    waveform = {"noise": noise, "chord": tone(261.63, 329.63, 392.0), "decay": noise * 0.5 ** (np.arange(RATE) / 1000)}[kind]
    waveform = waveform.astype(np.float32)
    reference = librosa.feature.chroma_stft(y=waveform, sr=RATE, n_fft=4096, hop_length=345, tuning=0, pad_mode="reflect")
    np.testing.assert_allclose(image(waveform), reference[:, :128], rtol=0, atol=2e-5)


@pytest.mark.parametrize("octave", [4, 5, 6, 7])
def test_a_chromatic_scale_climbs_the_classes_in_every_octave(octave: int) -> None:
    """MIDI note 69 is A4 = 440 Hz, and C4 = 60."""
    for row, name in enumerate(NAMES):
        hz = 440 * 2 ** ((60 + 12 * (octave - 4) + row - 69) / 12)
        peaks = image(tone(hz))[:, 6:-6].argmax(0)
        assert {NAMES[peak] for peak in peaks} == {name}


def test_a_chord_is_its_notes() -> None:
    chroma = image(tone(261.63, 329.63, 392.00))[:, 6:-6].mean(1)
    assert {NAMES[row] for row in np.argsort(chroma)[-3:]} == {"C", "E", "G"}


def test_noise_has_no_pitch() -> None:
    chroma = image(np.random.default_rng(0).standard_normal(5 * RATE)).mean(1)
    assert chroma.max() / chroma.min() < 1.2


def test_frames_have_maximum_one_whatever_the_loudness() -> None:
    noise = np.random.default_rng(0).standard_normal(RATE)
    loud = image(noise)
    assert (loud.max(0) == 1).all() and (loud >= 0).all()
    np.testing.assert_allclose(image(1e-4 * noise), loud, rtol=0, atol=1e-5)


def test_only_frames_that_hear_a_click_are_not_zero() -> None:
    """Silence is zero. The window's first sample weighs 0: frames nearer than 2048 samples."""
    click = np.zeros(RATE)
    click[60 * 345 + 100] = 0.9
    loudest = image(click).max(0)
    near = np.flatnonzero(np.abs(np.arange(128) * 345 - (60 * 345 + 100)) < 2048)
    assert set(loudest[near]) == {1.0} and np.flatnonzero(loudest).tolist() == near.tolist()
