"""Learning rates that depend on what was measured."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from eranntag.training import loop
from eranntag.training.schedules import WAITING, plateaus


@pytest.mark.parametrize("seed", range(5))
def test_a_plateau_is_torchs(seed: int) -> None:
    measured = np.random.default_rng(seed).integers(0, 20, 80).cumsum() % 37 / 37
    measured[40:44] = measured[:40].max() * (1 + np.arange(1, 5) * 2e-5)  # too little to be better
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, "max", factor=0.5, patience=WAITING)
    for count, value in enumerate(measured, 1):
        theirs.step(float(value))
        assert 0.5 ** plateaus(measured[:count].tolist()) == pytest.approx(theirs.get_last_lr()[0], rel=1e-6)
    assert plateaus(measured.tolist()) > 3 and plateaus([0.5, *[0.4] * 3]) == 0 and plateaus([0.5, *[0.4] * 4]) == 1


def test_a_run_divides_its_rate_at_every_plateau_of_the_recipes_metric() -> None:
    """From the history alone, so that a run that is resumed goes on at the same rate."""
    settings = SimpleNamespace(schedule="plateau", iterations=100, learning_rate=1e-3, warm_up=0)
    history: list[dict[str, float]] = [{"iteration": 1, "loss": 0.7}]
    run = cast(Any, SimpleNamespace(settings=settings, recipe=SimpleNamespace(metric="micro_AP")))
    run.state = SimpleNamespace(history=history)
    rates = []
    for value in (0.1, 0.3, 0.2, 0.3, 0.1, 0.2, 0.4, 0.4, 0.4, 0.4, 0.4):
        history += [{"iteration": 2, "micro_AP": value}, {"iteration": 3, "loss": 0.6}]
        rates.append(loop.Trainer.schedule(run, 3)[0])
    assert rates == pytest.approx([1e-3] * 5 + [1e-4] * 5 + [1e-5])
