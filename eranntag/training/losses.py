"""Losses on logits and soft targets in [0, 1], and on reconstructed images."""

from torch import Tensor
from torch.nn import functional


def loss(logits: Tensor, target: Tensor, activation: str) -> Tensor:
    """(batch, classes) each -> mean over the batch: cross-entropy with soft labels, or binary cross-entropy where
    classes are independent (the mean over classes too)."""
    if activation == "softmax":
        return functional.cross_entropy(logits.float(), target)
    return functional.binary_cross_entropy_with_logits(logits.float(), target)


def reconstruction_error(reconstruction: Tensor, image: Tensor) -> Tensor:
    """(batch, 1, rows, frames) each -> the mean of the squared differences of all elements.

    2APAE's auxiliary loss: the whole is `loss` + alpha times this, with alpha = 0.001. `image` is what the model's decoder
    aims at: the standardized image, not masked.
    """
    return functional.mse_loss(reconstruction.float(), image)
