"""Scores of combinations of checkpoints: by every fusion rule, and with weights fitted on clips that none was trained on.

Weights minimize the log loss, not the recipe's metric: the accuracy of some hundred clips is a staircase on which many weights
tie and noise decides, while the log loss is convex, for any number of members (`fusion.fitted_weights`).
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from eranntag.errors import UsageError
from eranntag.evaluation import metrics
from eranntag.inference import fusion
from eranntag.inference.ensemble import Ensemble
from eranntag.inference.pipeline import predict_examples
from eranntag.inference.prepared import LongAudio, Prepared
from eranntag.inference.tagger import Tagger
from eranntag.recipes import check_classes, check_scores, was_trained_on
from eranntag.training.config import digest
from eranntag.training.splits import split_dataset
from eranntag.types import Checkpoint, Dataset, Example, Failure, Recipe

MOST = 8  # members of which every combination is tried: 255
BLOCK_CLIPS = 1000  # fused at once, which bounds the memory
STEPS = 1000  # a fitted weight is a multiple of 1 / STEPS
ALTERNATIVE = "or leave the weights equal: eranntag ensemble row"


@dataclass(frozen=True)
class MemberScorer:
    """A `Scorer` that prepares each clip once, as `ensemble` does, and returns its members' scores, not fused."""

    ensemble: Ensemble

    @property
    def batch(self) -> int:
        return self.ensemble.batch

    @property
    def parallel(self) -> int:
        return self.ensemble.parallel

    def prepare_source(self, source: Any, name: str = "") -> Prepared:
        return self.ensemble.prepare_source(source, name)

    def scores(self, prepared: np.ndarray) -> np.ndarray:
        """(batch, members, classes)"""
        return self.ensemble.member_scores(prepared).swapaxes(0, 1)

    def prediction(self, scores: np.ndarray, seconds: float, source: str) -> np.ndarray:
        """(members, classes)"""
        return scores

    def predict_long(self, audio: LongAudio) -> np.ndarray:
        """(members, classes)"""
        return self.ensemble.member_scores_long(audio)[:, 0]


@dataclass(frozen=True, eq=False)
class MemberScores:
    """The scores of clips by each member, `evidence` (members, clips, classes), and the truth, `targets` (clips, classes) bool,
    in the order of the recipe's labels. `failures` could not be read."""

    recipe: Recipe
    evidence: np.ndarray
    targets: np.ndarray
    failures: tuple[Failure, ...] = ()

    def value(self, scores: np.ndarray) -> float:
        """The recipe's metric of scores (clips, classes)."""
        return metrics.recipe_metric(self.recipe.metric, scores, self.targets)


@dataclass(frozen=True)
class Combination:
    """The metric of some `members` (their indices) by each rule. `undefined` clips, or pairs of clip and class where these are
    independent, have no score by Dempster's rule and took the average."""

    members: tuple[int, ...]
    values: dict[str, float]
    undefined: int


@dataclass(frozen=True)
class Fitted:
    """Weights; and of equal ones and of these, on the clips of the fit, the log loss (nats per target) and the metric."""

    weights: tuple[float, ...]
    equal: tuple[float, float]
    fitted: tuple[float, float]


def check_members(recipe: Recipe, members: Sequence[Checkpoint]) -> None:
    """Raises UsageError unless the members have the recipe's classes and kind of scores."""
    for member in members:
        check_classes(member, recipe)
        check_scores(member, recipe)


def collect_member_scores(
    members: Sequence[Tagger], recipe: Recipe, examples: Sequence[Example], step: Callable[[], None] = lambda: None
) -> MemberScores:
    """The scores of every example by every member; `step` is called after each. Raises DataError when no clip can be read."""
    ensemble = Ensemble("members", members)
    order = [ensemble.checkpoint.labels.index(label) for label in recipe.labels]
    scores, targets, failures = [], [], list[Failure]()
    for example, result in predict_examples(MemberScorer(ensemble), recipe.name, examples, failures, step=step):
        scores.append(result[:, order])
        targets.append(example.targets)
    return MemberScores(recipe, np.stack(scores, 1), metrics.multi_hot(targets, len(order)), tuple(failures))


def combinations_by_rule(collected: MemberScores) -> Iterator[Combination]:
    """Every member alone, and the combinations of `subsets` by every rule."""
    activation = collected.recipe.activation
    for chosen in subsets(len(collected.evidence)):
        blocks = np.array_split(collected.evidence[list(chosen)], -(-len(collected.targets) // BLOCK_CLIPS), 1)
        rules = fusion.RULES if len(chosen) > 1 else (fusion.WEIGHTED,)
        fused = {rule: np.concatenate([fusion.fuse(block, rule, activation) for block in blocks]) for rule in rules}
        masses = blocks if activation == "softmax" else (fusion.binary_masses(block) for block in blocks)
        undefined = sum(int(fusion.undefined(block).sum()) for block in masses)
        yield Combination(chosen, {rule: collected.value(scores) for rule, scores in fused.items()}, undefined)


def subsets(members: int) -> list[tuple[int, ...]]:
    """Of some members and more, the smallest first: all of up to MOST, else each alone, all but one, and all."""
    sizes = range(1, members + 1) if members <= MOST else (1, members - 1, members)
    return [chosen for size in sizes for chosen in combinations(range(members), size)]


def fit(collected: MemberScores) -> Fitted:
    """The weights of the weighted average with the smallest log loss."""
    members = fusion.true_class_probabilities(collected.evidence, collected.targets, collected.recipe.activation)
    equal = (1 / len(members),) * len(members)
    fitted = rounded(fusion.fitted_weights(members))

    def measured(weights: tuple[float, ...]) -> tuple[float, float]:
        return fusion.log_loss(members, weights), collected.value(fusion.weighted_average(collected.evidence, weights))

    return Fitted(fitted, measured(equal), measured(fitted))


def rounded(weights: np.ndarray) -> tuple[float, ...]:
    """To multiples of 1 / STEPS that still add up to 1: the largest remainders are rounded up."""
    whole = np.floor(weights * STEPS).astype(int)
    whole[np.argsort(whole - weights * STEPS)[: STEPS - whole.sum()]] += 1
    return tuple((whole / STEPS).tolist())


def clips_unseen_by_all(dataset: Dataset, members: Sequence[Checkpoint]) -> list[Example]:
    """The clips that the run of every member held out to select by: none was trained on them, and none is reported on them.

    Raises UsageError, with what to do, where there are none.
    """
    parts = [_held_out(dataset, member) for member in members]
    common = set.intersection(*parts)
    if not common:
        same = "the same --seed, --fold and --validation"
        raise UsageError(f"no clip was held out by the runs of all members; train them with {same}, {ALTERNATIVE}")
    return [example for example in dataset.examples if str(example.path) in common]


def _held_out(dataset: Dataset, member: Checkpoint) -> set[str]:
    recipe, run = dataset.recipe, member.training
    if run.get("recipe") != recipe.name:
        remedy = f"train it by `eranntag train {recipe.name} --validation 0.1`"
        raise UsageError(
            f"{member.name}: not of a run on {recipe.name}, so its training clips are unknown; {remedy}, {ALTERNATIVE}"
        )
    splits = split_dataset(dataset, run.get("fold"), run.get("validation", 0.0), run.get("seed", 0))
    if not splits.has_validation:
        remedy = "train it with --validation 0.1, and all members with the same --seed and --fold"
        raise UsageError(f"{member.name}: its run held out no clips but those that are reported; {remedy}, {ALTERNATIVE}")
    if run.get("clips") != (found := digest(splits.training, splits.held_out)):
        raise UsageError(f"{member.name}: its run had other clips ({run.get('clips')}) than the data has now ({found})")
    earlier = dataclasses.replace(member, training={"bases": run.get("bases", ())})
    return {str(example.path) for example in splits.held_out if not was_trained_on(example, earlier, recipe)}
