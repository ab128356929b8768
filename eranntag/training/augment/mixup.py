"""Mixup as in Table 3 of ERANN v2. Neighbors are mixed: 2 B clips become B examples.

`ratio` (B,) in [0, 1] is the first clip's share r of the label, always. Modified mixup is between-class learning (Tokozume
et al., 2018), which weighs by A-weighted sound level: two clips mixed half and half shall sound so.
"""

import torch
from torch import Tensor

from eranntag.training.augment.loudness import SILENCE_DB, sound_level


def blend(pairs: Tensor, share: Tensor) -> Tensor:
    """share x1 + (1 - share) x2: (2 B, ...) and (B,) -> (B, ...)."""
    share = share.view(-1, *[1] * (pairs.ndim - 1))
    return share * pairs[::2] + (1 - share) * pairs[1::2]


def mix_coefficient(level1: Tensor, level2: Tensor, ratio: Tensor) -> Tensor:
    """p = 1 / (1 + 10^((G1 - G2) / 20) (1 - r) / r), written so that r = 0 yields 0 and r = 1 yields 1.

    Where one of the clips is silent p = r: the formula would silence the mixture and keep the audible clip's label.
    """
    gain = 10 ** ((level1 - level2) / 20)
    p = ratio / (ratio + gain * (1 - ratio))
    silent = torch.minimum(level1, level2) <= SILENCE_DB + 0.01  # a logarithm on a GPU is a little off
    return torch.where(silent, ratio, p)


def loudness_share(waveform: Tensor, ratio: Tensor, sample_rate_hz: int) -> Tensor:
    """p of each pair of waveforms: (2 B, samples) -> (B,)."""
    levels = sound_level(waveform, sample_rate_hz)
    return mix_coefficient(levels[::2], levels[1::2], ratio)


def modified_mixup(waveform: Tensor, ratio: Tensor, sample_rate_hz: int) -> Tensor:
    """x = (p x1 + (1 - p) x2) / sqrt(p^2 + (1 - p)^2): (2 B, samples) -> (B, samples).

    The divisor keeps the energy of sounds that have nothing to do with each other. Mixtures of images in dB need none.
    """
    p = loudness_share(waveform, ratio, sample_rate_hz)
    return blend(waveform, p) / torch.sqrt(p**2 + (1 - p) ** 2)[:, None]
