"""Tempogram: how strongly a sound repeats itself after each of 128 lags up to one second (Grosche, Müller & Kurth, 2010).

Slides "Residual Audio Neural Networks with Multiple Features", which give no sizes. As librosa.feature.tempogram of
librosa.onset.onset_strength: the local autocorrelation of the spectral flux of ERANN's log-mel spectrogram, 128 t frames for a
clip of t seconds. Here the sound is mirrored at its ends, where librosa lets the flux fade, and a frame's 128 flux values lie
evenly about its centre (our frame i is librosa's i + 1).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from eranntag.audio.filterbanks import hann
from eranntag.features import _logmel_numpy
from eranntag.features._framed import Windowed
from eranntag.features._framing import FRAMING_IN_WORDS, Framing
from eranntag.features._spectrogram import LogMel

IN_WORDS = FRAMING_IN_WORDS + (
    "window_samples are mel_window_samples + lags * hop_samples, of which lags + 1 log-mel frames, one every hop_samples "
    "(periodic Hann window of mel_window_samples, |FFT|^2, n_mels triangles of the mel_scale with unit area from fmin_hz to "
    "fmax_hz, 10 log10(max(power, floor))); the mean over the mels of each positive difference to the frame before; these lags "
    "values times a periodic Hann window; their autocorrelation at lags 0, 1, ... lags - 1, divided by that at lag 0, or 0 "
    "where nothing changes."
)


@dataclass(frozen=True)
class Config(Framing):
    """The log-mel's values, and `lags`: as many hops are correlated, and are the rows."""

    mel_window_samples: int = 1380
    n_mels: int = 128
    fmin_hz: float = 50.0
    fmax_hz: float = 14000.0
    mel_scale: str = "slaney"
    floor: float = 1e-10
    lags: int = 128

    def __post_init__(self) -> None:
        if self.lags < 1 or self.window_samples % 2:
            raise ValueError(f"lags {self.lags} x {self.hop_samples} samples + {self.mel_window_samples} is not an even number")
        _ = self.logmel

    @property
    def rows(self) -> int:
        return self.lags

    @property
    def window_samples(self) -> int:
        return self.mel_window_samples + self.lags * self.hop_samples

    @property
    def logmel(self) -> _logmel_numpy.Config:
        return _logmel_numpy.Config(
            sample_rate_hz=self.sample_rate_hz,
            hop_samples=self.hop_samples,
            window_samples=self.mel_window_samples,
            n_mels=self.n_mels,
            fmin_hz=self.fmin_hz,
            fmax_hz=self.fmax_hz,
            mel_scale=self.mel_scale,
            floor=self.floor,
        )


class Frontend(Windowed):
    """(batch, samples) -> (batch, 1, lags, frames), row 0 is 1 where anything happens, else all rows are 0. No parameters."""

    window: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.logmel = LogMel(config.logmel)
        self.register_buffer("window", torch.from_numpy(hann(config.lags)).float(), persistent=False)

    def image(self, signal: Tensor) -> Tensor:
        lags = self.config.lags
        flux = self.logmel.image(signal).diff().clamp(min=0).mean(1)  # (batch, frames + lags - 1)
        local = flux.unfold(1, lags, 1) * self.window  # (batch, frames, lags)
        spectrum = torch.fft.rfft(local, 2 * lags)  # twice as long: the end does not meet the beginning
        correlation = torch.fft.irfft(spectrum.real**2 + spectrum.imag**2, 2 * lags)[..., :lags]
        loudest = correlation.abs().amax(-1, keepdim=True).clamp(min=torch.finfo(correlation.dtype).tiny)
        image: Tensor = (correlation / loudest).transpose(1, 2)
        return image
