"""Log-mel spectrogram, ERANN's feature (Section 3.1 of arXiv:2106.01621v2), in plain torch.

`_logmel_numpy` holds the configuration, the padding and the same transform in numpy; a test keeps the two together.
"""

import torch
from torch import Tensor, nn

from eranntag.features._logmel_numpy import IN_WORDS, Config

__all__ = ["IN_WORDS", "Config", "Frontend"]

BLOCK_FRAMES = 16384  # computed at once, to bound the memory that hours of sound take


class Frontend(nn.Module):
    """(batch, samples) -> (batch, 1, n_mels, frames) in dB. No parameters; always float32: |STFT|^2 overflows float16."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("window", torch.from_numpy(config.window()).float(), persistent=False)
        self.register_buffer("filters", torch.from_numpy(config.filters()).float(), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        config = self.config
        half = config.window_samples // 2
        with torch.autocast(waveform.device.type, enabled=False):
            signal = nn.functional.pad(waveform.float(), (half, half), mode="reflect")
            frames = config.frames(waveform.shape[-1])
            blocks = [self._block(signal, start, min(start + BLOCK_FRAMES, frames)) for start in range(0, frames, BLOCK_FRAMES)]
            return torch.cat(blocks, -1).unsqueeze(1)

    def _block(self, signal: Tensor, start: int, stop: int) -> Tensor:
        """Frames start .. stop of the padded signal: (batch, n_mels, stop - start)."""
        config = self.config
        samples = signal[:, start * config.hop_samples : (stop - 1) * config.hop_samples + config.window_samples]
        spectrum = torch.stft(
            samples, config.window_samples, config.hop_samples, window=self.window, center=False, return_complex=True
        )  # (batch, bins, frames)
        power = spectrum.real**2 + spectrum.imag**2
        mel = self.filters @ power  # (batch, n_mels, frames)
        return 10 * torch.log10(mel.clamp(min=config.floor))
