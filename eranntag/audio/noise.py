"""Backgrounds that need no recordings: white, pink and brown noise, and the hum of the mains, each a function of its number."""

import numpy as np

KINDS = ("white", "pink", "brown", "hum")
EXPONENTS = {"white": 0.0, "pink": 0.5, "brown": 1.0}  # the amplitude falls as frequency ** -exponent
LOWEST_HZ = 20.0  # below it brown noise would have most of its power
MAINS_HZ, HARMONICS = (50.0, 60.0), 20
HISS_SHARE = 0.1  # of the hum's RMS: pink noise 20 dB below it


def background(number: int, seed: int, samples: int, sample_rate_hz: int) -> np.ndarray:
    """(samples,) float64 with an RMS of 1; the kinds take turns."""
    rng, kind = np.random.default_rng([seed, 3, number]), KINDS[number % len(KINDS)]
    if kind != "hum":
        return coloured(rng, EXPONENTS[kind], samples, sample_rate_hz)
    tone = hum(rng, samples, sample_rate_hz)
    mixed = tone + HISS_SHARE * coloured(rng, EXPONENTS["pink"], samples, sample_rate_hz)
    return _level(mixed)


def coloured(rng: np.random.Generator, exponent: float, samples: int, sample_rate_hz: int) -> np.ndarray:
    """Gaussian noise whose amplitude falls as frequency ** -exponent from 20 Hz on; below, there is none."""
    frequencies = np.fft.rfftfreq(samples, 1 / sample_rate_hz)
    gains = np.where(frequencies < LOWEST_HZ, 0.0, np.maximum(frequencies, LOWEST_HZ) ** -exponent)
    return _level(np.fft.irfft(gains * np.fft.rfft(rng.standard_normal(samples)), samples))


def hum(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> np.ndarray:
    """50 or 60 Hz and their harmonics in random phases, the k-th 1 / k as high as the first."""
    mains_hz, phases = rng.choice(MAINS_HZ), rng.uniform(0, 2 * np.pi, HARMONICS)
    time = np.arange(samples) / sample_rate_hz
    return _level(sum(np.sin(2 * np.pi * k * mains_hz * time + phases[k - 1]) / k for k in range(1, HARMONICS + 1)))


def _level(waveform: np.ndarray) -> np.ndarray:
    return waveform / np.sqrt(np.mean(waveform**2))
