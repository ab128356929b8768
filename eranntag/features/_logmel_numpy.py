"""The log-mel spectrogram's geometry and its numpy form: no torch, so that a light process can use it.

ERANN v2 (arXiv:2106.01621v2), Section 3.1 and eq. (1): 44.1 kHz, Hann window of 1380 samples, hop 345, 128 mel bins from
50 Hz to 14 kHz, zeros up to whole seconds so that a clip of t seconds has 128 t frames.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from eranntag.features._filters import mel_filterbank

GROUP = 8  # mels that are computed at once
CACHED_FRAMES = 64  # computed at once in numpy: three times as fast as all at once, as they stay in the processor's cache

IN_WORDS = (
    "Mono sound at sample_rate_hz, in [-1, 1]. Zeros at the end up to the smallest number S of whole seconds, "
    "min_seconds or more, for which frame_multiple divides S * frames_per_second; then up to "
    "hop_samples * (S * frames_per_second - 1) samples where that is more. Half a window mirrored at both ends, without "
    "repeating the edge. S * frames_per_second frames: periodic Hann window of window_samples every hop_samples, |FFT|^2, "
    "n_mels triangles of the mel_scale with unit area from fmin_hz to fmax_hz, 10 log10(max(power, floor))."
)


@dataclass(frozen=True)
class Config:
    """The paper's values as defaults. `floor` is the smallest mel power, before the logarithm; every clip is padded to
    `min_seconds`."""

    sample_rate_hz: int = 44100
    window_samples: int = 1380
    hop_samples: int = 345
    frames_per_second: int = 128
    n_mels: int = 128
    fmin_hz: float = 50.0
    fmax_hz: float = 14000.0
    mel_scale: str = "slaney"
    floor: float = 1e-10
    min_seconds: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.fmin_hz < self.fmax_hz <= self.sample_rate_hz / 2:
            raise ValueError(f"mel bands from {self.fmin_hz} to {self.fmax_hz} Hz do not fit {self.sample_rate_hz} Hz")

    @property
    def rows(self) -> int:
        return self.n_mels

    def padded_samples(self, samples: int, frame_multiple: int = 1) -> int:
        """Length after zero padding: whole seconds, then as much as 128 frames a second need (eq. 1).

        T_0 = floor(n / 345) + 1 frames is 128 t up to t = 5 s; longer clips get 60 t - 345 samples more. Seconds are
        added until `frame_multiple` divides T_0.
        """
        seconds = max(self.min_seconds, -(-samples // self.sample_rate_hz))
        while seconds * self.frames_per_second % frame_multiple:
            seconds += 1
        frames = seconds * self.frames_per_second
        return max(seconds * self.sample_rate_hz, self.hop_samples * (frames - 1))

    def frames(self, padded: int) -> int:
        """Frames of a padded signal: centred framing gives floor(n / hop) + 1, cut to whole 128 a second."""
        frames = padded // self.hop_samples + 1
        return frames - frames % self.frames_per_second

    def window(self) -> np.ndarray:
        """Periodic Hann window (window_samples,)."""
        return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.window_samples) / self.window_samples)

    def filters(self) -> np.ndarray:
        """(n_mels, window_samples // 2 + 1)"""
        return mel_filterbank(self.sample_rate_hz, self.window_samples, self.n_mels, self.fmin_hz, self.fmax_hz, self.mel_scale)


@lru_cache(maxsize=4)
def _constants(config: Config) -> tuple[np.ndarray, list[tuple[slice, np.ndarray]]]:
    """The window, and the filters in groups of neighbours: the bins of a group, and their weights (bins, mels).

    Most weights are zero. And products as small as these BLAS computes in the thread that asks; its own threads would fight
    with the network's, which made two cores tag half as many files.
    """
    filters = config.filters().astype(np.float32)
    groups = []
    for start in range(0, config.n_mels, GROUP):
        group = filters[start : start + GROUP]
        bins = np.flatnonzero(group.any(0))
        heard = slice(bins[0], bins[-1] + 1) if len(bins) else slice(0, 1)
        groups.append((heard, np.ascontiguousarray(group[:, heard].T)))
    return config.window().astype(np.float32), groups


def compute(waveform: np.ndarray, config: Config) -> np.ndarray:
    """(samples,) float32, already padded -> (n_mels, frames) in dB: 10 log10(max(mel power, 1e-10))."""
    signal = np.pad(np.asarray(waveform, np.float32), config.window_samples // 2, mode="reflect")
    return frames(signal[: (config.frames(len(waveform)) - 1) * config.hop_samples + config.window_samples], config)


def frames(signal: np.ndarray, config: Config) -> np.ndarray:
    """(samples,) float32, with what the outermost windows need -> (n_mels, frames) in dB, one for each window that fits."""
    window, groups = _constants(config)
    views = np.lib.stride_tricks.sliding_window_view(signal, config.window_samples)[:: config.hop_samples]
    image = np.empty((config.n_mels, len(views)), np.float32)
    for start in range(0, len(views), CACHED_FRAMES):
        block = slice(start, start + CACHED_FRAMES)
        spectrum = np.fft.rfft(views[block] * window)  # (block, bins)
        power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32, copy=False)
        mel = np.concatenate([power[:, bins] @ weights for bins, weights in groups], 1)  # (block, n_mels)
        image[:, block] = 10 * np.log10(np.maximum(mel, config.floor)).T
    return image
