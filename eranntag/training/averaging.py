"""Averaged weights, which the papers evaluate."""

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from eranntag.errors import UsageError
from eranntag.inference.network import Network


class ExponentialMovingAverage:
    """Eq. (6) of ERANN v2: average = decay * average + (1 - decay) * parameters, after every iteration.

    BatchNorm's running statistics are averaged alike. `warm_up` uses min(decay, (1 + j) / (10 + j)) at iteration j, so
    that the average of a short run does not still hold its random start.
    """

    def __init__(self, model: nn.Module, decay: float, warm_up: bool = False) -> None:
        self.decay, self.warm_up = decay, warm_up
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module, iteration: int) -> None:
        """`iteration` counts from 1."""
        decay = min(self.decay, (1 + iteration) / (10 + iteration)) if self.warm_up else self.decay
        averages, values = self.model.state_dict(), model.state_dict()
        floats = [name for name, value in values.items() if value.is_floating_point()]
        torch._foreach_lerp_([averages[n] for n in floats], [values[n] for n in floats], 1 - decay)
        counters = [name for name, value in values.items() if not value.is_floating_point()]
        if counters:
            torch._foreach_copy_([averages[n] for n in counters], [values[n] for n in counters])


def mean(networks: Sequence[Network]) -> Network:
    """PSLA's weight averaging (Section III-F): the plain mean of checkpoints of one run, BatchNorm's statistics included.

    Into the first of `networks`, which say nothing of how good the result is. UsageError unless they are of one architecture
    with the same classes, trained with the same settings on the same clips: what one has left out the mean would have seen.
    """
    first, *others = networks
    ours = first.checkpoint
    for theirs in (other.checkpoint for other in others):
        for part in ("family", "model", "frontend_family", "frontend", "labels", "activation", "training"):
            if _comparable(getattr(theirs, part)) != _comparable(getattr(ours, part)):
                what = f"{ours.name} and {theirs.name} differ in their {part.replace('_', ' ')}"
                raise UsageError(f"{what}; only checkpoints of one run can be averaged")
    tensors = [network.tensors() for network in networks]
    means = {name: torch.stack([each[name].double() for each in tensors]).mean(0) for name in tensors[0]}
    first.load_tensors({name: means[name].to(tensor.dtype) for name, tensor in tensors[0].items()})
    iterations = [network.checkpoint.training.get("iteration") for network in networks]
    training = {**_comparable(ours.training), "averaged": iterations} if ours.training else ours.training
    first.checkpoint = dataclasses.replace(ours, metrics={}, thresholds=(), training=training)
    return first


def _comparable(part: Any) -> Any:
    """A part of a checkpoint without the iteration, which differs among those of one run."""
    return {name: value for name, value in part.items() if name != "iteration"} if isinstance(part, Mapping) else part
