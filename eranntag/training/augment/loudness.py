"""Loudness of a clip: A-weighted sound levels, as in between-class learning.

Tokozume et al., "Learning from Between-class Examples for Deep Sound Recognition", 2018.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

SILENCE_DB = -80.0


def a_weighting(hz: Tensor) -> Tensor:
    """IEC 61672 A-weighting in dB, not below -80; 0 Hz counts as 1 Hz."""
    f2 = hz.double().clamp(min=1.0) ** 2
    c1, c2, c3, c4 = (constant**2 for constant in (12194.0, 20.6, 107.7, 737.9))
    gain = math.log10(c1) + 2 * torch.log10(f2) - torch.log10(f2 + c1) - torch.log10(f2 + c2)
    gain = gain - 0.5 * torch.log10(f2 + c3) - 0.5 * torch.log10(f2 + c4)
    return (2.0 + 20 * gain).clamp(min=-80.0)


@lru_cache(maxsize=8)
def _constants(n_fft: int, sample_rate_hz: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """A window (n_fft,) and the weights of power (n_fft // 2 + 1,), which are kept on the GPU."""
    hz = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * (sample_rate_hz / n_fft)
    weights = 10 ** (a_weighting(hz) / 10)
    return torch.hann_window(n_fft, dtype=dtype, device=device), weights.to(device, dtype)


def sound_level(waveform: Tensor, sample_rate_hz: int) -> Tensor:
    """The loudest frame's A-weighted level: (batch, samples) -> (batch,) in dB, -80 for silence.

    Frames of 4096 samples (2048 below 32 kHz), hop half of it, no padding but up to one whole frame.
    """
    n_fft = 4096 if sample_rate_hz >= 32000 else 2048
    if waveform.shape[-1] < n_fft:
        waveform = torch.nn.functional.pad(waveform, (0, n_fft - waveform.shape[-1]))
    window, weights = _constants(n_fft, sample_rate_hz, waveform.dtype, waveform.device)
    frames = waveform.unfold(-1, n_fft, n_fft // 2) * window  # (batch, frames, n_fft)
    spectrum = torch.fft.rfft(frames)
    power = (spectrum.real**2 + spectrum.imag**2) @ weights  # (batch, frames)
    return (10 * torch.log10(power.clamp(min=1e-8))).amax(-1)
