"""Measures of tags and of events against the truth: pure, exact functions of arrays.

`scores` are (clips, classes), `targets` bool of the same shape unless a docstring says otherwise. The definitions are
scikit-learn's, which the papers' code uses: no interpolation, equal scores share a threshold. A measure that a class
cannot have is NaN, and `mean` leaves it out.
"""

from collections.abc import Callable, Mapping, Sequence
from math import ceil, copysign, floor, inf, isnan, nan, sqrt
from statistics import NormalDist

import numpy as np

from eranntag.types import Event

Clips = Sequence[Sequence[Event]]  # the events of each clip
Curve = tuple[np.ndarray, np.ndarray, np.ndarray]
Measure = Callable[[np.ndarray, np.ndarray], float]  # of one class: (clips,), (clips,)
ROUNDING = 1e-9  # seconds: 2.2 - 2.0 is more than 0.2


def multi_hot(targets: Sequence[tuple[int, ...]], classes: int) -> np.ndarray:
    """Class indices of every clip -> (clips, classes) bool."""
    matrix = np.zeros((len(targets), classes), bool)
    for row, indices in zip(matrix, targets, strict=True):
        row[list(indices)] = True
    return matrix


def accuracy(scores: np.ndarray, targets: np.ndarray) -> float:
    """Share of clips whose best class is the right one: targets (clips,) class indices."""
    return float((scores.argmax(1) == targets).mean())


def confusion_matrix(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(classes, classes) counts, targets (clips,) class indices: the row is the true class, the column the best one."""
    matrix = np.zeros((scores.shape[1], scores.shape[1]), np.int64)
    np.add.at(matrix, (targets, scores.argmax(1)), 1)
    return matrix


def curve(scores: np.ndarray, targets: np.ndarray) -> Curve:
    """(thresholds, hits, said) of one class, both arguments (clips,): every different score of a clip that has the class,
    highest first, and how many clips reach it: those that have the class, and all.

    Precision is hits / said, recall hits / hits[-1]. A threshold between two of these only adds mistakes to the higher one.
    """
    thresholds, counts = np.unique(scores[targets], return_counts=True)
    said = len(scores) - np.searchsorted(np.sort(scores), thresholds)
    return thresholds[::-1], np.cumsum(counts[::-1]), said[::-1]


def average_precision(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(classes,): sum over the thresholds of (gain in recall) x precision. NaN for a class without positives."""
    return _each_class(_average_precision, scores, targets)


def micro_average_precision(scores: np.ndarray, targets: np.ndarray) -> float:
    """The average precision of all pairs of clip and class in one list."""
    return _average_precision(scores.ravel(), targets.ravel())


def roc_auc(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(classes,): how often a clip with the class scores higher than one without, equal scores counting 1/2.

    NaN for a class that no clip or every clip has.
    """
    return _each_class(_roc_auc, scores, targets)


def measure(name: str, scores: np.ndarray, targets: np.ndarray) -> float:
    """The measure that recipes call `name`: "accuracy", where each clip has one class, "mAP" or "micro_AP"; NaN without clips
    or positives. KeyError for another."""
    measures: dict[str, Callable[[], float]] = {
        "accuracy": lambda: accuracy(scores, targets.argmax(1)),
        "mAP": lambda: mean(average_precision(scores, targets)),
        "micro_AP": lambda: micro_average_precision(scores, targets),
    }
    return measures[name]() if targets.any() else nan


def d_prime(auc: float) -> float:
    """sqrt(2) x the inverse normal distribution of the *mean* AUC (not the mean of the classes' d'); inf for 1."""
    if isnan(auc) or auc in (0, 1):
        return nan if isnan(auc) else copysign(inf, auc - 0.5)
    return sqrt(2) * NormalDist().inv_cdf(auc)


def mean(values: np.ndarray) -> float:
    """The mean of the classes that have a value, such as mAP; NaN when none has."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else nan


def decisions(said: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Precision, recall and F1 of decisions, such as `scores >= 0.5`; both arguments bool (clips, classes).

    "micro" counts all pairs of clip and class; "macro" is the mean over the classes with a positive, where the precision of
    a class that was never said is 0. All are NaN when there is no positive at all.
    """
    return _averages((said & targets).sum(0), said.sum(0), targets.sum(0))


def segment_decisions(
    reference: Clips, estimated: Clips, labels: Sequence[str], segment_seconds: float = 1.0
) -> dict[str, float]:
    """`decisions` of (segments, classes): a class is there, or said, in every segment that one of its events touches.

    Mesaros et al., "Metrics for Polyphonic Sound Event Detection", 2016. As sed_eval computes it with zero for what was never
    said. Segments that no event touches count nowhere.
    """
    index = {label: at for at, label in enumerate(labels)}
    counts = np.zeros((3, len(labels)), np.int64)
    for clip in zip(reference, estimated, strict=True):
        there, said = (_touched(events, index, segment_seconds) for events in clip)
        for row, cells in zip(counts, (there & said, said, there), strict=True):
            for at, _ in cells:
                row[at] += 1
    return _averages(*counts)


def event_decisions(
    reference: Clips,
    estimated: Clips,
    labels: Sequence[str],
    collar_seconds: float = 0.2,
    offset_share: float = 0.2,
    offsets: bool = True,
) -> dict[str, float]:
    """Precision, recall and F1 of whole events, "micro" and "macro" as in `decisions`.

    An estimated event is right when a true one of its class begins within `collar_seconds` of it and, with `offsets`, ends
    within the larger of `collar_seconds` and `offset_share` of the true one's length: DCASE's usual values (sed_eval's own
    share is 0.5). Each event is matched at most once, and as many as possible are.
    """
    counts = np.zeros((3, len(labels)), np.int64)
    for true, said in zip(reference, estimated, strict=True):
        for at, label in enumerate(labels):
            ours, theirs = ([event for event in events if event.label == label] for events in (said, true))
            near = [
                [other for other, event in enumerate(theirs) if _same(event, mine, collar_seconds, offset_share, offsets)]
                for mine in ours
            ]
            counts[:, at] += (_matched(near), len(ours), len(theirs))
    return _averages(*counts)


def best_f1(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(classes,): the highest F1 that any threshold reaches on these very clips; NaN for a class without positives."""
    return _each_class(_best_f1, scores, targets)


def best_thresholds(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(classes,): the threshold with the highest F1, for scores in [0, 1]; a clip has the class when its score reaches it.

    All thresholds between two neighbouring scores decide alike on these clips: the one midway is the safest for others
    (below the lowest score: midway to 0). Where several neighbours give the same F1, the highest threshold, which says
    least, is taken. A class without positives teaches nothing and gets 0.5.
    """
    return _each_class(_best_threshold, scores, targets)


def _each_class(measure: Measure, scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    columns = zip(np.ascontiguousarray(scores.T), np.ascontiguousarray(targets.T), strict=True)
    return np.array([measure(*column) for column in columns], np.float64)


def _average_precision(scores: np.ndarray, targets: np.ndarray) -> float:
    _, hits, said = curve(scores, targets)
    return float((np.diff(hits, prepend=0) * (hits / said)).sum() / hits[-1]) if len(hits) else nan


def _roc_auc(scores: np.ndarray, targets: np.ndarray) -> float:
    having, lacking = scores[targets], np.sort(scores[~targets])
    below, not_above = (int(np.searchsorted(lacking, having, side).sum()) for side in ("left", "right"))
    pairs = len(having) * len(lacking)
    return (below + not_above) / (2 * pairs) if pairs else nan


def _best_f1(scores: np.ndarray, targets: np.ndarray) -> float:
    return float(_f1(scores, targets)[1].max()) if targets.any() else nan


def _best_threshold(scores: np.ndarray, targets: np.ndarray) -> float:
    if not targets.any():
        return 0.5
    thresholds, f1 = _f1(scores, targets)
    best = thresholds[f1.argmax()]  # the first of the highest, so the highest threshold
    below = scores.max(where=scores < best, initial=0)
    midway = (best + below) / 2
    return float(midway if midway > below else best)  # two scores may be too near for a number between


def _f1(scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(thresholds, F1): 2 PR / (P + R), as 2 x right / (said + true)."""
    thresholds, hits, said = curve(scores, targets)
    return thresholds, 2 * hits / (said + hits[-1])


def _averages(right: np.ndarray, said: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Counts of each class, all (classes,) -> precision, recall and F1, "micro" and "macro"."""
    kinds = {
        "micro": tuple(count.sum(keepdims=True) for count in (right, said, true)),
        "macro": tuple(count[true > 0] for count in (right, said, true)),
    }
    return {f"{name}_{kind}": mean(value) for kind, counts in kinds.items() for name, value in _decisions(*counts).items()}


def _decisions(right: np.ndarray, said: np.ndarray, true: np.ndarray) -> dict[str, np.ndarray]:
    parts = {"precision": (right, said), "recall": (right, true), "f1": (2 * right, said + true)}
    return {name: np.where(true > 0, part / np.maximum(whole, 1), nan) for name, (part, whole) in parts.items()}


def _touched(events: Sequence[Event], index: Mapping[str, int], segment_seconds: float) -> set[tuple[int, int]]:
    """(class, segment) of all segments that events reach into."""
    return {
        (index[event.label], segment)
        for event in events
        for segment in range(
            floor((event.onset + ROUNDING) / segment_seconds), ceil((event.offset - ROUNDING) / segment_seconds)
        )
    }


def _same(true: Event, said: Event, collar_seconds: float, offset_share: float, offsets: bool) -> bool:
    """Whether they begin, and with `offsets` end, at about the same time."""
    late = max(collar_seconds, offset_share * (true.offset - true.onset))
    begin = abs(true.onset - said.onset) <= collar_seconds + ROUNDING
    return begin and (not offsets or abs(true.offset - said.offset) <= late + ROUNDING)


def _matched(near: Sequence[Sequence[int]]) -> int:
    """The most pairs that can be made when `near` says whom each may be paired with, and nobody is in two."""
    takes: dict[int, int] = {}
    taken_by: dict[int, int] = {}
    for one in range(len(near)):
        asked_by: dict[int, int] = {}
        asking, free = [one], None
        for each in asking:  # grows: whoever stands in the way is asked to move on to another
            for other in near[each]:
                if other not in asked_by and free is None:
                    asked_by[other] = each
                    if other in taken_by:
                        asking.append(taken_by[other])
                    else:
                        free = other
        while free is not None:  # back along those who asked: each takes the next and gives up its own
            each = asked_by[free]
            taken_by[free] = each
            takes[each], free = free, takes.get(each)
    return len(takes)
