"""Constant-Q spectrogram, computed directly: rows equally spaced in pitch, each with a window of as many periods.

Brown, "Calculation of a constant Q spectral transform", J. Acoust. Soc. Am. 89 (1991); kernels as in `audio.filterbanks`. The
slides name the feature and librosa; [R]: 16 bins per octave from 50 Hz, magnitude in dB.
"""

from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from torch import Tensor, nn

from eranntag.audio.filterbanks import constant_q_factor, constant_q_kernels
from eranntag.features._framed import Windowed
from eranntag.features._framing import FRAMING_IN_WORDS, Framing

IN_WORDS = FRAMING_IN_WORDS + (
    "n_bins tones with frequencies f = fmin_hz * 2^(k / bins_per_octave), k = 0, 1, ...; with r = 2^(1 / bins_per_octave) and "
    "L = sample_rate_hz / f * (r^2 + 1) / (r^2 - 1), the magnitude of the sum over |n| < L / 2, from the frame's center, of "
    "signal[n] * 2 / sqrt(L) * cos^2(pi n / L) * exp(-2 pi i f n / sample_rate_hz); 20 log10(max(magnitude, floor))."
)


@dataclass(frozen=True)
class Config(Framing):
    """`floor` is the smallest magnitude, before the logarithm."""

    n_bins: int = 128
    bins_per_octave: int = 16
    fmin_hz: float = 50.0
    floor: float = 1e-5

    def __post_init__(self) -> None:
        if not (self.n_bins >= 1 and self.bins_per_octave >= 1 and self.fmin_hz > 0):
            raise ValueError(
                f"no constant-Q rows with {self.n_bins} bins, {self.bins_per_octave} an octave, from {self.fmin_hz} Hz"
            )
        top_hz = self.frequencies()[-1] * (1 + 1 / self.q)  # where the highest row's main lobe ends, about
        if top_hz > self.sample_rate_hz / 2:
            raise ValueError(f"constant-Q rows up to {top_hz:.0f} Hz do not fit {self.sample_rate_hz} Hz")

    @property
    def rows(self) -> int:
        return self.n_bins

    @property
    def q(self) -> float:
        return constant_q_factor(self.bins_per_octave)

    @property
    def window_samples(self) -> int:
        """Of the lowest row, the longest: an even number of hops."""
        return 2 * self.hop_samples * ceil((self.q * self.sample_rate_hz / self.fmin_hz + 1) / (2 * self.hop_samples))

    def frequencies(self) -> np.ndarray:
        """(n_bins,) in Hz, the lowest first."""
        return self.fmin_hz * 2 ** (np.arange(self.n_bins) / self.bins_per_octave)


class Frontend(Windowed):
    """(batch, samples) -> (batch, 1, n_bins, frames) in dB. No parameters.

    A convolution with stride H is one with stride 1 of the signal written as H channels, sample m H + c in channel c at time m:

        sum_n x[t H + n] k[n] = sum_c sum_m x[(t + m) H + c] k[m H + c]

    so that the inner loop is a matrix product. The rows of an octave go together: the next one's windows are half as long. On
    GPUs cuDNN rounds to TF32 (unless torch.backends.cudnn.allow_tf32 is off): noise some 65 dB below a row's loudest frame.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.octaves = range(0, config.n_bins, config.bins_per_octave)
        for first in self.octaves:
            kernels = torch.from_numpy(_kernels(config, config.frequencies()[first : first + config.bins_per_octave]))
            self.register_buffer(f"kernels_{first}", kernels.float(), persistent=False)

    def image(self, signal: Tensor) -> Tensor:
        power = [self._power(signal, self.get_buffer(f"kernels_{first}")) for first in self.octaves]
        return 10 * torch.log10(torch.cat(power, 1).clamp(min=self.config.floor**2))

    def _power(self, signal: Tensor, kernels: Tensor) -> Tensor:
        """(batch, samples) and (2 rows, hop, hops) -> (batch, rows, frames): squared magnitude."""
        window, hop, hops = self.config.window_samples, self.config.hop_samples, kernels.shape[2]
        frames = (signal.shape[1] - window) // hop + 1
        start = window // 2 - hops * hop // 2
        channels = signal[:, start : start + (frames - 1 + hops) * hop]
        channels = torch.unflatten(channels, 1, (-1, hop)).transpose(1, 2).contiguous()
        real, imaginary = nn.functional.conv1d(channels, kernels).chunk(2, 1)
        return real**2 + imaginary**2


def _kernels(config: Config, hz: np.ndarray) -> np.ndarray:
    """Real parts, then imaginary parts, in whole hops: (2 len(hz), hop_samples, hops)."""
    hop = config.hop_samples
    hops = ceil((config.q * config.sample_rate_hz / hz[0] + 1) / hop)
    kernels = constant_q_kernels(hz, config.q, config.sample_rate_hz, hops * hop)
    parts = np.concatenate([kernels.real, kernels.imag])
    return parts.reshape(len(parts), hops, hop).transpose(0, 2, 1)
