"""Logistic regression on embeddings: multinomial where a clip has one class, one against the rest elsewhere.

The regression is scikit-learn's (an extra). Its strength is chosen by cross-validation inside the training clips, whole
recordings on one side, by the lowest log loss; the same folds give every clip a score from a regression without it.
"""

import warnings
from dataclasses import dataclass

import numpy as np

from eranntag.errors import UsageError
from eranntag.inference.activations import ACTIVATIONS

STRENGTHS = tuple(10 ** (power / 2) for power in range(-6, 5))  # C: the inverse of the weights' penalty
PATIENCE = 2  # strengths in a row that are worse than the best one; none is tried behind them
FOLDS = 5  # of the cross-validation, at most
ABSENT = -30.0  # the logit of a class without training clips
TOLERANCE, ITERATIONS = 1e-3, 1000  # of the solver
FLOOR = 1e-7  # probabilities stay this far from 0 and 1 in the log loss


@dataclass(frozen=True, eq=False)
class Regression:
    """Logits are `vectors @ weight.T + bias`: `weight` (classes, size), `bias` (classes,) float32.

    `strength`: scikit-learn's C. `scores` (clips, classes) of the training clips by regressions that were fitted without their
    fold, and their `log_loss`; None where there were too few recordings for that, and the strength is 1.
    """

    weight: np.ndarray
    bias: np.ndarray
    strength: float = 1.0
    scores: np.ndarray | None = None
    log_loss: float | None = None

    def logits(self, vectors: np.ndarray) -> np.ndarray:
        """(clips, size) -> (clips, classes) float32"""
        logits: np.ndarray = vectors @ self.weight.T + self.bias
        return logits


def check() -> None:
    """Raises UsageError without scikit-learn."""
    try:
        import sklearn.linear_model  # noqa: F401
    except ImportError:
        raise UsageError("a probe needs scikit-learn: pip install 'eranntag[probe]'") from None


def fit(vectors: np.ndarray, targets: np.ndarray, groups: np.ndarray, activation: str, seed: int = 0) -> Regression:
    """The regression of `targets` (clips, classes), bool, on `vectors` (clips, size).

    Clips of one of the `groups` (clips,) are never on both sides of the cross-validation. `activation`: "softmax" or "sigmoid".
    Raises UsageError unless two classes have clips.
    """
    from threadpoolctl import threadpool_limits

    if (targets.any(0) & (~targets).any(0)).sum() < 2:
        raise UsageError("a probe needs training clips of two classes or more")
    with threadpool_limits(1):  # these products are small: BLAS's threads take ten times as long as one
        return _chosen(vectors, targets, _folds(targets, groups, seed), activation)


def _chosen(vectors: np.ndarray, targets: np.ndarray, folds: np.ndarray | None, activation: str) -> Regression:
    """The regression with the strength of the lowest log loss over the folds."""
    if folds is None:
        return _fit(vectors, targets, activation, 1.0)
    best_loss, best_scores, best_strength, worse = np.inf, None, STRENGTHS[0], 0
    for strength in STRENGTHS:  # ascending: the weak penalties behind the best one would take nearly all of the time
        scores = _held_out(vectors, targets, folds, activation, strength)
        if (loss := _log_loss(scores, targets, activation)) < best_loss:
            best_loss, best_scores, best_strength, worse = loss, scores, strength, 0
        elif (worse := worse + 1) == PATIENCE:
            break
    final = _fit(vectors, targets, activation, best_strength)
    return Regression(final.weight, final.bias, best_strength, best_scores, best_loss)


def _folds(targets: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray | None:
    """(clips,) the fold of each, the classes spread over all; None where some class has a single group."""
    from sklearn.model_selection import StratifiedGroupKFold

    fewest = min(len(set(groups[column])) for column in targets.T if column.any())
    if fewest < 2:
        return None
    splitter = StratifiedGroupKFold(min(FOLDS, fewest), shuffle=True, random_state=seed)
    fold = np.zeros(len(targets), int)
    rarest = np.where(targets, targets.sum(0), len(targets) + 1).argmin(1)  # the class that is hardest to spread
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a class has fewer clips than there are folds
        for index, (_, held_out) in enumerate(splitter.split(targets, rarest, groups)):
            fold[held_out] = index
    return fold


def _held_out(vectors: np.ndarray, targets: np.ndarray, folds: np.ndarray, activation: str, strength: float) -> np.ndarray:
    """(clips, classes): the scores of each fold by a regression on the others."""
    scores = np.empty(targets.shape, np.float32)
    for fold in np.unique(folds):
        own = folds == fold
        regression = _fit(vectors[~own], targets[~own], activation, strength)
        scores[own] = ACTIVATIONS[activation](regression.logits(vectors[own]))
    return scores


def _log_loss(scores: np.ndarray, targets: np.ndarray, activation: str) -> float:
    """The mean over clips of -ln of the true class's probability; of independent classes over all of them."""
    scores = scores.clip(FLOOR, 1 - FLOOR).astype(np.float64)
    if activation == "softmax":
        return float(-np.log(scores[targets]).mean())
    return float(-np.where(targets, np.log(scores), np.log(1 - scores)).mean())


def _fit(vectors: np.ndarray, targets: np.ndarray, activation: str, strength: float) -> Regression:
    """On standardized vectors; the standardization becomes part of the weights."""
    mean, std = vectors.mean(0), vectors.std(0)
    std = np.where(std > 0, std, 1)
    standardized = (vectors - mean) / std
    weight = np.zeros((targets.shape[1], vectors.shape[1]))
    bias = np.full(targets.shape[1], ABSENT)
    present = np.flatnonzero(targets.any(0))
    if activation == "softmax":
        if len(present) == 1:
            bias[present] = 0
        else:
            weight[present], bias[present] = _multinomial(standardized, targets[:, present].argmax(1), strength)
    else:
        for index in present:
            if targets[:, index].all():
                bias[index] = -ABSENT
            else:
                weight[index], bias[index] = _binary(standardized, targets[:, index], strength)
    weight = weight / std
    return Regression(weight.astype(np.float32), (bias - weight @ mean).astype(np.float32), strength)


def _multinomial(vectors: np.ndarray, classes: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """(classes, size) and (classes,); of two classes scikit-learn has the difference alone."""
    from sklearn.linear_model import LogisticRegression

    found = LogisticRegression(C=strength, tol=TOLERANCE, max_iter=ITERATIONS).fit(vectors, classes)
    if len(found.classes_) == 2:
        return np.concatenate([-found.coef_, found.coef_]) / 2, np.concatenate([-found.intercept_, found.intercept_]) / 2
    return found.coef_, found.intercept_


def _binary(vectors: np.ndarray, positive: np.ndarray, strength: float) -> tuple[np.ndarray, float]:
    from sklearn.linear_model import LogisticRegression

    found = LogisticRegression(C=strength, tol=TOLERANCE, max_iter=ITERATIONS).fit(vectors, positive)
    return found.coef_[0], float(found.intercept_[0])
