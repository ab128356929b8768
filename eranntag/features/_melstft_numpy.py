"""The geometry of `melstft` and its numpy form: no torch, so that a light process can use it."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from eranntag.audio.filterbanks import kaldi_filterbank, raised_cosine
from eranntag.features._framing import require_band
from eranntag.features._spectrogram_numpy import BandGroups, band_groups, filtered_power

IN_WORDS = (
    "Mono sound at sample_rate_hz, in [-1, 1]. Zeros at the end up to min_seconds and to n_fft / 2 + 2 samples, and as many as "
    "a multiple of frame_multiple frames needs. y[n] = x[n + 1] - preemphasis x[n], one sample shorter. n_fft / 2 samples "
    "mirrored at both ends, without repeating the edge. One frame every hop_samples: symmetric Hann window of frame_samples in "
    "the middle of n_fft points, |FFT|^2, n_mels triangles of height 1, straight on the mel axis (1127 ln(1 + f / 700)), edges "
    "equally spaced there from fmin_hz to fmax_hz; (ln(power + offset) - log_mean) / log_scale."
)


@dataclass(frozen=True)
class Config:
    """The published networks' values as defaults. `offset` is added to the mel power before the logarithm, which `log_mean`
    and `log_scale` then bring to about [-1, 2]."""

    sample_rate_hz: int = 32000
    n_fft: int = 1024
    frame_samples: int = 800
    hop_samples: int = 320
    n_mels: int = 128
    fmin_hz: float = 0.0
    fmax_hz: float = 15000.0
    preemphasis: float = 0.97
    offset: float = 1e-5
    log_mean: float = -4.5
    log_scale: float = 5.0
    min_seconds: int = 0

    def __post_init__(self) -> None:
        require_band(self.fmin_hz, self.fmax_hz, self.sample_rate_hz)
        if not 1 < self.frame_samples <= self.n_fft or (self.n_fft - self.frame_samples) % 2 or self.n_fft % 2:
            raise ValueError(f"a window of {self.frame_samples} samples has no place in the middle of {self.n_fft} points")
        if self.hop_samples < 1:
            raise ValueError(f"the hop must be 1 sample or more, not {self.hop_samples}")
        if not self.offset > 0 or not self.log_scale > 0:
            raise ValueError(f"offset and log_scale must be positive, not {self.offset} and {self.log_scale}")

    @property
    def rows(self) -> int:
        return self.n_mels

    @property
    def frames_per_second(self) -> float:
        """100"""
        return self.sample_rate_hz / self.hop_samples

    def padded_samples(self, samples: int, frame_multiple: int = 1) -> int:
        """Length after zero padding: no whole seconds, but what the reflection and `frame_multiple` need."""
        padded = max(samples, self.min_seconds * self.sample_rate_hz, self.n_fft // 2 + 2)
        if missing := -self.frames(padded) % frame_multiple:
            return (self.frames(padded) + missing - 1) * self.hop_samples + 1
        return padded

    def frames(self, padded: int) -> int:
        """Frames of a padded signal: centered framing of one sample less gives floor((n - 1) / hop) + 1."""
        return (padded - 1) // self.hop_samples + 1

    def window(self) -> np.ndarray:
        """Symmetric Hann window in the middle of (n_fft,) zeros."""
        return np.pad(raised_cosine(self.frame_samples, 0.5), (self.n_fft - self.frame_samples) // 2)

    def filters(self) -> np.ndarray:
        """(n_mels, n_fft // 2 + 1)"""
        return kaldi_filterbank(self.sample_rate_hz, self.n_fft, self.n_mels, self.fmin_hz, self.fmax_hz)


@lru_cache(maxsize=4)
def _constants(config: Config) -> tuple[np.ndarray, BandGroups]:
    return config.window().astype(np.float32), band_groups(config.filters())


def compute(waveform: np.ndarray, config: Config) -> np.ndarray:
    """(samples,) float32, already padded -> image (n_mels, frames) float32."""
    window, groups = _constants(config)
    waveform = np.asarray(waveform, np.float32)
    emphasized = waveform[1:] - np.float32(config.preemphasis) * waveform[:-1]
    power = filtered_power(np.pad(emphasized, config.n_fft // 2, mode="reflect"), window, config.hop_samples, groups)
    return (np.log(power + np.float32(config.offset)) - np.float32(config.log_mean)) / np.float32(config.log_scale)
