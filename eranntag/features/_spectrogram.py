"""Filtered power spectra and the log-mel spectrogram in torch, which several front-ends share."""

import torch
from torch import Tensor

from eranntag.features._framed import Windowed
from eranntag.features._logmel_numpy import Config

CACHED_FRAMES = 128  # of all sounds, computed at once on a CPU: up to five times as fast, as they stay in its cache


def filtered_power(signal: Tensor, window: Tensor, hop_samples: int, filters: Tensor) -> Tensor:
    """(batch, samples) -> filters (rows, bins) @ |FFT|^2: (batch, rows, frames), one frame for each window that fits."""
    views = signal.unfold(1, len(window), hop_samples)  # (batch, frames, window)
    at_once = max(1, CACHED_FRAMES // len(signal)) if signal.device.type == "cpu" else views.shape[1]
    rows = []
    for block in torch.split(views, at_once, 1):
        spectrum = torch.fft.rfft(block * window)  # (batch, block, bins)
        rows.append((spectrum.real**2 + spectrum.imag**2) @ filters.T)
    return torch.cat(rows, 1).transpose(1, 2)


class LogMel(Windowed):
    """(batch, samples) -> (batch, 1, n_mels, frames) in dB. No parameters."""

    window: Tensor
    filters: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.register_buffer("window", torch.from_numpy(config.window()).float(), persistent=False)
        self.register_buffer("filters", torch.from_numpy(config.filters()).float(), persistent=False)

    def image(self, signal: Tensor) -> Tensor:
        mel = filtered_power(signal, self.window, self.config.hop_samples, self.filters)  # (batch, n_mels, frames)
        return 10 * torch.log10(mel.clamp(min=self.config.floor))
