"""SpecAugment (Park et al., 2019) with the stripes of PANNs: ERANN v2, Section 3.2."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

FULL_ROWS = 128  # of the images that the widths of stripes are for: others have them in proportion
STRIPES = {"spec-augment": 2, "time-frequency-mask": 1}  # along each axis: PANNs, and PSLA (Section III-D)


def stripes(size: int, width: int, rng: np.random.Generator, count: int) -> np.ndarray:
    """The keep-mask along one axis: (size,) bool, False in `count` stripes that may overlap.

    A stripe's width is uniform in 0 .. width - 1 and its start uniform (PANNs' DropStripes), but the last place stays.
    """
    keep = np.ones(size, bool)
    for _ in range(count):
        dropped = int(rng.integers(0, min(width, size)))
        start = int(rng.random() * (size - dropped))
        keep[start : start + dropped] = False
    return keep


def spec_augment(
    rows: int, frames: int, rngs: Sequence[np.random.Generator], time_width: int, row_width: int, count: int
) -> tuple[Tensor, Tensor]:
    """What each example keeps: rows (batch, rows) and frames (batch, frames), float32 ones and zeros."""
    kept = [(stripes(rows, row_width, rng, count), stripes(frames, time_width, rng, count)) for rng in rngs]
    over_rows, over_time = (torch.from_numpy(np.stack(axis)).float() for axis in zip(*kept, strict=True))
    return over_rows, over_time
