"""The network against the numbers of the papers, the oracles and the text of Section 3."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from eranntag import models
from eranntag.errors import UsageError
from eranntag.models.erann import Block, Config, Model, from_name, to_name

# 527 classes: E1 Table 4, the layers of the text alone, multi-adds (1e9) in E1 (10 s) and in the slides (8 s).
PAPER = {
    "erann-2-4": (24_504_849, 24_502_863, 26.21, 20.964),
    "erann-2-5": (38_198_545, 38_196_063, 40.93, 32.743),
    "erann-0-6": (54_435_473, 54_432_495, 126.56, 101.231),
    "erann-1-6": (54_532_241, 54_529_263, 77.18, 61.745),
    "erann-2-6": (54_919_313, 54_916_335, 58.92, 47.137),
    "erann-3-6": (56_467_601, 56_464_623, 52.99, 42.399),
}
STRIDES_OF = {"0": 0, "1": 1, "2": 2, "3": 3, "v1_k4": 4}  # the oracle's names -> s_m


def meta_model(config: Config, classes: int = 527, rows: int = 128) -> Model:
    """A network with shapes and no memory."""
    with torch.device("meta"):
        return Model(config, rows, classes).eval()


def small_model(s_m: int = 2, classes: int = 3) -> Model:
    torch.manual_seed(0)
    return Model(Config(s_m=s_m, width=1), rows=128, classes=classes)


def image(batch: int, frames: int, seed: int = 1) -> Tensor:
    return torch.randn(batch, 1, 128, frames, generator=torch.Generator().manual_seed(seed))


def parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def multiply_adds(model: Model, seconds: int) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, 1, 128, 128 * seconds, device="meta"))
    flops = counter.get_total_flops()
    assert flops % 2 == 0
    return flops // 2


def network(name: str) -> Config:
    config = from_name(name)
    assert config is not None
    return config


@pytest.mark.parametrize("name", PAPER)
def test_the_published_parameter_count_is_ours_plus_an_unused_batchnorm_of_one_channel(name: str) -> None:
    published, text, _, _ = PAPER[name]
    config = network(name)
    assert parameters(meta_model(config)) + 2 == published
    assert parameters(meta_model(replace(config, shortcut_bn=False))) == text


@pytest.mark.slow
def test_all_parameter_counts_of_the_oracle_are_exact(oracle: Callable[[str], Any]) -> None:
    rows = oracle("parameter_counts")["erann"]
    assert len(rows) == 64
    for row in rows:
        config = Config(row["s_m"], row["W"])
        assert parameters(meta_model(config, row["classes"])) == row["with_shortcut_batchnorm"], row
        assert parameters(meta_model(replace(config, shortcut_bn=False), row["classes"])) == row["text"], row


def test_all_multiply_adds_of_the_oracle_are_exact(oracle: Callable[[str], Any]) -> None:
    for row in oracle("parameter_counts")["erann_mults_1e9"]:
        model = meta_model(network(row["model"].lower()), row["classes"])
        assert multiply_adds(model, row["seconds"]) == row["macs"], row


@pytest.mark.parametrize("name", PAPER)
def test_multiply_adds_are_the_printed_ones(name: str) -> None:
    _, _, ten_seconds, eight_seconds = PAPER[name]
    model = meta_model(network(name))
    assert round(multiply_adds(model, 8) / 1e9, 3) == eight_seconds
    assert multiply_adds(model, 10) / 1e9 == pytest.approx(ten_seconds, abs=0.03)  # E1 rounds loosely


@pytest.mark.slow
def test_strides_and_sizes_of_all_stages_follow_the_oracle(oracle: Callable[[str], Any]) -> None:
    geometry = oracle("erann_geometry")
    for key, s_m in STRIDES_OF.items():
        config = Config(s_m=s_m, width=1)
        assert list(config.time_strides[1:]) == geometry["strides"][key]
        model = meta_model(config)
        for frames, sizes in {clip["frames_T0"]: clip["T"][key] for clip in geometry["clips"]}.items():
            x = torch.empty(1, 1, 128, frames, device="meta")
            if sizes is None:
                with pytest.raises(ValueError, match="needs a multiple of"):
                    model(x)
                continue
            assert model(x).clip_logits.shape == (1, 527)
            shapes = []
            for stage in model.stages:
                x = stage(x)
                shapes.append(tuple(x.shape[2:]))
            assert shapes == list(zip(geometry["frequency_sizes"], sizes, strict=True)), (key, frames)


@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (2, 4)])
@pytest.mark.parametrize("first", [True, False])
def test_a_block_computes_the_formula_of_the_paper(stride: tuple[int, int], first: bool) -> None:
    torch.manual_seed(0)
    block = Block(3, 5, stride, shortcut_bn=True, first=first).eval()
    for norm in (layer for layer in block.modules() if isinstance(layer, torch.nn.BatchNorm2d)):
        for values in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            values.uniform_(0.5, 1.5)
    kernels = [{1: (3, 3, 1), 2: (3, 3, 1), 4: (6, 5, 2)}[z] for z in stride]  # Table 2: K1, K2, P
    assert block.conv1.kernel_size == tuple(k[0] for k in kernels)
    assert block.conv2.kernel_size == tuple(k[1] for k in kernels)

    def batch_norm(x: Tensor, norm: torch.nn.BatchNorm2d) -> Tensor:
        x = (x - norm.running_mean[:, None, None]) / torch.sqrt(norm.running_var[:, None, None] + 1e-5)
        return x * norm.weight[:, None, None] + norm.bias[:, None, None]

    x = torch.randn(2, 3, 8, 12)
    h = x if first else functional.leaky_relu(batch_norm(x, block.norm1), 0.01)
    h = functional.conv2d(h, block.conv1.weight, stride=stride, padding=1)
    h = functional.leaky_relu(batch_norm(h, block.norm2), 0.01)
    h = functional.conv2d(h, block.conv2.weight, padding=tuple(k[2] for k in kernels))
    convolution, norm = block.shortcut
    expected = h + batch_norm(functional.conv2d(x, convolution.weight, stride=stride), norm)
    torch.testing.assert_close(block(x), expected)


def test_the_shortcut_is_the_identity_where_the_shape_stays() -> None:
    assert isinstance(Block(5, 5, (1, 1), shortcut_bn=True, first=False).shortcut, torch.nn.Identity)


def test_the_classifier_sees_the_sum_of_mean_and_maximum() -> None:
    model = small_model().eval()
    features = model.feature_map(image(2, 128))  # (2, 128, 8, 2)
    pooled = features.mean((2, 3)) + features.amax((2, 3))
    hidden = functional.leaky_relu(functional.linear(pooled, model.fc1.weight, model.fc1.bias), 0.01)
    expected = functional.linear(hidden, model.fc2.weight, model.fc2.bias)
    torch.testing.assert_close(model(image(2, 128)).clip_logits, expected, rtol=1e-5, atol=1e-4)


def test_names_of_version_two_round_trip() -> None:
    for s_m in range(5):
        for width in (1, 3, 6, 10, 99):
            name = f"erann-{s_m}-{width}"
            assert from_name(name) == Config(s_m, width)
            assert to_name(Config(s_m, width)) == name


def test_names_of_version_one_mean_the_same_networks() -> None:
    for name, same in {
        "erann-8x1-6": "erann-0-6",
        "erann-8x2-6": "erann-1-6",
        "erann-8x4-5": "erann-2-5",
        "erann-10x4-6": "erann-2-6",
        "erann-8x8-6": "erann-3-6",
        "erann-4x16-3": "erann-4-3",
    }.items():
        assert from_name(name) == from_name(same)


@pytest.mark.parametrize(
    "name",
    [
        "", "erann", "erann-1", "erann-5-6", "erann-1-0", "erann-1-06", "erann-1-100", "erann-1-6-2", "erann--1-6",
        "erann-1-6.5", "erann-1-6\n", " erann-1-6", "ERANN-1-6", "rann-1-6", "xerann-1-6", "erann-8x3-6", "erann-x2-6",
        "erann-8x32-6",
    ],
)  # fmt: skip
def test_other_names_are_no_erann(name: str) -> None:
    assert from_name(name) is None
    with pytest.raises(UsageError, match="no architecture is called"):
        models.resolve(name)


def test_an_architecture_is_resolved_by_its_name() -> None:
    assert models.resolve("erann-1-6") == ("erann", Config(s_m=1, width=6))


@pytest.mark.parametrize("values", [{"s_m": 5}, {"s_m": -1}, {"width": 0}, {"width": -2}])
def test_impossible_configurations_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(values.values())))):
        Config(**values)


@pytest.mark.parametrize("s_m", range(5))
def test_every_parameter_receives_a_gradient(s_m: int) -> None:
    model = small_model(s_m).train()
    model(image(2, 256)).clip_logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


def test_a_batch_of_two_gives_what_two_singles_give() -> None:
    model, both = small_model().eval(), image(2, 128)
    singles = torch.cat([model(both[:1]).clip_logits, model(both[1:]).clip_logits])
    torch.testing.assert_close(model(both).clip_logits, singles, rtol=1e-4, atol=1e-5)
    assert (singles[0] - singles[1]).abs().max() > 1e-3  # or the comparison would say nothing


@pytest.mark.parametrize(("s_m", "multiple"), [(0, 16), (1, 32), (2, 64), (3, 128), (4, 256)])
def test_another_number_of_frames_than_the_multiple_is_an_error(s_m: int, multiple: int) -> None:
    model = meta_model(Config(s_m=s_m, width=1))
    assert model.frame_multiple == multiple
    for frames in (multiple - 1, multiple + 1, multiple + multiple // 2):
        with pytest.raises(ValueError, match=f"erann-{s_m}-1 needs a multiple of {multiple} frames, not {frames}"):
            model(torch.empty(1, 1, 128, frames, device="meta"))


def test_a_new_head_keeps_everything_else() -> None:
    model = small_model(classes=3)
    model(image(2, 128))  # so that BatchNorm has statistics to lose
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.replace_head(7)
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert [name for name in after if not torch.equal(after[name], before[name])] == ["fc2.weight", "fc2.bias"]
    assert model(image(2, 128)).clip_logits.shape == (2, 7)


def test_a_mask_of_ones_changes_nothing() -> None:
    model, x = small_model().eval(), image(2, 64)
    expected = model(x).clip_logits
    assert torch.equal(model(x, torch.ones_like(x)).clip_logits, expected)
    assert torch.equal(model(x, torch.ones(1)).clip_logits, expected)


def test_a_mask_of_zeros_makes_the_image_irrelevant() -> None:
    model, zeros = small_model().eval(), torch.zeros(1, 1, 128, 64)
    assert torch.equal(model(image(1, 64), zeros).clip_logits, model(image(1, 64, seed=2), zeros).clip_logits)
    assert not torch.equal(model(image(1, 64)).clip_logits, model(image(1, 64, seed=2)).clip_logits)


def test_what_is_masked_counts_as_the_mean_of_its_bin() -> None:
    model, x = small_model().eval(), image(1, 64) * 10 - 40
    model.bn0.running_mean.copy_(torch.linspace(-60, -20, 128))
    model.bn0.running_var.fill_(100)
    mask = torch.ones_like(x)
    mask[:, :, 30:40] = 0
    filled = torch.where(mask == 0, model.bn0.running_mean[:, None], x)
    torch.testing.assert_close(model(x, mask).clip_logits, model(filled).clip_logits, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(model(x).clip_logits, model(filled).clip_logits, rtol=1e-3)


def test_logits_have_the_same_shape_for_every_duration() -> None:
    model = meta_model(Config(s_m=2, width=1), classes=5)
    for frames in (64, 128, 640, 1280, 3840):
        x = torch.empty(3, 1, 128, frames, device="meta")
        assert model.feature_map(x).shape == (3, 128, 8, frames // 64)
        assert model(x).clip_logits.shape == (3, 5)


@pytest.mark.parametrize("rows", [12, 13, 40, 84, 384])
def test_images_of_any_height_are_accepted(rows: int) -> None:
    model = meta_model(Config(s_m=2, width=1), classes=5, rows=rows)
    assert model(torch.empty(1, 1, rows, 128, device="meta")).clip_logits.shape == (1, 5)
