"""Computed backgrounds: white, pink and brown noise and mains hum."""

import numpy as np

KINDS = ("white", "pink", "brown", "hum")
EXPONENTS = {"white": 0.0, "pink": 0.5, "brown": 1.0}  # the amplitude falls as frequency ** -exponent
LOWEST_HZ = 20.0  # below it brown noise would have most of its power
MAINS_HZ = (50.0, 60.0)
HARMONICS = 20
HISS_SHARE = 0.1  # of the hum's RMS: pink noise 20 dB below it


def background(number: int, seed: int, samples: int, sample_rate_hz: int) -> np.ndarray:
    """Return background `number` of a seed: (samples,) float64 with an RMS of 1; the kinds alternate."""
    rng = np.random.default_rng([seed, 3, number])
    kind = KINDS[number % len(KINDS)]
    if kind != "hum":
        return colored(rng, EXPONENTS[kind], samples, sample_rate_hz)
    tone = hum(rng, samples, sample_rate_hz)
    hiss = colored(rng, EXPONENTS["pink"], samples, sample_rate_hz)
    return _normalize(tone + HISS_SHARE * hiss)


def colored(rng: np.random.Generator, exponent: float, samples: int, sample_rate_hz: int) -> np.ndarray:
    """Return Gaussian noise (samples,) whose amplitude falls as frequency ** -exponent from 20 Hz on, and is 0 below."""
    frequencies = np.fft.rfftfreq(samples, 1 / sample_rate_hz)
    gains = np.where(frequencies < LOWEST_HZ, 0.0, np.maximum(frequencies, LOWEST_HZ) ** -exponent)
    return _normalize(np.fft.irfft(gains * np.fft.rfft(rng.standard_normal(samples)), samples))


def hum(rng: np.random.Generator, samples: int, sample_rate_hz: int) -> np.ndarray:
    """Return 50 or 60 Hz and harmonics with random phases, (samples,); harmonic k has 1 / k of the first's amplitude."""
    mains_hz = rng.choice(MAINS_HZ)
    phases = rng.uniform(0, 2 * np.pi, HARMONICS)
    time = np.arange(samples) / sample_rate_hz
    return _normalize(sum(np.sin(2 * np.pi * k * mains_hz * time + phases[k - 1]) / k for k in range(1, HARMONICS + 1)))


def _normalize(waveform: np.ndarray) -> np.ndarray:
    normalized: np.ndarray = waveform / np.sqrt(np.mean(waveform**2))
    return normalized
