"""The agreement of a student with its teacher on sound that it is never trained on, and its zero-shot accuracy.

Three measures, each with its standard error: the agreement with the teacher's scores on held-out clips, the accuracy on a
labeled data set through its map of labels (zero-shot), and computed signals whose label is certain.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import sqrt

import numpy as np

from eranntag.evaluation import metrics
from eranntag.evaluation.tagging import evaluate
from eranntag.inference.tagger import Tagger
from eranntag.training.validation import Validation
from eranntag.types import Clip, Dataset

PRESENT = 0.3  # the teacher's score from which a label counts as present
RESAMPLES = 50  # of the clips, for the standard error of a mean average precision
SIGNAL_SECONDS = 4
METRIC, ZERO_SHOT = "agreement_mAP", "zero_shot"  # what a run is selected by: the second, if there is such a data set
FLOOR = 1e-7  # probabilities stay this far from 0 and 1 in the divergence


@dataclass(frozen=True)
class ZeroShot:
    """A labeled data set, of which `fold` (or its test clips, for None) is scored through its map of labels."""

    dataset: Dataset
    fold: int | None


class Agreement:
    """Measures students against `teacher` on the clips of `validation`, and on `zero_shot`; in a run it is what
    `Validation` is in training with labels."""

    def __init__(self, validation: Validation, teacher: Tagger, zero_shot: ZeroShot | None = None) -> None:
        self.validation, self.teacher, self.zero_shot = validation, teacher, zero_shot
        self._answers: np.ndarray | None = None

    def measure(self, tagger: Tagger) -> dict[str, float]:
        """The measures of `tagger`, on every process the same; those of held-out clips are absent where none can be read."""
        measured: dict[str, float] = {}
        scores, examples = self.validation.scores(tagger)
        if examples:
            if self._answers is None:
                self._answers, _ = self.validation.scores(self.teacher)
            measured |= {**between(scores, self._answers), "clips": len(examples)}
        if self.zero_shot:
            result = evaluate(tagger, self.zero_shot.dataset, self.zero_shot.fold)
            measured |= {ZERO_SHOT: result.value}
            if result.single:
                measured |= {"zero_shot_error": result.standard_error}
            measured.setdefault("clips", result.clips)
        ours, theirs = signals(tagger), self._signals
        return {**measured, "physics": float(np.mean([ours[name] == theirs[name] for name in theirs]))}

    @cached_property
    def _signals(self) -> Mapping[str, str]:
        """The teacher's, which does not change in a run."""
        return signals(self.teacher)


def between(scores: np.ndarray, answers: np.ndarray) -> dict[str, float]:
    """A student's `scores` against a teacher's `answers`, both (clips, classes).

    `agreement_mAP`: the mean over the classes that the teacher finds anywhere (PRESENT) of the average precision, and its
    standard error by resampling clips. `top1`: how often both have the same best label, and its standard error. `kl`: the
    divergence of the teacher's Bernoulli distributions from the student's, summed over classes, mean over clips, in nats.
    """
    present = answers >= PRESENT
    same = scores.argmax(1) == answers.argmax(1)
    top1 = float(same.mean())
    p, q = answers.clip(FLOOR, 1 - FLOOR).astype(np.float64), scores.clip(FLOOR, 1 - FLOOR).astype(np.float64)
    divergence = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum(1)
    precision = metrics.mean(metrics.average_precision(scores, present))
    return {
        METRIC: precision,
        "agreement_error": _resampled_error(scores, present),
        "top1": top1,
        "top1_error": sqrt(top1 * (1 - top1) / len(same)),
        "kl": float(divergence.mean()),
    }


def _resampled_error(scores: np.ndarray, present: np.ndarray) -> float:
    """The standard deviation of the mean average precision over clips that are drawn again with replacement."""
    rng = np.random.default_rng(0)
    values = []
    for _ in range(RESAMPLES):
        rows = rng.integers(len(scores), size=len(scores))
        found = present[rows].any(0)
        if found.any():
            values.append(metrics.mean(metrics.average_precision(scores[rows][:, found], present[rows][:, found])))
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def signals(tagger: Tagger) -> Mapping[str, str]:
    """The best label of computed signals: digital silence, white noise of -20 dB, and a sine of 440 Hz."""
    samples = SIGNAL_SECONDS * tagger.sample_rate_hz
    waveforms = {
        "silence": np.zeros(samples),
        "white noise": 0.1 * np.random.default_rng(0).standard_normal(samples),
        "sine": 0.5 * np.sin(2 * np.pi * 440 * np.arange(samples) / tagger.sample_rate_hz),
    }
    clips = {name: Clip(waveform[None].astype(np.float32), tagger.sample_rate_hz, name) for name, waveform in waveforms.items()}
    return {name: tagger.tag(clip).top(1)[0].label for name, clip in clips.items()}
