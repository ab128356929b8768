"""Log-mel spectrogram with pre-emphasis on Kaldi's mel scale, the front-end of EfficientAT's networks (family `mn`).

Schmid, Koutini, Widmer, "Efficient Large-scale Audio Tagging via Transformer-to-CNN Knowledge Distillation", ICASSP 2023, and
its published code, where it is called AugmentMelSTFT: 32 kHz, windows of 25 ms every 10 ms, 128 mel bands up to 15 kHz.
In training the code also moves fmin and fmax a little, which is not done here.

`_melstft_numpy` holds the configuration and the same transform in numpy; a test keeps the two together.
"""

import torch
from torch import Tensor, nn

from eranntag.features._melstft_numpy import IN_WORDS, Config
from eranntag.features._spectrogram import filtered_power

__all__ = ["IN_WORDS", "Config", "Frontend"]


class Frontend(nn.Module):
    """(batch, samples) -> (batch, 1, n_mels, frames), scaled nepers of power. No parameters; float32 under any autocast."""

    window: Tensor
    filters: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("window", torch.from_numpy(config.window()).float(), persistent=False)
        self.register_buffer("filters", torch.from_numpy(config.filters()).float(), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        config, half = self.config, self.config.n_fft // 2
        with torch.autocast(waveform.device.type, enabled=False):
            waveform = waveform.float()
            emphasized = waveform[:, 1:] - config.preemphasis * waveform[:, :-1]  # (batch, samples - 1)
            signal = nn.functional.pad(emphasized, (half, half), mode="reflect")
            power = filtered_power(signal, self.window, config.hop_samples, self.filters)  # (batch, n_mels, frames)
            return ((torch.log(power + config.offset) - config.log_mean) / config.log_scale).unsqueeze(1)
