"""Logits -> probabilities, (..., classes) float32, in NumPy."""

import numpy as np


def softmax(logits: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # infinite logits give NaN, which `prediction` reports
        powers: np.ndarray = np.exp(logits - logits.max(-1, keepdims=True))
    powers /= powers.sum(-1, keepdims=True)
    return powers


def sigmoid(logits: np.ndarray) -> np.ndarray:
    small: np.ndarray = np.exp(-np.abs(logits))  # never overflows
    numerator: np.ndarray = np.where(logits < 0, small, 1)
    numerator /= 1 + small
    return numerator


ACTIVATIONS = {"softmax": softmax, "sigmoid": sigmoid}
