"""Wavegram: a spectrogram-like image that convolutions over the waveform learn.

The stack of Wavegram-CNN (Kong et al., "PANNs", arXiv:1912.10211, Section III-C): strides 5, 4, 4, 4. The slides' figure of it
is lost; here its channels are read as the rows of an image of one channel, and its 137.8 columns a second are interpolated to
the 128 frames a second of the other front-ends.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eranntag.features._framing import PADDING_IN_WORDS, Framing

FIRST_STRIDE, POOL, BLOCKS = 5, 4, 3
STRIDE = FIRST_STRIDE * POOL**BLOCKS  # samples between two columns

IN_WORDS = PADDING_IN_WORDS + (
    "The trained network's layers frontend.*, with C = n_channels: convolution 1 -> C/2, kernel 11, stride 5, padding 5, "
    "BatchNorm, ReLU; then three blocks, C/2 -> C/2 -> C -> C, of convolution (kernel 3, padding 1), BatchNorm, ReLU, "
    "convolution (kernel 3, dilation 2, padding 2), BatchNorm, ReLU, maximum over 4. Column j of the result is centred on "
    "sample 320 j + 157.5. S * frames_per_second frames, frame i interpolated linearly at sample hop_samples * i (before the "
    "first column and after the last: that column). Its C channels are the rows."
)


@dataclass(frozen=True)
class Config(Framing):
    """`n_channels` of the last two blocks, which become rows; the first convolution and block have half as many (PANNs: 64)."""

    n_channels: int = 128

    def __post_init__(self) -> None:
        if self.n_channels < 2 or self.n_channels % 2:
            raise ValueError(f"the wavegram's channels must be an even number, not {self.n_channels}")

    @property
    def rows(self) -> int:
        return self.n_channels


class Frontend(nn.Module):
    """(batch, samples) -> (batch, 1, n_channels, frames) float32, not below zero. Learned; autocast applies to its layers."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        full, half = config.n_channels, config.n_channels // 2
        self.first = _convolution(1, half, 11, stride=FIRST_STRIDE, padding=5)
        self.blocks = nn.Sequential(_block(half, half), _block(half, full), _block(full, full))

    def forward(self, waveform: Tensor) -> Tensor:
        columns = self.blocks(self.first(waveform.float().unsqueeze(1)))  # (batch, n_channels, columns)
        return self._frames(columns.float(), self.config.frames(waveform.shape[-1])).unsqueeze(1)

    def _frames(self, columns: Tensor, frames: int) -> Tensor:
        """(..., columns) -> (..., frames): frame i interpolated at sample i * hop_samples.

        The first convolution is centred on samples 0, 5, 10, ..., and column j is of its values 64 j .. 64 j + 63: its centre
        is sample 320 j + (320 - 5) / 2. Positions are counted in halves of a sample, so that they are whole numbers.
        """
        last = columns.shape[-1] - 1
        halves = 2 * self.config.hop_samples * torch.arange(frames, device=columns.device) - (STRIDE - FIRST_STRIDE)
        halves = halves.clamp(0, 2 * STRIDE * last)
        before = halves // (2 * STRIDE)
        weight = halves % (2 * STRIDE) / (2 * STRIDE)
        return torch.lerp(columns[..., before], columns[..., (before + 1).clamp(max=last)], weight)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    """(batch, inputs, n) -> (batch, outputs, n // 4)"""
    return nn.Sequential(
        _convolution(inputs, outputs, 3, padding=1),
        _convolution(outputs, outputs, 3, padding=2, dilation=2),
        nn.MaxPool1d(POOL),
    )


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> nn.Sequential:
    """Convolution without bias, BatchNorm, ReLU; Xavier's uniform initialization, as PANNs."""
    convolution = nn.Conv1d(inputs, outputs, kernel, stride, padding, dilation, bias=False)
    nn.init.xavier_uniform_(convolution.weight)
    return nn.Sequential(convolution, nn.BatchNorm1d(outputs), nn.ReLU(inplace=True))
