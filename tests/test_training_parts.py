"""The parts of training: averages, schedules and losses, against the oracles and torch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from eranntag.training.averaging import ExponentialMovingAverage
from eranntag.training.losses import loss
from eranntag.training.schedules import SCHEDULES, constant, one_cycle

# Averaged weights


class Vector(nn.Module):
    """A model that is one float64 parameter."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(values, dtype=torch.float64))


def averages(theta: list[list[float]], decay: float, warm_up: bool = False) -> list[list[float]]:
    model = Vector(theta[0])
    average = ExponentialMovingAverage(model, decay, warm_up)
    found = [average.model.weight.tolist()]
    for iteration, values in enumerate(theta[1:], 1):
        model.weight.data.copy_(torch.tensor(values))
        average.update(model, iteration)
        found.append(average.model.weight.tolist())
    return found


def test_averages_are_the_oracles(oracle: Callable[[str], Any]) -> None:
    numbers = oracle("ema")
    theta = [[value] for value in numbers["theta"]]
    warm = numbers["optional_warmup_beta_j=min(beta,(1+j)/(10+j))"]
    for expected, decay, warm_up in [
        (numbers["beta_0.999"], 0.999, False),
        (numbers["beta_0.9"], 0.9, False),
        (warm["beta_0.999"], 0.999, True),
    ]:
        found = [value for (value,) in averages(theta, decay, warm_up)]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    vector = numbers["vector_case"]
    np.testing.assert_allclose(averages(vector["theta"], vector["beta"]), vector["ema"], rtol=0, atol=1e-9)


def test_the_start_is_forgotten_as_slowly_as_the_oracle_says(oracle: Callable[[str], Any]) -> None:
    weights = {int(n): w for n, w in oracle("ema")["weight_of_theta0_beta_0.999"].items() if int(n) <= 2000}
    found = averages([[1.0]] + [[0.0]] * max(weights), 0.999)
    for updates, weight in weights.items():
        assert found[updates][0] == pytest.approx(weight, abs=1e-9)


def test_batchnorm_statistics_are_averaged_and_counters_copied() -> None:
    model = nn.BatchNorm1d(3)
    average = ExponentialMovingAverage(model, 0.9)
    model(torch.randn(8, 3, generator=torch.Generator().manual_seed(0)) + 5)
    average.update(model, 1)
    torch.testing.assert_close(average.model.running_mean, 0.1 * model.running_mean)
    torch.testing.assert_close(average.model.running_var, 0.9 + 0.1 * model.running_var)
    assert average.model.num_batches_tracked == 1


def test_an_average_is_apart_from_its_model() -> None:
    model = Vector([1.0])
    average = ExponentialMovingAverage(model, 0.5)
    model.weight.data.zero_()
    assert average.model.weight.item() == 1 and not average.model.weight.requires_grad and not average.model.training
    average.update(model, 1)
    assert (average.model.weight.item(), model.weight.item(), model.weight.requires_grad) == (0.5, 0.0, True)


# Schedules


def test_one_cycle_is_the_oracles(oracle: Callable[[str], Any]) -> None:
    for case in oracle("schedules")["one_cycle"]["cases"]:
        for step, rate, beta1 in zip(case["steps"], case["lr"], case["beta1"], strict=True):
            found = one_cycle(step, case["total_steps"], case["max_lr"])
            assert found == pytest.approx((rate, beta1), abs=1e-9), (case["total_steps"], step)


@pytest.mark.parametrize("total", [1, 2, 3, 4, 10, 101])
def test_one_cycle_is_torchs(total: int) -> None:
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-3, total_steps=total)
    for iteration in range(total):
        group = optimizer.param_groups[0]
        assert one_cycle(iteration, total, 1e-3) == pytest.approx((group["lr"], group["betas"][0]), abs=1e-12)
        optimizer.step()
        if iteration + 1 < total:
            theirs.step()


def test_the_constant_schedule_is_constant() -> None:
    assert {constant(iteration, 100, 2e-4) for iteration in range(100)} == {(2e-4, 0.9)}
    assert (SCHEDULES["constant"], SCHEDULES["one-cycle"]) == (constant, one_cycle)


# Losses


def logits_and_targets(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(6, 5, generator=generator)
    return (4 * torch.randn(6, 5, generator=generator)).to(dtype), target / target.sum(1, keepdim=True)


def test_the_softmax_loss_is_cross_entropy_with_soft_labels() -> None:
    logits, target = logits_and_targets()
    log_shares = logits - logits.exp().sum(1, keepdim=True).log()
    torch.testing.assert_close(loss(logits, target, "softmax"), -(target * log_shares).sum(1).mean())


def test_the_sigmoid_loss_is_binary_cross_entropy() -> None:
    logits, target = logits_and_targets()
    chance = 1 / (1 + (-logits).exp())
    expected = -(target * chance.log() + (1 - target) * (1 - chance).log()).mean()
    torch.testing.assert_close(loss(logits, target, "sigmoid"), expected)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_losses_of_half_precision_logits_are_computed_in_single(activation: str) -> None:
    logits, target = logits_and_targets(torch.bfloat16)
    assert loss(logits, target, activation).dtype == torch.float32
    assert torch.equal(loss(logits, target, activation), loss(logits.float(), target, activation))


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_losses_of_huge_logits_are_finite(activation: str) -> None:
    value = loss(torch.tensor([[1e4, -1e4, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]]), activation)
    assert torch.isfinite(value) and value > 1000
