"""What several families need to pool probabilities: full precision, and logits of the result."""

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

EPSILON = 1e-7  # probabilities stay this far from 0 and 1


class Pooled(NamedTuple):
    """Logits of a clip (batch, classes) and of its frames (batch, frames, classes)."""

    clip_logits: Tensor
    frame_logits: Tensor


def logits(probabilities: Tensor) -> Tensor:
    """Of clamped probabilities, so that the cross-entropy with logits is the binary cross-entropy of these."""
    x = probabilities.clamp(EPSILON, 1 - EPSILON)
    return x.log() - (-x).log1p()


def without_autocast(device: str) -> AbstractContextManager[object]:
    """Full precision where autocast is on. Elsewhere nothing: exporters would record the switch, and meta has none."""
    on = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if on else nullcontext()
