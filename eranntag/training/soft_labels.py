"""Soft labels: the scores of a teacher beside the labels of labeled clips.

Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015. The teacher scores each crop before it is augmented
and mixed, so mixup mixes its scores like labels, with the same coefficient, as Schmid, Koutini and Widmer do ("Efficient
Large-scale Audio Tagging via Transformer-to-CNN Knowledge Distillation", ICASSP 2023). The losses are linear in the target:
that of the mixed target is the weighted sum of theirs, of the labels' and the teacher's.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eranntag.errors import UsageError
from eranntag.evaluation import label_map
from eranntag.evaluation.label_map import LabelMap
from eranntag.inference.tagger import Tagger
from eranntag.training.distillation import Teacher
from eranntag.types import Checkpoint, Recipe

TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class SoftLabels:
    """Targets of crops: (1 - `weight`) of their labels + `weight` of what `teacher` scores.

    `identity` names the teacher in a run's settings. `classes` maps its labels to the recipe's; a crop with a class that none
    of them means keeps its labels alone. `normalized`: the scores of a crop are divided by their sum.
    """

    teacher: Teacher
    identity: str
    weight: float
    classes: LabelMap
    normalized: bool

    @property
    def checkpoint(self) -> Checkpoint:
        return self.teacher.tagger.checkpoint

    def __call__(self, waveforms: np.ndarray, sample_rate_hz: int, labels: Tensor) -> Tensor:
        """(batch, samples) float32 and their labels (batch, classes) -> targets (batch, classes)."""
        scores = torch.from_numpy(self.classes.scores(self.teacher(waveforms, sample_rate_hz)[0].numpy()))
        if self.normalized:
            scores = scores / scores.sum(1, keepdim=True).clamp(min=TINY)
        unknown = labels[:, list(self.classes.missing)].any(1, keepdim=True)
        return torch.where(unknown, labels, (1 - self.weight) * labels + self.weight * scores)


def of_teacher(tagger: Tagger, identity: str, weight: float, recipe: Recipe) -> SoftLabels:
    """The soft labels of a teacher with the recipe's classes, or with AudioSet's where the recipe has a map from these.

    Raises UsageError for one with other classes.
    """
    try:
        classes = label_map.between(tagger.checkpoint, recipe)
    except UsageError as error:
        remedy = f"make one by `eranntag finetune CHECKPOINT {recipe.name} --head probe`"
        raise UsageError(f"--teacher: {error}; {remedy}") from None
    return SoftLabels(Teacher(tagger, embeds=False), identity, weight, classes, recipe.activation == "softmax")
