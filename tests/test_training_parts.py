"""The parts of training: augmentation, averages, schedules, data and losses, against the oracles and torch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from eranntag.training.augment import a_weighting, mix_coefficient, modified_mixup, sound_level, spec_augment, stripes
from eranntag.training.averaging import ExponentialMovingAverage
from eranntag.training.data import Batches, crop, decode, draw
from eranntag.training.losses import loss
from eranntag.training.schedules import SCHEDULES, constant, one_cycle
from eranntag.types import Batch, Example

# Modified mixup


def sine(n: int, freq: float, amp: float, sr: int) -> np.ndarray:
    return amp * np.sin(2 * np.pi * freq * np.arange(n) / sr)


def made(signal: dict[str, Any]) -> Tensor:
    """A signal of the oracle (samples,) float64, by the conventions of its README."""
    n, sr = signal["n"], signal["sr"]
    waveform = np.zeros(n)
    if signal["kind"] == "sine":
        waveform = sine(n, signal["freq"], signal["amp"], sr)
    elif signal["kind"] == "burst":
        part = slice(signal["start"], signal["start"] + signal["length"])
        waveform[part] = sine(signal["length"], signal["freq"], signal["amp"], sr)
    elif signal["kind"] == "lcg":
        state = signal["seed"]
        for i in range(n):
            state = (1664525 * state + 1013904223) % 2**32
            waveform[i] = signal["amp"] * (2 * state / 2**32 - 1)
    np.testing.assert_allclose(waveform[:5], signal["first_samples"], rtol=0, atol=1e-12)
    np.testing.assert_allclose((waveform**2).sum(), signal["sum_squares"], rtol=1e-9)
    return torch.from_numpy(waveform)


def test_a_weighting_is_the_oracles(oracle: Callable[[str], Any]) -> None:
    for curve in oracle("modified_mixup")["a_weighting_db"].values():
        ours = a_weighting(torch.tensor(curve["freq_hz"], dtype=torch.float64))
        np.testing.assert_allclose(ours, curve["weight_db"], rtol=0, atol=1e-9)


def test_sound_levels_are_the_oracles(oracle: Callable[[str], Any]) -> None:
    for name, signal in oracle("modified_mixup")["signals"].items():
        waveform, n_fft = made(signal), signal["n_fft"]
        np.testing.assert_allclose(sound_level(waveform[None], signal["sr"]), signal["gain_db"], rtol=0, atol=1e-9)
        padded = nn.functional.pad(waveform, (0, max(0, n_fft - len(waveform))))
        frames = padded.unfold(0, n_fft, signal["hop"])
        levels = sound_level(frames, signal["sr"])
        np.testing.assert_allclose(levels, signal["frame_gain_db"], rtol=0, atol=1e-9, err_msg=name)


def test_mixtures_coefficients_and_labels_are_the_oracles(oracle: Callable[[str], Any]) -> None:
    """The oracle's mixtures lack the guard for silence, so where it acts the formula is applied here."""
    numbers = oracle("modified_mixup")
    signals = {name: made(signal) for name, signal in numbers["signals"].items()}
    guarded = 0
    for pair in numbers["pairs"]:
        x1, x2 = signals[pair["x1"]], signals[pair["x2"]]
        level1, level2, r = torch.tensor([[pair["G1"]], [pair["G2"]], [pair["r"]]], dtype=torch.float64)
        p = mix_coefficient(level1, level2, r)
        np.testing.assert_allclose(p, pair["coefficient_with_silence_guard"], rtol=0, atol=1e-9)
        targets = torch.tensor([pair["y1"], pair["y2"]], dtype=torch.float64)
        rate = numbers["signals"][pair["x1"]]["sr"]
        mixed = modified_mixup(Batch(torch.stack([x1, x2]), targets), r, rate)
        assert mixed.waveform.shape == (1, len(x1))
        np.testing.assert_allclose(mixed.target[0], pair["y"], rtol=0, atol=1e-9)
        if pair["coefficient"] != pytest.approx(pair["coefficient_with_silence_guard"], abs=1e-9):
            guarded += 1
            share = pair["coefficient_with_silence_guard"]
            expected = (share * x1 + (1 - share) * x2) / np.hypot(share, 1 - share)
            np.testing.assert_allclose(mixed.waveform[0], expected, rtol=0, atol=1e-9)
            continue
        denominator = torch.sqrt(p**2 + (1 - p) ** 2)
        np.testing.assert_allclose(denominator, pair["denominator"], rtol=0, atol=1e-9)
        for index, value in pair["mixed_at"].items():
            assert mixed.waveform[0, int(index)].item() == pytest.approx(value, abs=1e-9)
        assert mixed.waveform.square().sum().item() == pytest.approx(pair["mixed_sum_squares"], rel=1e-9, abs=1e-12)
    assert guarded == 2


def test_single_precision_mixes_as_double_does(oracle: Callable[[str], Any]) -> None:
    """Training runs in float32: the guard for silence must hold there too."""
    signals = {name: made(signal) for name, signal in oracle("modified_mixup")["signals"].items()}
    names = ["s1k", "noise", "silence", "s1k", "noise", "silence", "silence", "silence"]
    waveform = torch.stack([signals[name] for name in names])
    ratio, target = torch.tensor([0.3, 0.5, 0.6, 0.9]), torch.eye(8)
    double = modified_mixup(Batch(waveform, target.double()), ratio.double(), 44100)
    single = modified_mixup(Batch(waveform.float(), target), ratio, 44100)
    assert sound_level(waveform.float(), 44100)[2].item() == -80.0
    assert single.waveform.dtype == torch.float32
    np.testing.assert_allclose(single.waveform, double.waveform, rtol=0, atol=1e-5)
    np.testing.assert_allclose(single.target, double.target, rtol=0, atol=1e-7)
    assert single.waveform[1].abs().max() > 0.1  # the audible clip of a pair with silence stays audible


def test_neighbours_are_mixed() -> None:
    waveform, target = 0.1 * torch.randn(6, 8192, generator=torch.Generator().manual_seed(0)), torch.eye(6)
    mixed = modified_mixup(Batch(waveform, target), torch.tensor([1.0, 0.0, 1.0]), 44100)
    torch.testing.assert_close(mixed.waveform, waveform[[0, 3, 4]])
    assert torch.equal(mixed.target, target[[0, 3, 4]])


def test_a_class_of_both_clips_stays_certain() -> None:
    waveform = 0.1 * torch.randn(2, 8192, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    mixed = modified_mixup(Batch(waveform, target), torch.tensor([0.25]), 44100)
    torch.testing.assert_close(mixed.target, torch.tensor([[1.0, 0.25, 0.0]]))


# SpecAugment


def test_stripe_widths_are_uniform_below_the_maximum() -> None:
    for width in (64, 16):
        keep = stripes(512, 4000, 1, width, np.random.default_rng(0))
        dropped = 512 - keep.sum(1)
        assert set(dropped) == set(range(width))
        assert dropped.mean() == pytest.approx((width - 1) / 2, rel=0.03)
        assert (np.bincount(dropped) / 4000).max() < 2 / width
        assert (np.diff(keep.astype(int), axis=1) < 0).sum(1).max() <= 1  # in one piece


def test_stripes_start_anywhere() -> None:
    keep = stripes(128, 20000, 1, 16, np.random.default_rng(0))
    dropped = 1 - keep.mean(0)
    assert dropped[15:112].std() / dropped[15:112].mean() < 0.05  # as likely everywhere, but at the edges
    assert dropped[0] > 0 and (keep.sum(1) < 128).mean() == pytest.approx(15 / 16, abs=0.01)


def test_spec_augment_drops_two_stripes_of_each_axis() -> None:
    masks = spec_augment(200, 128, 512, np.random.default_rng(0))
    assert masks.shape == (200, 1, 128, 512) and masks.dtype == torch.float32
    assert ((masks == 0) | (masks == 1)).all()
    mask = masks[:, 0].bool().numpy()
    rows, frames = mask.any(2), mask.any(1)
    assert np.array_equal(mask, rows[:, :, None] & frames[:, None, :])  # whole rows and whole frames
    for kept, width in ((rows, 16), (frames, 64)):
        dropped = kept.shape[1] - kept.sum(1)
        begins = (np.diff(kept.astype(int), axis=1, prepend=1) < 0).sum(1)
        assert dropped.max() <= 2 * (width - 1) and begins.max() == 2
        assert dropped.mean() == pytest.approx(width - 1, rel=0.12)  # two of (width - 1) / 2, which may overlap


def test_spec_augment_is_a_function_of_its_seed() -> None:
    first, again, other = (spec_augment(4, 128, 128, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


def test_spec_augment_never_drops_a_small_image_whole() -> None:
    masks = spec_augment(2000, 12, 20, np.random.default_rng(0))
    assert masks.shape == (2000, 1, 12, 20)
    assert masks.flatten(1).any(1).all()


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


# Data


def test_crops_are_sections_of_the_clip_at_every_offset() -> None:
    rng, clip = np.random.default_rng(0), np.arange(13)
    starts: list[int] = []
    for _ in range(500):
        section = crop(clip, 9, rng)
        assert section.tolist() == list(range(section[0], section[0] + 9))
        starts.append(int(section[0]))
    assert set(starts) == {0, 1, 2, 3, 4}
    assert np.bincount(starts).min() > 60  # of 100 each


def test_a_short_clip_gets_zeros_at_its_end() -> None:
    assert crop(np.array([1, 2, 3], np.int16), 5, np.random.default_rng(0)).tolist() == [1, 2, 3, 0, 0]
    assert crop(np.array([1, 2, 3], np.int16), 3, np.random.default_rng(0)).tolist() == [1, 2, 3]


def test_each_epoch_draws_every_clip_once_and_in_another_order() -> None:
    stream = draw(50, seed=3, start=0, count=200).reshape(4, 50)
    assert (np.sort(stream, axis=1) == np.arange(50)).all()
    assert len({tuple(epoch) for epoch in stream}) == 4
    assert not np.array_equal(stream[0], draw(50, seed=4, start=0, count=50))


def test_drawing_may_start_anywhere() -> None:
    stream = draw(7, seed=3, start=0, count=100)
    for start in range(0, 93, 5):
        assert np.array_equal(draw(7, seed=3, start=start, count=7), stream[start : start + 7])


def batches(seed: int = 0) -> Batches:
    """Ten clips; clip i is i + 1 everywhere, and its class is i % 4, but clip 9 has two classes."""
    waveforms = [np.full(30 + 5 * i, i + 1, np.int16) for i in range(10)]
    examples = [Example(str(i), (i % 4,)) for i in range(9)] + [Example("9", (0, 3))]
    return Batches(waveforms, examples, classes=4, crop_samples=30, seed=seed)


def test_a_batch_keeps_clips_and_targets_together() -> None:
    seen = []
    for iteration in range(5):
        batch = batches().batch(iteration, 4)
        assert batch.waveform.shape == (4, 30) and batch.waveform.dtype == torch.float32
        for waveform, target in zip(batch.waveform, batch.target, strict=True):
            clip = round(waveform[0].item() * 32767) - 1
            assert waveform.unique().numel() == 1
            assert target.nonzero()[:, 0].tolist() == ([0, 3] if clip == 9 else [clip % 4])
            assert target.max() == 1
            seen.append(clip)
    assert sorted(seen) == sorted([*range(10), *range(10)])


def test_batches_are_a_function_of_seed_and_iteration() -> None:
    waveforms = [np.random.default_rng(i).integers(-9999, 9999, 500).astype(np.int16) for i in range(6)]
    examples = [Example(str(i), (i,)) for i in range(6)]
    one, other = (Batches(waveforms, examples, 6, 100, seed=1) for _ in range(2))
    expected = [one.batch(iteration, 4) for iteration in range(4)]
    for iteration in (3, 1):  # in any order
        again = other.batch(iteration, 4)
        assert torch.equal(again.waveform, expected[iteration].waveform)
        assert torch.equal(again.target, expected[iteration].target)
    assert not torch.equal(Batches(waveforms, examples, 6, 100, seed=2).batch(0, 4).waveform, expected[0].waveform)


def test_clips_are_decoded_in_order_to_16_bits(wav: Callable[..., Path]) -> None:
    levels = [0.0, 0.25, -0.5, 1.5, -1.5]
    done: list[int] = []
    examples = [
        Example(str(wav(f"{i}.wav", np.full((100, 2), level), 8000, subtype="FLOAT")), (0,)) for i, level in enumerate(levels)
    ]
    waveforms = decode(examples, 8000, done.append)
    assert done == [1, 2, 3, 4, 5]
    assert all(waveform.dtype == np.int16 and len(waveform) == 100 for waveform in waveforms)
    assert [set(waveform.tolist()) for waveform in waveforms] == [{0}, {8192}, {-16384}, {32767}, {-32767}]


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
