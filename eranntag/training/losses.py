"""Losses on logits and soft targets in [0, 1]."""

from torch import Tensor
from torch.nn import functional


def loss(logits: Tensor, target: Tensor, activation: str) -> Tensor:
    """(batch, classes) each -> mean over the batch: cross-entropy with soft labels, or binary cross-entropy where
    classes are independent (the mean over classes too)."""
    if activation == "softmax":
        return functional.cross_entropy(logits.float(), target)
    return functional.binary_cross_entropy_with_logits(logits.float(), target)
