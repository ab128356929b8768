"""Measures beside the oracle's numbers, scikit-learn's where it is installed, and cases whose answer is known."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from eranntag.evaluation import metrics

Oracle = Callable[[str], Any]


@pytest.fixture
def case(oracle: Oracle) -> Any:
    return oracle("metrics")


@pytest.fixture
def scores(case: Any) -> np.ndarray:
    return np.array(case["scores"])


@pytest.fixture
def targets(case: Any) -> np.ndarray:
    return np.array(case["targets"], bool)


def ties(seed: int, clips: int = 300, classes: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Scores on a coarse grid: every threshold is shared by many clips."""
    rng = np.random.default_rng(seed)
    targets = rng.random((clips, classes)) < np.linspace(0.02, 0.7, classes)
    targets[0] = True
    return (np.round(rng.random((clips, classes)) + 0.3 * targets, 1) / 1.3).astype(np.float32), targets


def test_average_precision_of_classes_and_pairs(case: Any, scores: np.ndarray, targets: np.ndarray) -> None:
    values = metrics.average_precision(scores, targets)
    np.testing.assert_allclose(values, case["average_precision"], rtol=1e-12)
    assert metrics.mean(values) == pytest.approx(case["mAP"], rel=1e-12)
    assert metrics.mean(values) == pytest.approx(case["average_precision_macro"], rel=1e-12)
    assert metrics.micro_average_precision(scores, targets) == pytest.approx(case["average_precision_micro"], rel=1e-12)


def test_roc_auc_and_d_prime_of_its_mean(case: Any, scores: np.ndarray, targets: np.ndarray) -> None:
    values = metrics.roc_auc(scores, targets)
    np.testing.assert_allclose(values, case["roc_auc"], rtol=1e-12)
    assert metrics.mean(values) == pytest.approx(case["mAUC"], rel=1e-12)
    assert metrics.d_prime(metrics.mean(values)) == pytest.approx(case["d_prime_of_mAUC"], rel=1e-9)
    pairs = metrics.roc_auc(scores.reshape(-1, 1), targets.reshape(-1, 1))
    assert pairs[0] == pytest.approx(case["roc_auc_micro"], rel=1e-12)


def test_d_prime_beside_a_table(case: Any) -> None:
    table = case["d_prime_table"]
    np.testing.assert_allclose([metrics.d_prime(auc) for auc in table["auc"]], table["d_prime"], rtol=1e-9, atol=1e-12)
    assert [metrics.d_prime(auc) for auc in (0.0, 1.0)] == [-math.inf, math.inf]
    assert math.isnan(metrics.d_prime(math.nan))


def test_decisions_from_a_half_on(case: Any, scores: np.ndarray, targets: np.ndarray) -> None:
    values = metrics.precision_recall_f1(scores >= case["threshold"], targets)
    assert values == pytest.approx({name: case[name] for name in values}, rel=1e-12)
    assert len(values) == 6


def test_one_class_a_clip(case: Any) -> None:
    case = case["single_label"]
    scores, target = np.array(case["scores"]), np.array(case["target"])
    truth = target[:, None] == np.arange(scores.shape[1])
    assert scores.argmax(1).tolist() == case["prediction"]
    assert metrics.accuracy(scores, target) == case["accuracy"]
    assert metrics.mean(metrics.average_precision(scores, truth)) == pytest.approx(case["mAP_one_vs_rest"], rel=1e-12)
    said = scores.argmax(1)[:, None] == np.arange(scores.shape[1])
    assert metrics.precision_recall_f1(said, truth)["f1_macro"] == pytest.approx(case["f1_macro"], rel=1e-12)


def test_a_class_without_positives_is_left_out(case: Any) -> None:
    case = case["degenerate"]
    scores, targets = np.array(case["scores"]), np.array(case["targets"], bool)
    precision, auc = metrics.average_precision(scores, targets), metrics.roc_auc(scores, targets)
    np.testing.assert_array_equal(np.isnan([precision, auc, metrics.best_f1(scores, targets)]), [[False, True]] * 3)
    assert (metrics.mean(precision), metrics.mean(auc)) == (case["mAP"], case["mAUC"])
    assert metrics.precision_recall_f1(scores >= 0.3, targets)["f1_macro"] == 1  # of the other class alone


def test_a_class_that_every_clip_has_is_left_out_of_the_auc_alone() -> None:
    scores, targets = np.array([[0.1], [0.2]]), np.ones((2, 1), bool)
    assert metrics.average_precision(scores, targets) == 1
    assert np.isnan(metrics.roc_auc(scores, targets)).all()
    assert math.isnan(metrics.mean(np.array([np.nan])))


def test_equal_scores_say_nothing() -> None:
    scores, targets = np.full((10, 1), 0.3), np.arange(10)[:, None] < 4
    assert metrics.average_precision(scores, targets) == 0.4
    assert metrics.roc_auc(scores, targets) == 0.5


@pytest.mark.parametrize("seed", range(5))
def test_the_auc_counts_pairs(seed: int) -> None:
    scores, targets = ties(seed, clips=60)
    for index, auc in enumerate(metrics.roc_auc(scores, targets)):
        having, lacking = scores[targets[:, index], index], scores[~targets[:, index], index]
        above = (having[:, None] > lacking).sum() + 0.5 * (having[:, None] == lacking).sum()
        expected = above / (len(having) * len(lacking)) if len(having) and len(lacking) else np.nan
        assert auc == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("seed", range(5))
def test_scikit_learn_agrees_on_ties(seed: int) -> None:
    reference = pytest.importorskip("sklearn.metrics")
    scores, targets = ties(seed)
    ours = metrics.average_precision(scores, targets)
    np.testing.assert_allclose(ours, reference.average_precision_score(targets, scores, average=None), rtol=1e-9)
    micro = reference.average_precision_score(targets, scores, average="micro")
    assert metrics.micro_average_precision(scores, targets) == pytest.approx(micro, rel=1e-9)
    np.testing.assert_allclose(metrics.roc_auc(scores, targets), reference.roc_auc_score(targets, scores, average=None))
    decisions = metrics.precision_recall_f1(scores >= 0.7, targets)
    for kind in ("micro", "macro"):
        options = {"average": kind, "zero_division": 0}
        assert decisions[f"precision_{kind}"] == pytest.approx(reference.precision_score(targets, scores >= 0.7, **options))
        assert decisions[f"recall_{kind}"] == pytest.approx(reference.recall_score(targets, scores >= 0.7, **options))
        assert decisions[f"f1_{kind}"] == pytest.approx(reference.f1_score(targets, scores >= 0.7, **options))


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_is_better_than_the_best(seed: int) -> None:
    scores, targets = ties(seed, clips=80)
    grid = np.linspace(0, 1, 1001)
    tried = np.array([_f1(scores >= threshold, targets) for threshold in grid])
    best = _f1(scores >= metrics.best_thresholds(scores, targets), targets)
    np.testing.assert_allclose(best, tried.max(0))
    np.testing.assert_allclose(metrics.best_f1(scores, targets), tried.max(0))


def _f1(said: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return 2 * (said & targets).sum(0) / (said.sum(0) + targets.sum(0))


@pytest.mark.parametrize(
    ("scores", "targets", "expected"),
    [
        pytest.param([0.9, 0.7, 0.3, 0.1], [1, 1, 0, 0], 0.5, id="midway between the classes"),
        pytest.param([0.5, 0.25, 0.125], [1, 1, 1], 0.0625, id="below the lowest score, midway to 0"),
        pytest.param([0.9, 0.7, 0.5, 0.3], [1, 0, 0, 1], 0.8, id="F1 2/3 from 0.8 and from 0.15 on: the highest"),
        pytest.param([0.9, 0.7], [0, 0], 0.5, id="no positive"),
        pytest.param([0.6, 0.6, 0.2], [1, 0, 0], 0.4, id="a tie across the classes"),
    ],
)
def test_best_thresholds_by_hand(scores: list[float], targets: list[int], expected: float) -> None:
    found = metrics.best_thresholds(np.array(scores)[:, None], np.array(targets, bool)[:, None])
    assert found == pytest.approx([expected])


def test_a_threshold_between_neighbours_still_separates_them() -> None:
    high = np.float32(0.5)
    low = np.nextafter(high, np.float32(0))
    scores = np.array([[high], [low]])
    assert (scores >= metrics.best_thresholds(scores, np.array([[True], [False]]))).tolist() == [[True], [False]]


def test_a_tie_goes_to_the_first_class() -> None:
    scores = np.array([[0.5, 0.5, 0.1], [0.1, 0.2, 0.2]])
    assert metrics.accuracy(scores, np.array([0, 2])) == 0.5
    np.testing.assert_array_equal(metrics.confusion_matrix(scores, np.array([0, 2])), [[1, 0, 0], [0, 0, 0], [0, 1, 0]])
