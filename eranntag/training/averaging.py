"""Averaged weights, which the papers evaluate."""

import copy

import torch
from torch import nn


class ExponentialMovingAverage:
    """Eq. (6) of ERANN v2: average = decay * average + (1 - decay) * parameters, after every iteration.

    BatchNorm's running statistics are averaged alike. `warm_up` uses min(decay, (1 + j) / (10 + j)) at iteration j, so
    that a short run is not still remembering its random start.
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
