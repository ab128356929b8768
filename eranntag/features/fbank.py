"""Kaldi's log-mel filterbank, the front-end of PSLA (Gong et al., arXiv:2102.01243, Section III-A, and its published code).

16 kHz, frames of 25 ms every 10 ms, 128 mel bins. The paper names a Hamming window, the code that trained the published models
has Hann's. The code also subtracts the clip's mean, which changes nothing, as each frame's own is removed; and it normalises
with two constants, which here is the model's first step.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eranntag.audio.filterbanks import kaldi_filterbank, raised_cosine
from eranntag.features._framing import require_band

WINDOWS = {"hann": 0.5, "hamming": 0.54}  # the raised cosine's mean
COLUMN_FRAMES = 32  # that PSLA's network makes one column of
BLOCK_FRAMES = 16384  # computed at once, to bound the memory that hours of sound take

IN_WORDS = (
    "Mono sound at sample_rate_hz, in [-1, 1]. Zeros at the end up to the smallest number of whole seconds, min_seconds or "
    "more, for which the number of frames is a multiple of frame_multiple. Frames of frame_samples every hop_samples, the "
    "first at sample 0, only those that fit. Of each: minus its mean; sample n minus preemphasis * sample n - 1 (sample 0 "
    "minus preemphasis * itself); symmetric window (hann or hamming); |FFT|^2 of n_fft points, zeros behind; n_mels triangles "
    "of height 1, straight on the mel axis (2595 log10(1 + f / 700)), edges equally spaced there from fmin_hz to fmax_hz; "
    "natural logarithm of max(power, floor). Then frames of zeros, up to 32 * ceil(33 * samples / (1000 * hop_samples))."
)


@dataclass(frozen=True)
class Config:
    """`window`: "hann" or "hamming". `floor` is the smallest mel power, before the logarithm: float32's epsilon."""

    sample_rate_hz: int = 16000
    frame_samples: int = 400
    hop_samples: int = 160
    n_fft: int = 512
    n_mels: int = 128
    fmin_hz: float = 20.0
    fmax_hz: float = 8000.0
    preemphasis: float = 0.97
    window: str = "hann"
    floor: float = 2.0**-23
    min_seconds: int = 1

    def __post_init__(self) -> None:
        if self.window not in WINDOWS:
            raise ValueError(f"window {self.window!r} is not {'|'.join(WINDOWS)}")
        require_band(self.fmin_hz, self.fmax_hz, self.sample_rate_hz)
        if not self.hop_samples <= self.frame_samples <= self.n_fft:
            raise ValueError(f"frames of {self.frame_samples} samples, hop {self.hop_samples}, do not fit {self.n_fft} points")

    @property
    def rows(self) -> int:
        return self.n_mels

    def padded_samples(self, samples: int, frame_multiple: int = 1) -> int:
        """Length after zero padding: whole seconds, so many that `frame_multiple` divides the frames.

        10 seconds have 33 columns of 32 frames, so that 10 * frame_multiple seconds always do.
        """
        seconds = max(self.min_seconds, -(-samples // self.sample_rate_hz))
        while self.frames(seconds * self.sample_rate_hz) % frame_multiple:
            seconds += 1
        return seconds * self.sample_rate_hz

    def frames(self, padded: int) -> int:
        """Frames of a padded signal, those of zeros behind it included.

        [R] The paper has 1056 for its clips of 10 seconds, where the sound has 998; here in the same proportion for every
        length, in whole columns: 128 for 1 second, 544 for 5.
        """
        return COLUMN_FRAMES * -(-33 * padded // (1000 * self.hop_samples))


class Frontend(nn.Module):
    """(batch, samples) -> (batch, 1, n_mels, frames) in nepers of power. No parameters; float32 under any autocast."""

    window: Tensor
    filters: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        filters = kaldi_filterbank(config.sample_rate_hz, config.n_fft, config.n_mels, config.fmin_hz, config.fmax_hz)
        self.register_buffer(
            "window", torch.from_numpy(raised_cosine(config.frame_samples, WINDOWS[config.window])).float(), persistent=False
        )
        self.register_buffer("filters", torch.from_numpy(filters).float(), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        config = self.config
        with torch.autocast(waveform.device.type, enabled=False):
            framed = waveform.float().unfold(1, config.frame_samples, config.hop_samples)  # (batch, frames, frame_samples)
            image = torch.cat([self._image(block) for block in torch.split(framed, BLOCK_FRAMES, 1)], 2)
            return nn.functional.pad(image, (0, config.frames(waveform.shape[1]) - image.shape[2])).unsqueeze(1)

    def _image(self, framed: Tensor) -> Tensor:
        """(batch, frames, frame_samples) -> (batch, n_mels, frames)"""
        config = self.config
        framed = framed - framed.mean(2, keepdim=True)
        before = torch.cat([framed[..., :1], framed[..., :-1]], 2)
        spectrum = torch.fft.rfft((framed - config.preemphasis * before) * self.window, config.n_fft)
        power = (spectrum.real**2 + spectrum.imag**2).transpose(1, 2)  # (batch, bins, frames)
        return torch.log((self.filters @ power).clamp(min=config.floor))
