"""Rules that make one opinion of several: weighted average, Dempster-Shafer, improved Dempster-Shafer (slides, "Fusion").

Everywhere `evidence` is (members, classes) or (members, batch, classes): each member's probabilities, soft-max outputs that
add up to 1; the results are (classes,) or (batch, classes), in float64. Where classes are independent (sigmoid) each one is a
frame of its own of two elements, present and absent: `fuse` and `frames`. Products are sums of logarithms, and probabilities of
exactly 0 and 1 are welcome.

The improved Dempster-Shafer rule is cited in the slides without its equations. What is here is this project's reconstruction
from the words "distance matrix from evidences and modified Gini index". Members that agree with the others and that are sure
weigh more (`distances` to `weights`); the evidence averaged so is combined with itself, which sharpens it but never changes
which class is its best. Of two members the credibilities are equal: only their Gini factors tell the rule from a plain mean.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

Rule = Callable[[np.ndarray], np.ndarray]

WEIGHTED = "weighted-average"
TINY = 1e-7  # in the log loss a probability of 0 counts as this: about what float32 tells from 1


def weighted_average(evidence: np.ndarray, weights: Sequence[float] | np.ndarray = ()) -> np.ndarray:
    """sum_i w_i m_i; `weights` (members,) or (members, batch) add up to 1 over the members; none: all equal."""
    evidence = np.asarray(evidence, np.float64)
    if len(weights) == 0:
        return evidence.mean(0)
    return np.einsum("i...,i...k->...k", np.asarray(weights, np.float64), evidence)


def dempster_shafer(evidence: np.ndarray) -> np.ndarray:
    """prod_i m_i, normalised (Dempster's rule on singletons); the equal-weight average where that is `undefined`."""
    logs = _logs(evidence).sum(0)
    lost = np.isneginf(logs).all(-1, keepdims=True)
    return np.where(lost, weighted_average(evidence), _normalised(np.where(lost, 0.0, logs)))


def undefined(evidence: np.ndarray) -> np.ndarray:
    """() or (batch,) bool: every class is impossible to some member, so that Dempster's rule has nothing to normalise."""
    return (np.asarray(evidence) == 0).any(0).all(-1)


def murphy(evidence: np.ndarray) -> np.ndarray:
    """The plain mean combined with itself (Murphy 2000)."""
    return self_combined(weighted_average(evidence), len(evidence))


def deng(evidence: np.ndarray) -> np.ndarray:
    """The mean weighted by credibility, combined with itself (Deng et al. 2004)."""
    return self_combined(weighted_average(evidence, credibilities(evidence)), len(evidence))


def improved_dempster_shafer(evidence: np.ndarray) -> np.ndarray:
    """The mean weighted by credibility x Gini factor, combined with itself: a reconstruction, see above."""
    return self_combined(weighted_average(evidence, weights(evidence)), len(evidence))


def distances(evidence: np.ndarray) -> np.ndarray:
    """(members, members[, batch]) in [0, 1]: d_ij = sqrt(sum_k (m_i(k) - m_j(k))^2 / 2)."""
    evidence = np.asarray(evidence, np.float64)
    return np.stack([np.sqrt(((evidence - one) ** 2).sum(-1) / 2) for one in evidence])


def supports(evidence: np.ndarray) -> np.ndarray:
    """(members[, batch]): S_i = sum_{j != i} (1 - d_ij), how much the others say the same."""
    closeness = np.maximum(1 - distances(evidence), 0)  # float32 probabilities may add up to a little more than 1
    closeness[np.diag_indices(len(closeness))] = 0
    return closeness.sum(0)


def credibilities(evidence: np.ndarray) -> np.ndarray:
    """(members[, batch]): the supports in proportion; equal where nobody has any."""
    return _in_proportion(supports(evidence))


def gini(evidence: np.ndarray) -> np.ndarray:
    """(members[, batch]): impurity 1 - sum_k m_i(k)^2, 0 for a member that is sure."""
    return 1 - (np.asarray(evidence, np.float64) ** 2).sum(-1)


def gini_factors(evidence: np.ndarray) -> np.ndarray:
    """(members[, batch]): exp(-impurity)."""
    return np.exp(-gini(evidence))


def weights(evidence: np.ndarray) -> np.ndarray:
    """(members[, batch]): credibility x Gini factor in proportion, the weights of `improved_dempster_shafer`."""
    return _in_proportion(credibilities(evidence) * gini_factors(evidence))


def self_combined(probabilities: np.ndarray, members: int) -> np.ndarray:
    """Dempster's rule on `members` times the same evidence: m(k)^n in proportion."""
    return _normalised(members * _logs(probabilities))


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
    return RULES[rule](evidence) if activation == "softmax" else RULES[rule](frames(evidence))[..., 0]


def flaw(members: int, rule: str, weights: Sequence[float] = ()) -> str:
    """What is wrong with fusing so many members by `rule`, in words; "" if nothing is. No `weights` are equal ones."""
    if rule not in RULES:
        return f"fusion {rule!r} is none of {', '.join(RULES)}"
    if weights and rule != WEIGHTED:
        return f"weights are for {WEIGHTED}, not for {rule}"
    if weights and len(weights) != members:
        return f"{len(weights)} weights for {members} members"
    if weights and not (min(weights) >= 0 and abs(sum(weights) - 1) <= 1e-6):
        return f"weights must be 0 or more, and must add up to 1: {', '.join(map(str, weights))}"
    return ""


def frames(evidence: np.ndarray) -> np.ndarray:
    """(members, ..., classes) of independent classes -> (members, ..., classes, 2): present and absent, for any rule."""
    evidence = np.asarray(evidence, np.float64)
    return np.stack([evidence, 1 - evidence], -1)


def said_of_truth(evidence: np.ndarray, targets: np.ndarray, activation: str = "softmax") -> np.ndarray:
    """(members, facts): the probability that each member gave to what is true; `evidence` (members, clips, classes), `targets`
    (clips, classes) bool. A fact is a clip's one class, or of independent classes that each is there or not."""
    evidence = np.asarray(evidence, np.float64)
    if activation == "softmax":
        return evidence[:, targets]
    return np.where(targets, evidence, 1 - evidence).reshape(len(evidence), -1)


def log_loss(said: np.ndarray, weights: Sequence[float] | np.ndarray) -> float:
    """Nats a fact that the weighted average of `said_of_truth` is off."""
    return float(-np.log(np.maximum(np.asarray(weights) @ said, TINY)).mean())


def fitted_weights(said: np.ndarray, gap: float = 1e-6, steps: int = 10_000) -> np.ndarray:
    """(members,): the weights of the smallest `log_loss`, which is convex in them, so that there is one lowest value.

    Expectation maximisation: w_i <- w_i g_i with g_i = mean_n(q_in / sum_j w_j q_jn), q what `said_of_truth` gives. It stays on
    the simplex and its loss never rises. By convexity that is within max_i g_i - 1 of the lowest: below `gap` nats it stops.
    """
    said = np.maximum(said, TINY)
    found = np.full(len(said), 1 / len(said))
    for _ in range(steps):
        gains = (said / (found @ said)).mean(1)
        if gains.max() - 1 < gap:
            break
        found = found * gains
    return found / found.sum()


def _logs(probabilities: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(probabilities, np.float64))


def _normalised(logs: np.ndarray) -> np.ndarray:
    powers = np.exp(logs - logs.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _in_proportion(values: np.ndarray) -> np.ndarray:
    """Over the members; equal where all are 0."""
    total = values.sum(0)
    safe = np.where(total > 0, total, 1.0)
    return np.where(total > 0, values / safe, 1 / len(values))
