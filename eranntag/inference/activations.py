"""Logits -> probabilities, (..., classes) float32, in NumPy."""

import numpy as np


def softmax(logits: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # infinite logits give NaN, which `prediction` reports
        powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    small = np.exp(-np.abs(logits))  # never overflows
    return np.where(logits < 0, small, 1) / (1 + small)


ACTIVATIONS = {"softmax": softmax, "sigmoid": sigmoid}
