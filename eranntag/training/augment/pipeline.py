"""From crops to the images that are trained on: ERANN v2, Section 3.2, and RANN's slides.

In this order: perturbed waveforms -> mixup -> front-end -> SpecAugment. Every random number comes from the generators that
the caller passes for each clip and each example, so that an example is the same (to rounding) in whichever batch, process or
device.
"""

import zlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from eranntag.errors import UsageError
from eranntag.training.augment.mixup import blend, loudness_share, modified_mixup
from eranntag.training.augment.options import check_mixup, parse
from eranntag.training.augment.specaugment import FULL_ROWS, STRIPES, spec_augment
from eranntag.training.augment.waveform import PERTURBATIONS
from eranntag.types import Batch

Generators = Sequence[np.random.Generator]


class Augment:
    """The augmentations `names` (such as "spec-augment", "pitch-shift=3") and a kind of `mixup`: see `augmentations`.

    Raises UsageError for unknown names and impossible values.
    """

    def __init__(self, names: Sequence[str], mixup: str, alpha: float, sample_rate_hz: int, mixup_rate: float = 1.0) -> None:
        check_mixup(mixup, alpha)
        self.values = parse(names)
        self.mixup, self.alpha, self.sample_rate_hz = mixup, alpha, sample_rate_hz
        self.mixup_rate = mixup_rate
        self.clips_per_example = 1 if mixup == "none" else 2
        if "band-limit" in self.values and (lowest := self.values["band-limit"][0]) >= sample_rate_hz / 2:
            raise UsageError(f"band-limit: sound at {sample_rate_hz} Hz has nothing above {lowest:g} Hz to remove")

    def images(
        self, batch: Batch, frontend: Callable[[Tensor], Tensor], clip_rngs: Generators, rngs: Generators
    ) -> tuple[Tensor, Tensor]:
        """The images (B, 1, rows, frames) and targets (B, classes) of B * clips_per_example clips.

        `clip_rngs` are the clips' generators and `rngs` the examples'; one number is drawn from each.
        """
        seeds = _seeds(rngs)
        waveform = self._perturbed(batch.waveform, _seeds(clip_rngs), seeds)
        if self.mixup == "none":
            return frontend(waveform), batch.target
        drawn = [self._share(rng) for rng in _named(seeds, "mixup")]
        ratio = torch.tensor(drawn, dtype=waveform.dtype, device=waveform.device)
        target = blend(batch.target, ratio)
        if self.mixup == "log-mel":
            return blend(frontend(waveform), loudness_share(waveform, ratio, self.sample_rate_hz)), target
        mixed = blend(waveform, ratio) if self.mixup == "standard" else modified_mixup(waveform, ratio, self.sample_rate_hz)
        return frontend(mixed), target

    def _share(self, rng: np.random.Generator) -> float:
        """Of the first clip: all of it in those examples that `mixup_rate` leaves alone."""
        ratio = rng.beta(self.alpha, self.alpha)
        return ratio if rng.random() < self.mixup_rate else 1.0

    def mask(self, rows: int, frames: int, rngs: Generators, device: torch.device | str = "cpu") -> Tensor | None:
        """What SpecAugment keeps of the images: ones and zeros (B, 1, rows, frames), or None when it is off.

        One number is drawn from each example's generator.
        """
        seeds, masks = _seeds(rngs), []
        for name, stripes in STRIPES.items():
            if name in self.values:
                time_width, row_width = map(int, self.values[name])
                row_width = -(-row_width * rows // FULL_ROWS)  # 12 rows of a chromagram would hardly be left
                kept = spec_augment(rows, frames, _named(seeds, name), time_width, row_width, stripes)
                over_rows, over_time = (axis.to(device) for axis in kept)
                masks.append((over_rows[:, :, None] * over_time[:, None, :])[:, None])
        return torch.stack(masks).prod(0) if masks else None

    def _perturbed(self, waveform: Tensor, clip_seeds: Sequence[int], seeds: Sequence[int]) -> Tensor:
        """The clips of an example share their band limit: a mixture with a full-band clip would be no narrow-band sound."""
        shared = [seed for seed in seeds for _ in range(self.clips_per_example)]
        for name, perturb in PERTURBATIONS.items():
            if name in self.values:
                rngs = _named(shared if name == "band-limit" else clip_seeds, name)
                waveform = perturb(waveform, rngs, self.sample_rate_hz, *self.values[name])
        return waveform


def _seeds(rngs: Generators) -> list[int]:
    return [int(rng.integers(2**63)) for rng in rngs]


def _named(seeds: Sequence[int], name: str) -> list[np.random.Generator]:
    """Generators for one augmentation alone, so that switching another on or off changes none of its numbers."""
    return [np.random.default_rng([seed, zlib.crc32(name.encode())]) for seed in seeds]
