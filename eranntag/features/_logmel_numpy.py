"""The log-mel spectrogram's geometry and its numpy form: no torch, so that a light process can use it.

ERANN v2 (arXiv:2106.01621v2), Section 3.1 and eq. (1): 44.1 kHz, Hann window of 1380 samples, hop 345, 128 mel bins from
50 Hz to 14 kHz, zeros up to whole seconds so that a clip of t seconds has 128 t frames.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from eranntag.audio.filterbanks import hann, mel_filterbank
from eranntag.features._framing import FRAMING_IN_WORDS, Framing, require_band
from eranntag.features._spectrogram_numpy import BandGroups, band_groups, filtered_power

IN_WORDS = FRAMING_IN_WORDS + (
    "periodic Hann window of window_samples, |FFT|^2, n_mels triangles of the mel_scale with unit area from fmin_hz to "
    "fmax_hz, 10 log10(max(power, floor))."
)


@dataclass(frozen=True)
class Config(Framing):
    """The paper's values as defaults. `floor` is the smallest mel power, before the logarithm."""

    window_samples: int = 1380
    n_mels: int = 128
    fmin_hz: float = 50.0
    fmax_hz: float = 14000.0
    mel_scale: str = "slaney"
    floor: float = 1e-10

    def __post_init__(self) -> None:
        require_band(self.fmin_hz, self.fmax_hz, self.sample_rate_hz)

    @property
    def rows(self) -> int:
        return self.n_mels

    def window(self) -> np.ndarray:
        """Periodic Hann window (window_samples,)."""
        return hann(self.window_samples)

    def filters(self) -> np.ndarray:
        """(n_mels, window_samples // 2 + 1)"""
        return mel_filterbank(self.sample_rate_hz, self.window_samples, self.n_mels, self.fmin_hz, self.fmax_hz, self.mel_scale)


@lru_cache(maxsize=4)
def _constants(config: Config) -> tuple[np.ndarray, BandGroups]:
    return config.window().astype(np.float32), band_groups(config.filters())


def compute(waveform: np.ndarray, config: Config) -> np.ndarray:
    """(samples,) float32, already padded -> (n_mels, frames) in dB: 10 log10(max(mel power, 1e-10))."""
    signal = np.pad(np.asarray(waveform, np.float32), config.window_samples // 2, mode="reflect")
    return frames(signal[: (config.frames(len(waveform)) - 1) * config.hop_samples + config.window_samples], config)


def frames(signal: np.ndarray, config: Config) -> np.ndarray:
    """(samples,) float32, with what the outermost windows need -> (n_mels, frames) in dB, one for each window that fits."""
    window, groups = _constants(config)
    power = filtered_power(signal, window, config.hop_samples, groups)
    decibels: np.ndarray = 10 * np.log10(np.maximum(power, config.floor))
    return decibels
