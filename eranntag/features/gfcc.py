"""Gammatone-frequency cepstral coefficients: a gammatone filter bank on the ERB scale, cube root, cosine transform.

Slides "Residual Audio Neural Networks with Multiple Features", which name the feature and spafe, but no sizes: 128 filters from
50 Hz to 14 kHz as for the log-mel, and all coefficients. The cube root of the power stands for loudness, where MFCC have the
logarithm: it is 0 in silence.

The window is the log-mel's, 1380 samples (31 ms): only the two lowest filters have an ERB (30 Hz at 50 Hz, 1.5 kHz at 14 kHz)
below the width of its bins, 32 Hz, and none of them falls between bins, as a narrow triangle would: the response of a gammatone
is smooth, and above 0.1 at two bins or more. A longer window would part them better and blur every onset.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eranntag.audio.filterbanks import dct_matrix, gammatone_filterbank, hann
from eranntag.features._framed import Windowed
from eranntag.features._framing import FRAMING_IN_WORDS, Framing, require_band
from eranntag.features._spectrogram import filtered_power

IN_WORDS = FRAMING_IN_WORDS + (
    "periodic Hann window of window_samples, |FFT|^2, weighted sums with the power responses |H|^2 of n_filters fourth-order "
    "gammatone filters (peak 1, bandwidth 1.019 ERB), centers equally spaced in 21.4 log10(1 + 0.00437 f) from fmin_hz to "
    "fmax_hz, cube root. Orthonormal DCT-II over the filters, of which the first n_gfcc coefficients."
)


@dataclass(frozen=True)
class Config(Framing):
    """`fmin_hz` and `fmax_hz` are the centers of the outermost filters; `n_gfcc` coefficients are kept, from the lowest."""

    window_samples: int = 1380
    n_filters: int = 128
    fmin_hz: float = 50.0
    fmax_hz: float = 14000.0
    n_gfcc: int = 128

    def __post_init__(self) -> None:
        require_band(self.fmin_hz, self.fmax_hz, self.sample_rate_hz, "filters")
        if not 1 <= self.n_gfcc <= self.n_filters:
            raise ValueError(f"n_gfcc {self.n_gfcc} is not from 1 to {self.n_filters}, the number of filters")

    @property
    def rows(self) -> int:
        return self.n_gfcc

    def filters(self) -> np.ndarray:
        """(n_filters, window_samples // 2 + 1)"""
        return gammatone_filterbank(self.sample_rate_hz, self.window_samples, self.n_filters, self.fmin_hz, self.fmax_hz)


class Frontend(Windowed):
    """(batch, samples) -> (batch, 1, n_gfcc, frames). No parameters."""

    window: Tensor
    filters: Tensor
    dct: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.register_buffer("window", torch.from_numpy(hann(config.window_samples)).float(), persistent=False)
        self.register_buffer("filters", torch.from_numpy(config.filters()).float(), persistent=False)
        self.register_buffer("dct", torch.from_numpy(dct_matrix(config.n_gfcc, config.n_filters)).float(), persistent=False)

    def image(self, signal: Tensor) -> Tensor:
        power = filtered_power(signal, self.window, self.config.hop_samples, self.filters)  # (batch, n_filters, frames)
        return self.dct @ power ** (1 / 3)
