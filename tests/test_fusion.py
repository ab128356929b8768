"""Fusion rules: the independent numbers, the paradoxes that they were invented for, and what must hold for any evidence."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from eranntag.inference import fusion

CASES = (
    "two_agree two_disagree three five_class_softmax single total_conflict complete_conflict_paradox zero_trust_paradox "
    "one_trust_paradox high_conflict_paradox"
).split()
STEPS = {
    "distance": fusion.distances,
    "support": fusion.supports,
    "credibility": fusion.credibilities,
    "gini": fusion.gini,
    "gini_factor": fusion.gini_factors,
    "weight": fusion.weights,
    "weighted_evidence": lambda evidence: fusion.weighted_average(evidence, fusion.weights(evidence)),
    "fused": fusion.improved_dempster_shafer,
}
SURE = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def evidence_of(members: int = 4, clips: int = 6, classes: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.5), (members, clips))


def assert_equal(ours: np.ndarray, expected: Any) -> None:
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-9)


# The independent numbers


def test_every_case_of_the_oracle_is_here(oracle: Callable[[str], Any]) -> None:
    assert set(oracle("fusion")["cases"]) == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_the_rules_give_the_oracles_numbers(name: str, oracle: Callable[[str], Any]) -> None:
    case = oracle("fusion")["cases"][name]
    evidence = np.array(case["evidence"])
    assert_equal(fusion.weighted_average(evidence), case["wa_equal"])
    assert_equal(fusion.weighted_average(evidence, case["wa_weights"]), case["wa_weighted"])
    assert_equal(fusion.dempster_shafer(evidence), case["ds_fused_with_fallback"])
    assert bool(fusion.undefined(evidence)) == (case["ds_fused"] is None)
    assert_equal(fusion.self_combined(evidence.mean(0), len(evidence)), case["murphy"])
    if case["deng"]:  # else all supports are 0, and its credibilities are undefined
        by_credibility = fusion.weighted_average(evidence, fusion.credibilities(evidence))
        assert_equal(fusion.self_combined(by_credibility, len(evidence)), case["deng"])


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("name", CASES)
def test_every_step_of_the_improved_rule_gives_the_oracles_numbers(name: str, step: str, oracle: Callable[[str], Any]) -> None:
    case = oracle("fusion")["cases"][name]
    assert_equal(STEPS[step](np.array(case["evidence"])), case["ids"][step])
    assert fusion.improved_dempster_shafer(np.array(case["evidence"])).argmax() == case["ids"]["argmax"]


def test_independent_classes_give_the_oracles_numbers(oracle: Callable[[str], Any]) -> None:
    case = oracle("fusion")["multi_label_binary_ds"]
    evidence = np.array(case["evidence_probabilities (models x classes)"])
    assert_equal(fusion.fuse(evidence, "dempster-shafer", "sigmoid"), case["fused"])


# The paradoxes of Dempster's rule, and how the improved one ends them


@pytest.mark.parametrize(
    ("name", "plain", "improved"),
    [
        ("complete_conflict_paradox", None, (0, 0.9995)),
        ("zero_trust_paradox", (0, 0.0), (0, 0.595)),
        ("one_trust_paradox", (1, 1.0), (2, 0.997)),
        ("high_conflict_paradox", (0, 0.0), (0, 0.9965)),
    ],
)
def test_the_improved_rule_resolves_the_paradoxes(
    name: str, plain: tuple[int, float] | None, improved: tuple[int, float], oracle: Callable[[str], Any]
) -> None:
    evidence = np.array(oracle("fusion")["cases"][name]["evidence"])
    if plain is None:
        assert fusion.undefined(evidence)
    else:
        assert fusion.dempster_shafer(evidence)[plain[0]] == pytest.approx(plain[1])
    fused = fusion.improved_dempster_shafer(evidence)
    assert fused.argmax() == improved[0] and fused[improved[0]] == pytest.approx(improved[1], abs=5e-4)


# What holds for any evidence


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("rule", fusion.RULES)
class TestAnyEvidence:
    def test_a_batch_is_its_clips(self, rule: str, activation: str) -> None:
        evidence = evidence_of()
        each = [fusion.fuse(evidence[:, clip], rule, activation) for clip in range(evidence.shape[1])]
        assert_equal(fusion.fuse(evidence, rule, activation), each)

    def test_the_order_of_the_members_does_not_matter(self, rule: str, activation: str) -> None:
        evidence = evidence_of()
        assert_equal(fusion.fuse(evidence[[2, 0, 3, 1]], rule, activation), fusion.fuse(evidence, rule, activation))

    def test_the_order_of_the_classes_does_not_matter(self, rule: str, activation: str) -> None:
        evidence, order = evidence_of(), [3, 1, 4, 0, 2]
        shuffled = fusion.fuse(evidence[..., order], rule, activation)
        assert_equal(shuffled, fusion.fuse(evidence, rule, activation)[..., order])

    def test_one_member_is_believed(self, rule: str, activation: str) -> None:
        evidence = evidence_of(members=1)
        assert_equal(fusion.fuse(evidence, rule, activation), evidence[0])

    def test_results_are_probabilities_whatever_the_logits(self, rule: str, activation: str) -> None:
        with np.errstate(under="ignore"):
            logits = 2000 * np.random.default_rng(1).standard_normal((5, 40, 7))
            evidence = np.exp(logits - logits.max(-1, keepdims=True))
        evidence = np.concatenate([(evidence / evidence.sum(-1, keepdims=True)), np.broadcast_to(np.eye(7), (5, 7, 7))], 1)
        evidence[:, -3:] = np.roll(np.eye(7), 3, 0)[:5, None]  # each member is sure of another class
        fused = fusion.fuse(evidence.astype(np.float32), rule, activation)
        assert fused.dtype == np.float64 and np.isfinite(fused).all()
        assert fused.min() >= 0 and fused.max() <= 1 + 1e-6
        if activation == "softmax":
            np.testing.assert_allclose(fused.sum(-1), 1, atol=1e-6)

    def test_agreement_is_at_least_kept(self, rule: str, activation: str) -> None:
        evidence = np.broadcast_to([0.6, 0.3, 0.1], (3, 3))
        fused = fusion.fuse(evidence, rule, activation)
        if rule == fusion.WEIGHTED:
            assert_equal(fused, evidence[0])
        else:  # three times the same evidence: p^3 in proportion
            power = np.array([0.6, 0.3, 0.1]) ** 3
            rest = power.sum() if activation == "softmax" else power + (1 - np.array([0.6, 0.3, 0.1])) ** 3
            assert_equal(fused, power / rest)

    def test_lost_scores_stay_lost_and_alone(self, rule: str, activation: str) -> None:
        evidence = evidence_of()
        evidence[1, 2, 3] = np.nan
        fused = fusion.fuse(evidence, rule, activation)
        assert np.isnan(fused[2, 3]) and np.isfinite(fused[[0, 1, 3, 4, 5]]).all()


def test_a_member_that_knows_nothing_changes_nothing_by_dempsters_rule() -> None:
    evidence = evidence_of()
    neutral = np.full((1, 6, 5), 1 / 5)
    assert_equal(fusion.dempster_shafer(np.concatenate([evidence, neutral])), fusion.dempster_shafer(evidence))
    neutral = np.full((1, 6, 5), 0.5)
    expected = fusion.fuse(evidence, "dempster-shafer", "sigmoid")
    assert_equal(fusion.fuse(np.concatenate([evidence, neutral]), "dempster-shafer", "sigmoid"), expected)


def test_dempsters_rule_is_associative() -> None:
    evidence = evidence_of()
    step = evidence[0]
    for member in evidence[1:]:
        step = fusion.dempster_shafer(np.stack([step, member]))
    assert_equal(fusion.dempster_shafer(evidence), step)


def test_what_dempsters_rule_cannot_say_is_the_average_and_is_counted() -> None:
    evidence = np.stack([SURE, [[0.7, 0.2, 0.1], [0.0, 0.5, 0.5]]], 1)  # (members, clips, classes)
    np.testing.assert_array_equal(fusion.undefined(evidence), [True, False])
    assert_equal(fusion.dempster_shafer(evidence), [[0.5, 0.5, 0], [0, 2 / 3, 1 / 3]])
    pairs = fusion.binary_masses(SURE)
    np.testing.assert_array_equal(fusion.undefined(pairs), [True, True, False])
    assert_equal(fusion.fuse(SURE, "dempster-shafer", "sigmoid"), [0.5, 0.5, 0])


def test_products_below_the_smallest_number_are_no_conflict() -> None:
    evidence = np.full((50, 3), [1e-200, 2e-200, 1.0])
    evidence[25:] = [1.0, 2e-200, 1e-200]
    assert not fusion.undefined(evidence)
    assert_equal(fusion.dempster_shafer(evidence), [0.5, 0, 0.5])


def test_the_improved_rule_never_changes_the_best_class_of_its_average() -> None:
    evidence = evidence_of(members=6, clips=200)
    average = fusion.weighted_average(evidence, fusion.weights(evidence))
    fused = fusion.improved_dempster_shafer(evidence)
    np.testing.assert_array_equal(fused.argmax(-1), average.argmax(-1))
    assert (fused.max(-1) >= average.max(-1)).all()


def test_two_members_are_equally_credible_and_the_surer_one_weighs_more() -> None:
    evidence = evidence_of(members=2)
    assert_equal(fusion.credibilities(evidence), np.full((2, 6), 0.5))
    heavier, surer = fusion.weights(evidence).argmax(0), fusion.gini(evidence).argmin(0)
    np.testing.assert_array_equal(heavier, surer)


def test_a_member_that_contradicts_the_others_is_less_credible() -> None:
    evidence = np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]])
    assert fusion.credibilities(evidence).argmin() == 2
    assert fusion.distances(SURE)[0, 1] == 1  # as far as can be


@pytest.mark.parametrize(
    ("members", "rule", "weights", "words"),
    [
        (2, "weighted-averag", (), "fusion 'weighted-averag' is none of weighted-average, dempster-shafer, improved"),
        (3, "weighted-average", (0.5, 0.5), "2 weights for 3 members"),
        (2, "weighted-average", (1.5, -0.5), "must be 0 or more, and must add up to 1"),
        (2, "weighted-average", (0.5, 0.4), "must be 0 or more, and must add up to 1: 0.5, 0.4"),
        (2, "weighted-average", (float("nan"), 0.5), "must be 0 or more"),
        (2, "dempster-shafer", (0.5, 0.5), "weights are for weighted-average, not for dempster-shafer"),
    ],
)
def test_what_cannot_be_fused_is_told(members: int, rule: str, weights: tuple[float, ...], words: str) -> None:
    assert re.search(words, fusion.rule_error(members, rule, weights))


def test_good_weights_have_no_flaw() -> None:
    assert fusion.rule_error(3, "weighted-average", (1 / 3, 1 / 3, 1 / 3)) == fusion.rule_error(2, "dempster-shafer") == ""
    assert fusion.rule_error(2, "weighted-average", (1, 0)) == ""


# Weights from clips


def drawn(evidence: np.ndarray, mixture: tuple[float, ...]) -> np.ndarray:
    """Targets (clips, classes) drawn from a mixture of what the members say."""
    truth = np.einsum("i,ick->ck", mixture, evidence)
    classes = (truth.cumsum(1) > np.random.default_rng(0).random((len(truth), 1))).argmax(1)
    return np.arange(truth.shape[1]) == classes[:, None]


def test_fitted_weights_find_the_mixture_that_the_truth_comes_from() -> None:
    evidence = evidence_of(3, 20_000, 4)
    fitted = fusion.fitted_weights(fusion.true_class_probabilities(evidence, drawn(evidence, (0.6, 0.3, 0.1))))
    np.testing.assert_allclose(fitted, (0.6, 0.3, 0.1), atol=0.02)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_no_weights_of_a_grid_are_better_than_the_fitted_ones(activation: str) -> None:
    evidence = evidence_of(3, 60, 4, seed=3)
    targets = np.eye(4, dtype=bool)[np.random.default_rng(5).integers(0, 4, 60)]
    targets[:, 2] |= activation == "sigmoid"
    said = fusion.true_class_probabilities(evidence, targets, activation)
    fitted = fusion.fitted_weights(said)
    grid = [(i / 20, j / 20, 1 - (i + j) / 20) for i in range(21) for j in range(21 - i)]
    assert min(fusion.log_loss(said, weights) for weights in grid) >= fusion.log_loss(said, fitted) - 1e-6
    assert fitted.sum() == pytest.approx(1) and fitted.min() >= 0


def test_the_log_loss_of_independent_classes_is_the_binary_cross_entropy() -> None:
    evidence, targets = evidence_of(2, 8, 4), np.random.default_rng(2).random((8, 4)) < 0.3
    average = fusion.weighted_average(evidence, (0.25, 0.75))
    expected = -(targets * np.log(average) + ~targets * np.log(1 - average)).mean()
    said = fusion.true_class_probabilities(evidence, targets, "sigmoid")
    assert fusion.log_loss(said, (0.25, 0.75)) == pytest.approx(expected)


def test_a_member_that_only_knows_wrong_answers_gets_no_weight() -> None:
    targets = np.eye(3, dtype=bool)[[0, 1, 2, 0]]
    evidence = np.stack([0.8 * targets + 0.2 * (1 - targets) / 2, (1.0 - targets) / 2])
    fitted = fusion.fitted_weights(fusion.true_class_probabilities(evidence, targets))
    assert fitted[1] < 1e-3
