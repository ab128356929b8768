"""Mel-frequency cepstral coefficients (Davis & Mermelstein, 1980): the cosine transform of the log-mel over its mels.

Slides "Residual Audio Neural Networks with Multiple Features", which give no sizes: all 128 coefficients of the 128 mels
are kept, so that nothing is lost; the first 40 are the usual choice. A clip of t seconds has 128 t frames.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from eranntag.audio.filterbanks import dct_matrix
from eranntag.features import _logmel_numpy
from eranntag.features._spectrogram import LogMel

IN_WORDS = _logmel_numpy.IN_WORDS + " Orthonormal DCT-II over the mels, of which the first n_mfcc coefficients."


@dataclass(frozen=True)
class Config(_logmel_numpy.Config):
    """The log-mel's, and how many coefficients are kept, from the lowest."""

    n_mfcc: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.n_mfcc <= self.n_mels:
            raise ValueError(f"n_mfcc {self.n_mfcc} is not from 1 to {self.n_mels}, the number of mels")

    @property
    def rows(self) -> int:
        return self.n_mfcc


class Frontend(LogMel):
    """(batch, samples) -> (batch, 1, n_mfcc, frames) in dB. No parameters."""

    dct: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.register_buffer("dct", torch.from_numpy(dct_matrix(config.n_mfcc, config.n_mels)).float(), persistent=False)

    def image(self, signal: Tensor) -> Tensor:
        return self.dct @ super().image(signal)
