"""Chromagram: how much each of the twelve pitch classes sounds, whatever the octave (Ellis, 2007; librosa's chroma_stft).

Slides "Residual Audio Neural Networks with Multiple Features", which give no sizes: window and FFT of 4096 samples (bins of
10.8 Hz, which separate semitones from about 180 Hz up), A4 = 440 Hz, 128 t frames for a clip of t seconds.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from eranntag.audio.filterbanks import chroma_filterbank, hann
from eranntag.features._framed import Windowed
from eranntag.features._framing import FRAMING_IN_WORDS, Framing
from eranntag.features._spectrogram import filtered_power

IN_WORDS = FRAMING_IN_WORDS + (
    "periodic Hann window of window_samples, |FFT|^2, weighted sums with librosa.filters.chroma(sr=sample_rate_hz, "
    "n_fft=window_samples, tuning=0): rows C, C#, ... B. Each frame divided by its maximum; silent frames are 0."
)


@dataclass(frozen=True)
class Config(Framing):
    window_samples: int = 4096

    @property
    def rows(self) -> int:
        return 12


class Frontend(Windowed):
    """(batch, samples) -> (batch, 1, 12, frames), each frame with maximum 1, or 0 in silence. No parameters."""

    window: Tensor
    filters: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        filters = chroma_filterbank(config.sample_rate_hz, config.window_samples)
        self.register_buffer("window", torch.from_numpy(hann(config.window_samples)).float(), persistent=False)
        self.register_buffer("filters", torch.from_numpy(filters).float(), persistent=False)

    def image(self, signal: Tensor) -> Tensor:
        chroma = filtered_power(signal, self.window, self.config.hop_samples, self.filters)  # (batch, 12, frames)
        return chroma / chroma.amax(1, keepdim=True).clamp(min=torch.finfo(chroma.dtype).tiny)
