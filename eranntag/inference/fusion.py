"""Rules that fuse the probabilities of several members: weighted average, Dempster-Shafer, improved Dempster-Shafer (slides,
"Fusion").

Everywhere `evidence` is (members, classes) or (members, batch, classes): each member's probabilities, soft-max outputs that
add up to 1; the results are (classes,) or (batch, classes), in float64. Independent classes (sigmoid) have two masses
each, present and absent: `fuse` and `binary_masses`. Products are sums of logarithms, so that probabilities of
exactly 0 and 1 are valid.

The improved Dempster-Shafer rule is cited in the slides without its equations. This is a reconstruction from the words
"distance matrix from evidences and modified Gini index". Members that agree with the others and that are certain have more
weight (`distances` to `weights`); the evidence averaged so is combined with itself, which sharpens it but never changes which
class is its best. Of two members the credibilities are equal: only their Gini factors distinguish the rule from a plain mean.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

Rule = Callable[[np.ndarray], np.ndarray]

WEIGHTED = "weighted-average"
TINY = 1e-7  # in the log loss a probability of 0 counts as this: about the resolution of float32 at 1


def weighted_average(evidence: np.ndarray, weights: Sequence[float] | np.ndarray = ()) -> np.ndarray:
    """sum_i w_i m_i; `weights` (members,) or (members, batch) add up to 1 over the members; none: all equal."""
    evidence = np.asarray(evidence, np.float64)
    if len(weights) == 0:
        average: np.ndarray = evidence.mean(0)
    else:
        average = np.einsum("i...,i...k->...k", np.asarray(weights, np.float64), evidence)
    return average


def dempster_shafer(evidence: np.ndarray) -> np.ndarray:
    """prod_i m_i, normalized (Dempster's rule on singletons); the equal-weight average where that is `undefined`."""
    logs = _logs(evidence).sum(0)
    lost = np.isneginf(logs).all(-1, keepdims=True)
    return np.where(lost, weighted_average(evidence), _normalized(np.where(lost, 0.0, logs)))


def undefined(evidence: np.ndarray) -> np.ndarray:
    """() or (batch,) bool: every class is impossible to some member, so that Dempster's rule has nothing to normalise."""
    impossible: np.ndarray = (np.asarray(evidence) == 0).any(0).all(-1)
    return impossible


def improved_dempster_shafer(evidence: np.ndarray) -> np.ndarray:
    """The mean weighted by credibility x Gini factor, combined with itself: a reconstruction, see above."""
    return self_combined(weighted_average(evidence, weights(evidence)), len(evidence))


def distances(evidence: np.ndarray) -> np.ndarray:
    """(members, members[, batch]) in [0, 1]: d_ij = sqrt(sum_k (m_i(k) - m_j(k))^2 / 2)."""
    evidence = np.asarray(evidence, np.float64)
    return np.stack([np.sqrt(((evidence - one) ** 2).sum(-1) / 2) for one in evidence])


def supports(evidence: np.ndarray) -> np.ndarray:
    """(members[, batch]): S_i = sum_{j != i} (1 - d_ij), how much the others agree."""
    closeness = np.maximum(1 - distances(evidence), 0)  # float32 probabilities may add up to a little more than 1
    closeness[np.diag_indices(len(closeness))] = 0
    sums: np.ndarray = closeness.sum(0)
    return sums


def credibilities(evidence: np.ndarray) -> np.ndarray:
    """(members[, batch]): the supports in proportion; equal where all are 0."""
    return _in_proportion(supports(evidence))


def gini(evidence: np.ndarray) -> np.ndarray:
    """(members[, batch]): impurity 1 - sum_k m_i(k)^2, 0 for a member that is certain."""
    impurity: np.ndarray = 1 - (np.asarray(evidence, np.float64) ** 2).sum(-1)
    return impurity


def gini_factors(evidence: np.ndarray) -> np.ndarray:
    """(members[, batch]): exp(-impurity)."""
    factors: np.ndarray = np.exp(-gini(evidence))
    return factors


def weights(evidence: np.ndarray) -> np.ndarray:
    """(members[, batch]): credibility x Gini factor in proportion, the weights of `improved_dempster_shafer`."""
    return _in_proportion(credibilities(evidence) * gini_factors(evidence))


def self_combined(probabilities: np.ndarray, members: int) -> np.ndarray:
    """Dempster's rule on `members` times the same evidence: m(k)^n in proportion."""
    return _normalized(members * _logs(probabilities))


RULES: Mapping[str, Rule] = {
    WEIGHTED: weighted_average,
    "dempster-shafer": dempster_shafer,
    "improved-dempster-shafer": improved_dempster_shafer,
}


def fuse(evidence: np.ndarray, rule: str, activation: str = "softmax", weights: Sequence[float] = ()) -> np.ndarray:
    """By one of RULES, for clips of one class ("softmax") or of any number of them ("sigmoid"); `weights` are for the weighted
    average, which is the same for both."""
    if rule == WEIGHTED:
        return weighted_average(evidence, weights)
    return RULES[rule](evidence) if activation == "softmax" else RULES[rule](binary_masses(evidence))[..., 0]


def rule_error(members: int, rule: str, weights: Sequence[float] = ()) -> str:
    """Why this number of members cannot be fused by `rule` with `weights`, in words; "" if they can. No `weights` are equal."""
    if rule not in RULES:
        return f"fusion {rule!r} is none of {', '.join(RULES)}"
    if weights and rule != WEIGHTED:
        return f"weights are for {WEIGHTED}, not for {rule}"
    if weights and len(weights) != members:
        return f"{len(weights)} weights for {members} members"
    if weights and not (min(weights) >= 0 and abs(sum(weights) - 1) <= 1e-6):
        return f"weights must be 0 or more, and must add up to 1: {', '.join(map(str, weights))}"
    return ""


def binary_masses(evidence: np.ndarray) -> np.ndarray:
    """(members, ..., classes) of independent classes -> (members, ..., classes, 2): present and absent, for any rule."""
    evidence = np.asarray(evidence, np.float64)
    return np.stack([evidence, 1 - evidence], -1)


def true_class_probabilities(evidence: np.ndarray, targets: np.ndarray, activation: str = "softmax") -> np.ndarray:
    """(members, facts): each member's probability of what is true, from `evidence` (members, clips, classes) and `targets`
    (clips, classes) bool. A fact is the one class of a clip, or for independent classes whether each is present."""
    evidence = np.asarray(evidence, np.float64)
    if activation == "softmax":
        return evidence[:, targets]
    return np.where(targets, evidence, 1 - evidence).reshape(len(evidence), -1)


def log_loss(probabilities: np.ndarray, weights: Sequence[float] | np.ndarray) -> float:
    """The log loss in nats per fact of the weighted average of `true_class_probabilities`."""
    return float(-np.log(np.maximum(np.asarray(weights) @ probabilities, TINY)).mean())


def fitted_weights(probabilities: np.ndarray, gap: float = 1e-6, steps: int = 10_000) -> np.ndarray:
    """(members,): the weights of the smallest `log_loss`, which is convex in them, so that there is one lowest value.

    Expectation maximization: w_i <- w_i g_i with g_i = mean_n(q_in / sum_j w_j q_jn), q the `true_class_probabilities`. It
    stays on the simplex and its loss never rises. By convexity that is within max_i g_i - 1 of the lowest: it stops below `gap`
    nats.
    """
    probabilities = np.maximum(probabilities, TINY)
    found = np.full(len(probabilities), 1 / len(probabilities))
    for _ in range(steps):
        gains = (probabilities / (found @ probabilities)).mean(1)
        if gains.max() - 1 < gap:
            break
        found = found * gains
    weights: np.ndarray = found / found.sum()
    return weights


def _logs(probabilities: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        logs: np.ndarray = np.log(np.asarray(probabilities, np.float64))
    return logs


def _normalized(logs: np.ndarray) -> np.ndarray:
    powers: np.ndarray = np.exp(logs - logs.max(-1, keepdims=True))
    powers /= powers.sum(-1, keepdims=True)
    return powers


def _in_proportion(values: np.ndarray) -> np.ndarray:
    """Over the members; equal where all are 0."""
    total = values.sum(0)
    safe = np.where(total > 0, total, 1.0)
    return np.where(total > 0, values / safe, 1 / len(values))
