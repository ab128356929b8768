"""Metrics of tags and of events against the truth: pure, exact functions of arrays.

`scores` are (clips, classes) and `targets` bool of the same shape unless a docstring states otherwise. The definitions are
scikit-learn's, which the papers' code uses: no interpolation, equal scores share a threshold. A metric that is undefined
for a class is NaN there, and `mean` leaves it out.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from math import ceil, copysign, floor, inf, isnan, nan, sqrt
from statistics import NormalDist

import numpy as np

from eranntag.types import Event

Clips = Sequence[Sequence[Event]]  # the events of each clip
ROUNDING = 1e-9  # seconds: 2.2 - 2.0 is more than 0.2


def multi_hot(targets: Sequence[tuple[int, ...]], classes: int) -> np.ndarray:
    """Return the (clips, classes) bool matrix of each clip's class indices."""
    matrix = np.zeros((len(targets), classes), bool)
    for row, indices in zip(matrix, targets, strict=True):
        row[list(indices)] = True
    return matrix


def accuracy(scores: np.ndarray, targets: np.ndarray) -> float:
    """Return the share of clips whose highest score is that of the true class; targets (clips,) are class indices."""
    return float((scores.argmax(1) == targets).mean())


def confusion_matrix(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return (classes, classes) counts: rows are true classes, columns predicted ones; targets (clips,) are class indices."""
    matrix = np.zeros((scores.shape[1], scores.shape[1]), np.int64)
    np.add.at(matrix, (targets, scores.argmax(1)), 1)
    return matrix


def counts_by_threshold(scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (thresholds, true_positives, predicted_positives) of one class; both arguments are (clips,).

    The thresholds are the distinct scores of the positive clips, highest first: one between two of them only adds false
    positives to the higher one. Precision is true_positives / predicted_positives, recall true_positives /
    true_positives[-1].
    """
    thresholds, counts = np.unique(scores[targets], return_counts=True)
    predicted_positives = len(scores) - np.searchsorted(np.sort(scores), thresholds)
    return thresholds[::-1], np.cumsum(counts[::-1]), predicted_positives[::-1]


def average_precision(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return (classes,): the sum over thresholds of (gain in recall) x precision; NaN for a class without positives."""
    return _per_class(_average_precision, scores, targets)


def micro_average_precision(scores: np.ndarray, targets: np.ndarray) -> float:
    """Return the average precision over all pairs of clip and class in one list."""
    return _average_precision(scores.ravel(), targets.ravel())


def _average_precision(scores: np.ndarray, targets: np.ndarray) -> float:
    _, true_positives, predicted_positives = counts_by_threshold(scores, targets)
    if not len(true_positives):
        return nan
    gains = np.diff(true_positives, prepend=0)
    return float((gains * (true_positives / predicted_positives)).sum() / true_positives[-1])


def roc_auc(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return (classes,): how often a positive clip scores higher than a negative one, equal scores counting 1/2.

    NaN for a class without positives or without negatives.
    """
    return _per_class(_roc_auc, scores, targets)


def _roc_auc(scores: np.ndarray, targets: np.ndarray) -> float:
    positive = scores[targets]
    negative = np.sort(scores[~targets])
    pairs = len(positive) * len(negative)
    lower = int(np.searchsorted(negative, positive, "left").sum())
    lower_or_equal = int(np.searchsorted(negative, positive, "right").sum())
    return (lower + lower_or_equal) / (2 * pairs) if pairs else nan


def d_prime(auc: float) -> float:
    """Return sqrt(2) x the inverse normal distribution of the *mean* AUC (not the mean of the classes' d'); inf for 1."""
    if isnan(auc):
        return nan
    if auc in (0, 1):
        return copysign(inf, auc - 0.5)
    return sqrt(2) * NormalDist().inv_cdf(auc)


def mean(values: np.ndarray) -> float:
    """Return the mean over the classes whose value is defined, such as mAP; NaN when none is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else nan


def recipe_metric(name: str, scores: np.ndarray, targets: np.ndarray) -> float:
    """Return a recipe's metric: "accuracy", where each clip has one class, "mAP" or "micro_AP"; NaN without positives.

    Raises KeyError for another name.
    """
    functions: dict[str, Callable[[], float]] = {
        "accuracy": lambda: accuracy(scores, targets.argmax(1)),
        "mAP": lambda: mean(average_precision(scores, targets)),
        "micro_AP": lambda: micro_average_precision(scores, targets),
    }
    return functions[name]() if targets.any() else nan


def best_f1(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return (classes,): the highest F1 of any threshold on these clips; NaN for a class without positives."""
    return _per_class(_best_f1, scores, targets)


def _best_f1(scores: np.ndarray, targets: np.ndarray) -> float:
    return float(_f1_by_threshold(scores, targets)[1].max()) if targets.any() else nan


def best_thresholds(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return (classes,): the threshold with the highest F1, for scores in [0, 1]; a score that reaches it is a positive.

    All thresholds between two neighboring scores are equivalent on these clips: the one midway is the safest for others
    (below the lowest score: midway to 0). Of several neighbors with the same F1 the highest threshold, which predicts the
    fewest positives, is taken. A class without positives gets 0.5.
    """
    return _per_class(_best_threshold, scores, targets)


def _best_threshold(scores: np.ndarray, targets: np.ndarray) -> float:
    if not targets.any():
        return 0.5
    thresholds, f1 = _f1_by_threshold(scores, targets)
    best = thresholds[f1.argmax()]  # the first of the highest, so the highest threshold
    below = scores.max(where=scores < best, initial=0)
    midway = (best + below) / 2
    return float(midway if midway > below else best)  # two scores may be too near for a number between


def _f1_by_threshold(scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (thresholds, F1): 2 PR / (P + R) = 2 x true positives / (predicted + actual positives)."""
    thresholds, true_positives, predicted_positives = counts_by_threshold(scores, targets)
    return thresholds, 2 * true_positives / (predicted_positives + true_positives[-1])


def _per_class(metric: Callable[[np.ndarray, np.ndarray], float], scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    columns = zip(np.ascontiguousarray(scores.T), np.ascontiguousarray(targets.T), strict=True)
    return np.array([metric(*column) for column in columns], np.float64)


def precision_recall_f1(predicted: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Return precision, recall and F1 of predictions such as `scores >= 0.5`; both arguments are bool (clips, classes).

    "micro" counts all pairs of clip and class; "macro" is the mean over the classes with a positive, where the precision of
    a class that was never predicted is 0. All are NaN when there is no positive at all.
    """
    return _micro_and_macro((predicted & targets).sum(0), predicted.sum(0), targets.sum(0))


def segment_based(reference: Clips, estimated: Clips, labels: Sequence[str], segment_seconds: float = 1.0) -> dict[str, float]:
    """Return `precision_recall_f1` of (segments, classes): a class is active in every segment that its events overlap.

    Mesaros et al., "Metrics for Polyphonic Sound Event Detection", 2016. As sed_eval computes it with zero for classes that
    were never predicted. Segments without any event do not count.
    """
    index = {label: position for position, label in enumerate(labels)}
    true_positives, predicted, actual = np.zeros((3, len(labels)), np.int64)
    for true_events, estimated_events in zip(reference, estimated, strict=True):
        active = _active_segments(true_events, index, segment_seconds)
        predicted_active = _active_segments(estimated_events, index, segment_seconds)
        for counts, cells in ((true_positives, active & predicted_active), (predicted, predicted_active), (actual, active)):
            for class_index, _ in cells:
                counts[class_index] += 1
    return _micro_and_macro(true_positives, predicted, actual)


def _active_segments(events: Sequence[Event], index: Mapping[str, int], segment_seconds: float) -> set[tuple[int, int]]:
    """Return (class, segment) of all segments that events overlap."""
    cells: set[tuple[int, int]] = set()
    for event in events:
        first = floor((event.onset + ROUNDING) / segment_seconds)
        end = ceil((event.offset - ROUNDING) / segment_seconds)
        cells.update((index[event.label], segment) for segment in range(first, end))
    return cells


def event_based(
    reference: Clips,
    estimated: Clips,
    labels: Sequence[str],
    collar_seconds: float = 0.2,
    offset_share: float = 0.2,
    offsets: bool = True,
) -> dict[str, float]:
    """Return precision, recall and F1 of whole events, "micro" and "macro" as in `precision_recall_f1`.

    An estimated event is correct when a true one of its class begins within `collar_seconds` of it and, with `offsets`, ends
    within the larger of `collar_seconds` and `offset_share` of the true one's length: DCASE's usual values (sed_eval's own
    share is 0.5). Each event is matched at most once, and as many as possible are.
    """
    true_positives, predicted, actual = np.zeros((3, len(labels)), np.int64)
    for true_events, estimated_events in zip(reference, estimated, strict=True):
        for class_index, label in enumerate(labels):
            true_of_class = [event for event in true_events if event.label == label]
            estimated_of_class = [event for event in estimated_events if event.label == label]
            neighbors = [
                [
                    position
                    for position, true in enumerate(true_of_class)
                    if _matches(event, true, collar_seconds, offset_share, offsets)
                ]
                for event in estimated_of_class
            ]
            true_positives[class_index] += max_bipartite_matching(neighbors)
            predicted[class_index] += len(estimated_of_class)
            actual[class_index] += len(true_of_class)
    return _micro_and_macro(true_positives, predicted, actual)


def _matches(estimated: Event, true: Event, collar_seconds: float, offset_share: float, offsets: bool) -> bool:
    if abs(true.onset - estimated.onset) > collar_seconds + ROUNDING:
        return False
    tolerance = max(collar_seconds, offset_share * (true.offset - true.onset))
    return not offsets or abs(true.offset - estimated.offset) <= tolerance + ROUNDING


def max_bipartite_matching(neighbors: Sequence[Sequence[int]]) -> int:
    """Return the size of a maximum matching between the nodes 0, 1, ... on the left and their `neighbors` on the right.

    Augmenting paths, found by breadth-first search from each node on the left.
    """
    match_left: dict[int, int] = {}
    match_right: dict[int, int] = {}
    for root in range(len(neighbors)):
        parent: dict[int, int] = {}  # right node -> the left node that it was reached from
        queue = deque([root])
        free = None
        while queue and free is None:
            left = queue.popleft()
            for right in neighbors[left]:
                if right in parent:
                    continue
                parent[right] = left
                if right not in match_right:
                    free = right
                    break
                queue.append(match_right[right])
        while free is not None:  # walk the path back to its root: each left node swaps its partner for the free one
            left = parent[free]
            previous = match_left.get(left)
            match_left[left], match_right[free] = free, left
            free = previous
    return len(match_left)


def _micro_and_macro(true_positives: np.ndarray, predicted: np.ndarray, actual: np.ndarray) -> dict[str, float]:
    """Return precision, recall and F1, "micro" and "macro", of counts that are all (classes,)."""
    result = {}
    for kind in ("micro", "macro"):
        if kind == "micro":
            correct, found, there = (counts.sum(keepdims=True) for counts in (true_positives, predicted, actual))
        else:
            correct, found, there = (counts[actual > 0] for counts in (true_positives, predicted, actual))
        for name, part, whole in (
            ("precision", correct, found),
            ("recall", correct, there),
            ("f1", 2 * correct, found + there),
        ):
            result[f"{name}_{kind}"] = mean(np.where(there > 0, part / np.maximum(whole, 1), nan))
    return result
