"""What checkpoints reach together: every combination by every rule, and weights fitted on clips that none was trained on.

Weights minimise the log loss, not the recipe's metric: the accuracy of some hundred clips is a staircase on which many weights
tie and noise decides, while the log loss is convex, for any number of members (`fusion.fitted_weights`).
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from eranntag.errors import UsageError
from eranntag.evaluation import metrics
from eranntag.inference import fusion
from eranntag.inference.ensemble import Ensemble
from eranntag.inference.pipeline import predict_examples
from eranntag.recipes import check_classes, check_scores, was_trained_on
from eranntag.training.config import digest
from eranntag.training.splits import divide
from eranntag.types import Checkpoint, Dataset, Example, Failure, Recipe

MOST = 8  # members of which every combination is tried: 255
BLOCK_CLIPS = 1000  # fused at once, which bounds the memory
STEPS = 1000  # a fitted weight is a multiple of 1 / STEPS
ALTERNATIVE = "or leave the weights equal: eranntag ensemble row"


class Panel(Ensemble):
    """Members that hear each clip once, as an ensemble does, and whose scores stay side by side: (batch, members * classes)."""

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(f"{member.checkpoint.name}: {label}" for member in self.members for label in self.checkpoint.labels)

    def _fused(self, said: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate(self._ordered(said), 1)


@dataclass(frozen=True, eq=False)
class Heard:
    """What each member says of clips, `evidence` (members, clips, classes), and the truth, `targets` (clips, classes) bool, in
    the order of the recipe's labels. `failures` could not be read."""

    recipe: Recipe
    evidence: np.ndarray
    targets: np.ndarray
    failures: tuple[Failure, ...] = ()

    def value(self, scores: np.ndarray) -> float:
        """The recipe's metric of scores (clips, classes)."""
        return metrics.measure(self.recipe.metric, scores, self.targets)


@dataclass(frozen=True)
class Combination:
    """What some `members` (their indices) reach together, by each rule. `undefined` clips, or pairs of clip and class where
    these are independent, had no answer by Dempster's rule and took the average."""

    members: tuple[int, ...]
    values: dict[str, float]
    undefined: int


@dataclass(frozen=True)
class Fitted:
    """Weights, and the log loss (nats a fact) and the recipe's metric of equal ones and of these on the clips of the fit."""

    weights: tuple[float, ...]
    equal: tuple[float, float]
    fitted: tuple[float, float]


def check(recipe: Recipe, members: Sequence[Checkpoint]) -> None:
    """UsageError unless their classes are the recipe's, and their scores of its kind."""
    for member in members:
        check_classes(member, recipe)
        check_scores(member, recipe)


def hear(panel: Panel, recipe: Recipe, examples: Sequence[Example], step: Callable[[], None] = lambda: None) -> Heard:
    """Every clip, once. DataError when none can be read."""
    order = [panel.checkpoint.labels.index(label) for label in recipe.labels]
    scores, targets, failures = [], [], list[Failure]()
    for example, result in predict_examples(panel, recipe.name, examples, failures, step=step):
        scores.append(result.scores.reshape(len(panel.members), -1)[:, order])
        targets.append(example.targets)
    return Heard(recipe, np.stack(scores, 1), metrics.multi_hot(targets, len(order)), tuple(failures))


def tried(heard: Heard) -> Iterator[Combination]:
    """Every member alone, and the combinations of `subsets` by every rule."""
    activation = heard.recipe.activation
    for chosen in subsets(len(heard.evidence)):
        parts = np.array_split(heard.evidence[list(chosen)], -(-len(heard.targets) // BLOCK_CLIPS), 1)
        rules = fusion.RULES if len(chosen) > 1 else (fusion.WEIGHTED,)
        fused = {rule: np.concatenate([fusion.fuse(part, rule, activation) for part in parts]) for rule in rules}
        frames = parts if activation == "softmax" else (fusion.frames(part) for part in parts)
        lost = sum(int(fusion.undefined(part).sum()) for part in frames)
        yield Combination(chosen, {rule: heard.value(scores) for rule, scores in fused.items()}, lost)


def subsets(members: int) -> list[tuple[int, ...]]:
    """Of some members and more, the smallest first: all of up to MOST, else each alone, all but one, and all."""
    sizes = range(1, members + 1) if members <= MOST else (1, members - 1, members)
    return [chosen for size in sizes for chosen in combinations(range(members), size)]


def fit(heard: Heard) -> Fitted:
    """The weights of the weighted average with the smallest log loss."""
    said = fusion.said_of_truth(heard.evidence, heard.targets, heard.recipe.activation)
    equal, weights = (1 / len(said),) * len(said), rounded(fusion.fitted_weights(said))
    measures = (
        (fusion.log_loss(said, each), heard.value(fusion.weighted_average(heard.evidence, each))) for each in (equal, weights)
    )
    return Fitted(weights, *measures)


def rounded(weights: np.ndarray) -> tuple[float, ...]:
    """To multiples of 1 / STEPS that still add up to 1: those that lose most by it get what is missing."""
    whole = np.floor(weights * STEPS).astype(int)
    whole[np.argsort(whole - weights * STEPS)[: STEPS - whole.sum()]] += 1
    return tuple((whole / STEPS).tolist())


def unseen(dataset: Dataset, members: Sequence[Checkpoint]) -> list[Example]:
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
            f"{member.name}: not of a run on {recipe.name}, so which clips it knows is unknown; {remedy}, {ALTERNATIVE}"
        )
    division = divide(dataset, run.get("fold"), run.get("validation", 0.0), run.get("seed", 0))
    if not division.apart:
        remedy = "train it with --validation 0.1, and all members with the same --seed and --fold"
        raise UsageError(f"{member.name}: its run held out no clips but those that are reported; {remedy}, {ALTERNATIVE}")
    if run.get("clips") != (found := digest(division.training, division.held_out)):
        raise UsageError(f"{member.name}: its run knew other clips ({run.get('clips')}) than are there now ({found})")
    earlier = dataclasses.replace(member, training={"bases": run.get("bases", ())})
    return {str(example.path) for example in division.held_out if not was_trained_on(example, earlier, recipe)}
