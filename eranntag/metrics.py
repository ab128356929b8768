"""Measures of tags against the truth: pure functions of arrays."""

import numpy as np


def accuracy(scores: np.ndarray, targets: np.ndarray) -> float:
    """Share of clips whose best class is the right one: scores (clips, classes), targets (clips,) class indices."""
    return float((scores.argmax(1) == targets).mean())


def confusion_matrix(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(classes, classes) counts: the row is the true class, the column the best one."""
    matrix = np.zeros((scores.shape[1], scores.shape[1]), np.int64)
    np.add.at(matrix, (targets, scores.argmax(1)), 1)
    return matrix
