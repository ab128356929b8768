"""Augmentation of ERANN v2, Section 3.2: modified mixup on waveforms and SpecAugment on the log-mel.

Modified mixup is between-class learning (Tokozume et al., "Learning from Between-class Examples for Deep Sound
Recognition", 2018), which weighs by A-weighted sound level: two clips mixed half and half shall sound so.
"""

import numpy as np
import torch
from torch import Tensor

from eranntag.types import Batch

SILENCE_DB = -80.0


def a_weighting(hz: Tensor) -> Tensor:
    """IEC 61672 A-weighting in dB, not below -80; 0 Hz counts as 1 Hz."""
    f2 = hz.double().clamp(min=1.0) ** 2
    c1, c2, c3, c4 = (constant**2 for constant in (12194.0, 20.6, 107.7, 737.9))
    gain = np.log10(c1) + 2 * torch.log10(f2) - torch.log10(f2 + c1) - torch.log10(f2 + c2)
    gain = gain - 0.5 * torch.log10(f2 + c3) - 0.5 * torch.log10(f2 + c4)
    return (2.0 + 20 * gain).clamp(min=-80.0)


def sound_level(waveform: Tensor, sample_rate_hz: int) -> Tensor:
    """The loudest frame's A-weighted level: (batch, samples) -> (batch,) in dB, -80 for silence.

    Frames of 4096 samples (2048 below 32 kHz), hop half of it, no padding but up to one whole frame.
    """
    n_fft = 4096 if sample_rate_hz >= 32000 else 2048
    if waveform.shape[-1] < n_fft:
        waveform = torch.nn.functional.pad(waveform, (0, n_fft - waveform.shape[-1]))
    window = torch.hann_window(n_fft, dtype=waveform.dtype, device=waveform.device)
    hz = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * (sample_rate_hz / n_fft)
    weights = (10 ** (a_weighting(hz) / 10)).to(waveform)
    frames = waveform.unfold(-1, n_fft, n_fft // 2) * window  # (batch, frames, n_fft)
    spectrum = torch.fft.rfft(frames)
    power = (spectrum.real**2 + spectrum.imag**2) @ weights  # (batch, frames)
    return (10 * torch.log10(power.clamp(min=1e-8))).amax(-1)


def mix_coefficient(level1: Tensor, level2: Tensor, ratio: Tensor) -> Tensor:
    """p = 1 / (1 + 10^((G1 - G2) / 20) (1 - r) / r), written so that r = 0 gives 0 and r = 1 gives 1.

    Where one of the clips is silent p = r: the formula would silence the mixture and keep the audible clip's label.
    """
    gain = 10 ** ((level1 - level2) / 20)
    p = ratio / (ratio + gain * (1 - ratio))
    silent = (level1 <= SILENCE_DB) | (level2 <= SILENCE_DB)
    return torch.where(silent, ratio, p)


def modified_mixup(batch: Batch, ratio: Tensor, sample_rate_hz: int) -> Batch:
    """Mix neighbours: 2 B clips become B. `ratio` (B,) in [0, 1] is the first clip's share of the label.

    x = (p x1 + (1 - p) x2) / sqrt(p^2 + (1 - p)^2), y = r y1 + (1 - r) y2.
    """
    levels = sound_level(batch.waveform, sample_rate_hz)
    p = mix_coefficient(levels[::2], levels[1::2], ratio)[:, None]
    mixed = (p * batch.waveform[::2] + (1 - p) * batch.waveform[1::2]) / torch.sqrt(p**2 + (1 - p) ** 2)
    share = ratio[:, None]
    return Batch(mixed, share * batch.target[::2] + (1 - share) * batch.target[1::2])


def stripes(size: int, batch: int, count: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """SpecAugment's keep-mask along one axis: (batch, size) of ones, with `count` zero stripes a row.

    Each stripe's width is uniform in 0 .. width - 1 and its start uniform (PANNs' DropStripes).
    """
    widths = rng.integers(0, width, (batch, count, 1))
    starts = (rng.random((batch, count, 1)) * (size - widths)).astype(np.int64)
    positions = np.arange(size)
    dropped = (positions >= starts) & (positions < starts + widths)  # (batch, count, size)
    return ~dropped.any(1)


def spec_augment(batch: int, rows: int, frames: int, rng: np.random.Generator) -> Tensor:
    """Two stripes of up to 63 frames and two of up to 15 bins: a keep-mask (batch, 1, rows, frames) of ones and zeros."""
    over_time = stripes(frames, batch, 2, min(64, frames), rng)
    over_rows = stripes(rows, batch, 2, min(16, rows), rng)
    return torch.from_numpy((over_rows[:, :, None] & over_time[:, None, :])[:, None]).float()
