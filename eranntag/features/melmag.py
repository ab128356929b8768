"""Logarithm of a mel-filtered magnitude spectrum, the front-end of 2APAE (Deshmukh, Raj, Singh, "Multi-Task Learning for
Interpretable Weakly Labelled Sound Event Detection", Section IV) and of the mixing protocol that it follows.

32 kHz, windows of 2048 samples every 1024, 64 mel bands. The paper prints no more; the rest is as in the public code that it
cites (sed_time_freq_segmentation): Hamming window, magnitude and not power, nothing added at the edges. The standardization of
each band is the model's first step, as its values are those of the training clips.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from eranntag.audio.filterbanks import mel_filterbank, raised_cosine
from eranntag.features._framing import require_band

BLOCK_FRAMES = 128  # of all sounds, computed at once on a CPU, so that they stay in its cache

IN_WORDS = (
    "Mono sound at sample_rate_hz, in [-1, 1]. Zeros at the end up to the smallest number of whole seconds, min_seconds or "
    "more; then up to the next number of frames that is a multiple of frame_multiple. Frames of frame_samples every "
    "hop_samples, the first at sample 0, only those that fit. Of each: symmetric Hamming window w (0.54, 0.46), divided by "
    "sqrt(sum w^2); |FFT|; n_mels triangles of Slaney's mel scale with unit area from fmin_hz to fmax_hz; natural logarithm of "
    "offset + magnitude."
)


@dataclass(frozen=True)
class Config:
    """The paper's values as defaults: 311 frames of 10 seconds. `offset` is added to the magnitude before the logarithm."""

    sample_rate_hz: int = 32000
    frame_samples: int = 2048
    hop_samples: int = 1024
    n_mels: int = 64
    fmin_hz: float = 50.0
    fmax_hz: float = 16000.0
    offset: float = 1e-8
    min_seconds: int = 1

    def __post_init__(self) -> None:
        require_band(self.fmin_hz, self.fmax_hz, self.sample_rate_hz)
        if not 0 < self.hop_samples <= self.frame_samples:
            raise ValueError(f"a hop of {self.hop_samples} samples does not fit frames of {self.frame_samples}")
        if not self.offset > 0:
            raise ValueError(f"the offset must be positive, or silence has no logarithm, not {self.offset}")

    @property
    def rows(self) -> int:
        return self.n_mels

    @property
    def frames_per_second(self) -> float:
        """31.25"""
        return self.sample_rate_hz / self.hop_samples

    def padded_samples(self, samples: int, frame_multiple: int = 1) -> int:
        """Length after zero padding: whole seconds, and what is then missing of a multiple of `frame_multiple` frames."""
        seconds = max(self.min_seconds, -(-samples // self.sample_rate_hz))
        padded = max(seconds * self.sample_rate_hz, self.frame_samples)
        if missing := -self.frames(padded) % frame_multiple:
            return (self.frames(padded) + missing - 1) * self.hop_samples + self.frame_samples
        return padded

    def frames(self, padded: int) -> int:
        """Frames of a padded signal: those that fit, floor((n - 2048) / 1024) + 1."""
        return (padded - self.frame_samples) // self.hop_samples + 1

    def window(self) -> np.ndarray:
        """(frame_samples,), its squares sum to 1, so that white noise has in each bin its root mean square."""
        window = raised_cosine(self.frame_samples, 0.54)
        normalized: np.ndarray = window / np.sqrt((window**2).sum())
        return normalized

    def filters(self) -> np.ndarray:
        """(n_mels, frame_samples // 2 + 1)"""
        return mel_filterbank(self.sample_rate_hz, self.frame_samples, self.n_mels, self.fmin_hz, self.fmax_hz)


class Frontend(nn.Module):
    """(batch, samples) -> (batch, 1, n_mels, frames) in nepers of magnitude. No parameters; float32 under any autocast."""

    window: Tensor
    filters: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("window", torch.from_numpy(config.window()).float(), persistent=False)
        self.register_buffer("filters", torch.from_numpy(config.filters()).float(), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        config = self.config
        with torch.autocast(waveform.device.type, enabled=False):
            framed = waveform.float().unfold(1, config.frame_samples, config.hop_samples)  # (batch, frames, frame_samples)
            at_once = max(1, BLOCK_FRAMES // len(framed)) if framed.device.type == "cpu" else 128 * BLOCK_FRAMES
            mels = [
                self._magnitude(block) @ self.filters.T for block in torch.split(framed, at_once, 1)
            ]  # (batch, block, n_mels)
            return torch.log(torch.cat(mels, 1) + config.offset).transpose(1, 2).unsqueeze(1)

    def _magnitude(self, framed: Tensor) -> Tensor:
        """(batch, frames, frame_samples) -> (batch, frames, bins); a third of the time of torch's absolute value."""
        spectrum = torch.fft.rfft(framed * self.window)
        magnitude: Tensor = (spectrum.real**2 + spectrum.imag**2).sqrt()
        return magnitude
