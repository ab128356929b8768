"""Log-mel spectrogram, ERANN's feature (Section 3.1 of arXiv:2106.01621v2), in plain torch.

`_logmel_numpy` holds the configuration and the same transform in numpy; a test keeps the two together.
"""

from eranntag.features._logmel_numpy import IN_WORDS, Config
from eranntag.features._spectrogram import LogMel

__all__ = ["IN_WORDS", "Config", "Frontend"]


class Frontend(LogMel):
    """(batch, samples) -> (batch, 1, n_mels, frames) in dB. No parameters."""
