"""Front-ends whose frames depend on a window of the waveform: padding and blocks, around each one's transform."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

BLOCK_FRAMES = 16384  # computed at once, to bound the memory that hours of sound take


class Windowed(nn.Module, ABC):
    """(batch, samples), already padded -> image (batch, 1, rows, frames). Always in float32: |STFT|^2 overflows float16.

    `config` is a `Framing` with `window_samples`, an even number: a frame depends on so many samples around its centre.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def image(self, signal: Tensor) -> Tensor:
        """(batch, samples) float32, with what the outermost windows need -> (batch, rows, frames), one for each window that
        fits: frame i is of samples i * hop_samples .. i * hop_samples + window_samples."""

    def forward(self, waveform: Tensor) -> Tensor:
        config = self.config
        half = config.window_samples // 2
        with torch.autocast(waveform.device.type, enabled=False):
            signal = nn.functional.pad(waveform.float(), (half, half), mode="reflect")
            frames = config.frames(waveform.shape[-1])
            blocks = [self._block(signal, start, min(start + BLOCK_FRAMES, frames)) for start in range(0, frames, BLOCK_FRAMES)]
            return torch.cat(blocks, -1).unsqueeze(1)

    def _block(self, signal: Tensor, start: int, stop: int) -> Tensor:
        """Frames start .. stop of the padded signal: (batch, rows, stop - start)."""
        hop = self.config.hop_samples
        return self.image(signal[:, start * hop : (stop - 1) * hop + self.config.window_samples])
