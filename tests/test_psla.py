"""PSLA's network against the oracle's counts, timm's networks, and the equations of the paper in numpy."""

import copy
import sys
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from eranntag import models
from eranntag.engines.traced_modules import Logits
from eranntag.errors import FetchError, IntegrityError, UsageError
from eranntag.models import _imagenet
from eranntag.models._efficientnet import STAGES, Block, EfficientNet, SameConv2d, drop_connect, same_padding
from eranntag.models.psla import Config, Head, Model, config_for_other_frontend, from_name, to_name

IMAGENET_CLASSIFIER = 1408 * 1000 + 1000
NAMES = ["psla", "psla-single", "psla-mean", "psla-resnet-50"]


def named(name: str) -> Config:
    config = from_name(name)
    assert config is not None
    return config


def meta_model(name: str = "psla", classes: int = 527, rows: int = 128) -> Model:
    """A network with shapes and no memory."""
    with torch.device("meta"):
        return Model(named(name), rows, classes).eval()


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def images(batch: int, rows: int, frames: int, seed: int = 1) -> Tensor:
    """Noise of PSLA's mean and standard deviation."""
    return -4.6476 + 4.5699 * torch.randn(batch, 1, rows, frames, generator=torch.Generator().manual_seed(seed))


def settle(module: nn.Module, x: Tensor) -> None:
    """BatchNorm learns the statistics of `x`, and gets scales and shifts that matter."""
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    generator = torch.Generator().manual_seed(3)
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.8, 1.2, generator)
        nn.init.uniform_(norm.bias, -0.2, 0.2, generator)
    before, momenta = module.training, [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None  # a cumulative average: one forward is enough
    with torch.no_grad():
        module.train()(x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    module.train(before)


@pytest.fixture(scope="module")
def built() -> Callable[[str], Model]:
    """`built(name)`: a network for 64 rows and 5 classes whose scores are neither all alike nor saturated."""
    kept: dict[str, Model] = {}

    def build(name: str) -> Model:
        if name not in kept:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                kept[name] = Model(named(name), 64, 5).eval()
                settle(kept[name], images(4, 64, 64))
        return kept[name]

    return build


@pytest.fixture
def own(built: Callable[[str], Model]) -> Callable[[str], Model]:
    """The same, to be changed: a copy."""
    return lambda name: copy.deepcopy(built(name))


@pytest.fixture(scope="module")
def timm() -> ModuleType:
    return pytest.importorskip("timm")


# Sizes


def test_parameter_counts_are_those_of_the_oracle(oracle: Callable[[str], Any]) -> None:
    counts = oracle("parameter_counts")["psla"]
    psla, resnet = meta_model(), meta_model("psla-resnet-50")
    assert parameters(psla) == counts["total"]
    assert parameters(psla.backbone) == counts["features_only_1ch"]
    assert parameters(psla.head) == counts["attention_head_4x527"]
    assert parameters(meta_model(classes=50).head) == counts["attention_head_4x50"]
    assert parameters(psla) + IMAGENET_CLASSIFIER == counts["total_with_unused_imagenet_classifier (published 15.05M)"]
    assert parameters(resnet) == counts["resnet50_single_head_total (published 25.66M)"]
    assert parameters(resnet.backbone) == counts["resnet50_1ch_features"]
    with torch.device("meta"):
        assert parameters(EfficientNet(3, 260)) + IMAGENET_CLASSIFIER == counts["efficientnet_b2_1000_classes_3ch"]


def test_b2_is_the_smallest_efficientnet_times_1_1_and_1_2() -> None:
    channels, blocks = (16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 3, 3, 4, 1)  # Table 1 of the EfficientNet paper
    assert [stage[3] for stage in STAGES] == [8 * int(1.1 * c / 8 + 0.5) for c in channels]
    assert [stage[4] for stage in STAGES] == [-(-12 * b // 10) for b in blocks]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
def test_ten_seconds_become_33_columns(name: str) -> None:
    model, image = meta_model(name), torch.empty(2, 1, 128, 1056, device="meta")
    assert model.feature_map(image).shape == (2, model.backbone.channels, 4, 33)
    output = model(image)
    assert output.clip_logits.shape == (2, 527) and output.frame_logits.shape == (2, 33, 527)


@pytest.mark.parametrize("rows", [1, 12, 13, 40, 84, 384])
@pytest.mark.parametrize("name", ["psla", "psla-resnet-50"])
def test_images_of_any_height_are_accepted(name: str, rows: int) -> None:
    model, image = meta_model(name, 5, rows), torch.empty(1, 1, rows, 96, device="meta")
    assert model.feature_map(image).shape[2:] == (-(-rows // 32), 3)
    assert model(image).clip_logits.shape == (1, 5)


def test_another_number_of_frames_than_a_multiple_of_32_is_an_error() -> None:
    model = meta_model("psla-mean")
    assert model.frame_multiple == 32
    for frames in (31, 33, 48):
        with pytest.raises(ValueError, match=f"psla-mean needs a multiple of 32 frames, not {frames}"):
            model(torch.empty(1, 1, 128, frames, device="meta"))


# Names and configurations


def test_names_and_configurations_are_one_to_one() -> None:
    assert named("psla") == Config() and models.resolve("psla") == ("psla", Config())
    assert named("psla-resnet-50") == Config("resnet-50", heads=1)  # Table II: 25.66 M
    assert [named(name).heads for name in ("psla-mean", "psla-single", "psla-2-heads", "psla-resnet-50-4-heads")] == [
        0,
        1,
        2,
        4,
    ]
    configs = [Config(backbone, heads) for backbone in ("efficientnet-b2", "resnet-50") for heads in range(17)]
    assert [from_name(to_name(config)) for config in configs] == configs


@pytest.mark.parametrize("name", ["", "psla-", "PSLA", "psla-4-heads", "psla-17-heads", "psla-resnet-50-single", "psla-resnet"])
def test_other_names_are_no_psla(name: str) -> None:
    assert from_name(name) is None


@pytest.mark.parametrize(
    "values",
    [
        {"backbone": "resnet-18"},
        {"heads": -1},
        {"heads": 17},
        {"heads": 1.5},
        {"std": 0.0},
        {"std": -2.0},
        {"mean": float("nan")},
    ],
)
def test_impossible_configurations_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(values.values())))):
        Config(**values)


# The backbones


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (5, 1), (3, 2), (5, 2)])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 12, 33, 128])
def test_same_padding_is_the_least_that_gives_all_outputs_and_more_of_it_after(size: int, kernel: int, stride: int) -> None:
    outputs = -(-size // stride)
    least = next(total for total in range(kernel) if (size + total - kernel) // stride + 1 == outputs)
    before, after = same_padding(size, kernel, stride)
    assert before + after == least and after - before in (0, 1)


@pytest.mark.parametrize(("rows", "frames"), [(4, 6), (5, 6), (3, 2), (1, 4)])
@pytest.mark.parametrize(("kernel", "first"), [(3, (0, 1)), (5, (1, 2))])  # zeros before even and odd sizes
def test_a_strided_convolution_is_the_sum_written_out(kernel: int, first: tuple[int, int], rows: int, frames: int) -> None:
    conv = SameConv2d(1, 1, kernel, 2, rows).double()
    x, w = torch.randn(rows, frames, dtype=torch.float64), conv.weight[0, 0]
    expected = torch.zeros(-(-rows // 2), frames // 2, dtype=torch.float64)
    for i, j in np.ndindex(*expected.shape):
        for k, m in np.ndindex(kernel, kernel):
            row, frame = 2 * i + k - first[rows % 2], 2 * j + m - first[0]
            if 0 <= row < rows and 0 <= frame < frames:
                expected[i, j] += x[row, frame] * w[k, m]
    torch.testing.assert_close(conv(x[None, None])[0, 0], expected)


def test_batchnorm_has_the_constants_of_tensorflow() -> None:
    norms = [layer for layer in meta_model().backbone.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == 2 + 3 * 23 - 2  # the first two blocks do not expand
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}


@pytest.mark.parametrize(
    ("name", "architecture", "rows"),
    [("psla", "tf_efficientnet_b2", 64), ("psla", "tf_efficientnet_b2", 40), ("psla-resnet-50", "resnet50", 64)],
)
@pytest.mark.slow
def test_features_are_those_of_timm(timm: ModuleType, name: str, architecture: str, rows: int) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model(architecture, pretrained=False, in_chans=1, num_classes=0).eval().double()
    x = torch.randn(2, 1, rows, 64, dtype=torch.float64)
    settle(theirs, x)
    ours = Model(named(name), rows, 5).eval().double()
    _imagenet.copy(ours, theirs.state_dict())
    ours.backbone.stem[0].weight.data.copy_(next(theirs.parameters()))
    with torch.no_grad():
        expected = theirs.forward_features(x)
        torch.testing.assert_close(ours.backbone(x), expected, rtol=1e-9, atol=1e-9)
        assert expected.std() > 0.1  # or the comparison would say nothing


def test_drop_connect_drops_whole_examples_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    dropped = drop_connect(torch.ones(20_000, 2, 1, 1), 0.2)
    assert torch.equal(dropped[:, 0], dropped[:, 1])
    assert set(dropped.unique().tolist()) == {0.0, 1.25}
    assert float(dropped.mean()) == pytest.approx(1, abs=0.02)


def test_drop_connect_grows_with_depth_and_happens_in_training_alone() -> None:
    blocks = [block for stage in meta_model().backbone.stages for block in stage]
    assert [block.drop for block in blocks] == pytest.approx([0.2 * i / 23 for i in range(23)])
    torch.manual_seed(0)
    block, x = Block(8, 8, 6, 3, 1, rows=4, drop=1 - 1e-12), torch.randn(3, 8, 4, 4)
    assert torch.equal(block.train()(x), x)
    assert (block.eval()(x) - x).abs().max() > 1e-3


def test_convolutions_start_he_uniform(built: Callable[[str], Model]) -> None:
    weight = built("psla").backbone.top[0].weight.detach()  # (1408, 352, 1, 1)
    bound = (6 / 352) ** 0.5
    assert float(weight.abs().max()) == pytest.approx(bound, rel=1e-3)
    assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=1e-2)


# The head


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("heads", [0, 1, 4])
def test_the_head_computes_the_equations(heads: int) -> None:
    torch.manual_seed(0)
    head = Head(channels=6, classes=3, heads=heads).double()
    if heads > 1:
        assert head.weights.tolist() == [0.25] * 4
        head.weights.data = torch.tensor([0.1, 0.4, -0.05, 0.3], dtype=torch.float64)
    x = torch.randn(2, 7, 6, dtype=torch.float64)
    c = sigmoid(x.numpy() @ head.scores.weight.detach().numpy().T + head.scores.bias.detach().numpy())
    clip, frame = np.zeros((2, 3)), np.zeros((2, 7, 3))
    for h, v in enumerate(head.weights.tolist() if heads > 1 else [1.0]):
        own = slice(3 * h, 3 * h + 3)
        a = np.full((2, 7, 3), 0.5)
        if heads:
            a = sigmoid(x.numpy() @ head.attention.weight.detach().numpy().T + head.attention.bias.detach().numpy())[..., own]
        clip += v * (a / a.sum(1, keepdims=True) * c[..., own]).sum(1)
        frame += v * c[..., own]
    output = head(x)
    np.testing.assert_allclose(output.clip_logits.sigmoid().detach(), clip, atol=1e-12)
    np.testing.assert_allclose(output.frame_logits.sigmoid().detach(), frame, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_of_a_single_frame_clip_and_frame_are_one(built: Callable[[str], Model], name: str) -> None:
    output = built(name)(images(2, 64, 32))
    torch.testing.assert_close(output.frame_logits[:, 0], output.clip_logits, rtol=0, atol=1e-5)
    assert output.clip_logits.std() > 0.01


def constant_head(attention: float, scores: float, weights: list[float]) -> Head:
    """A head whose layers give the same logits for all inputs."""
    head = Head(1, 1, len(weights))
    for layer, value in ((head.attention, attention), (head.scores, scores)):
        nn.init.zeros_(layer.weight)
        nn.init.constant_(layer.bias, value)
    head.weights.data = torch.tensor(weights)
    return head


@pytest.mark.parametrize(("weights", "logit"), [([0.7, 0.8], 16), ([-0.7, 0.1], -16.118), ([0.3, 0.1], np.log(0.4 / 0.6))])
def test_probabilities_beyond_0_and_1_are_clamped(weights: list[float], logit: float) -> None:
    with torch.no_grad():
        output = constant_head(0.0, 100.0, weights)(torch.zeros(1, 4, 1))
    for logits in (output.clip_logits, output.frame_logits):  # float32 has 1 - 1.2e-7 for 1 - 1e-7
        assert logits.flatten().tolist() == pytest.approx([logit] * logits.numel(), abs=0.1 if logit > 15 else 1e-3)


def test_attention_of_nothing_is_even_not_nan() -> None:
    output = constant_head(-200.0, 0.0, [0.5, 0.5])(torch.zeros(1, 4, 1))
    torch.testing.assert_close(output.clip_logits, torch.zeros(1, 1), rtol=0, atol=1e-6)


def test_cross_entropy_with_logits_is_the_papers_cross_entropy(built: Callable[[str], Model]) -> None:
    logits, target = built("psla")(images(2, 64, 64)).clip_logits.double(), torch.eye(5, dtype=torch.float64)[:2]
    expected = functional.binary_cross_entropy(logits.sigmoid(), target)
    torch.testing.assert_close(functional.binary_cross_entropy_with_logits(logits, target), expected)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_receives_a_gradient(own: Callable[[str], Model], name: str) -> None:
    model = own(name).train()
    for block in (block for stage in model.backbone.stages for block in stage):
        block.drop = 0.0  # whoever is dropped has none
    model(images(2, 64, 64)).clip_logits.square().sum().backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), parameter_name
        assert parameter.grad.any(), parameter_name


def test_a_new_head_keeps_everything_else(own: Callable[[str], Model]) -> None:
    model = own("psla")
    model.head.weights.data[0] = 0.9
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    model.replace_head(7)
    assert all(torch.equal(value, before[name]) for name, value in model.backbone.state_dict().items())
    assert model.head.weights.tolist() == [0.25] * 4
    assert model(images(1, 64, 32)).clip_logits.shape == (1, 7)
    with pytest.raises(ValueError, match="'fc2'"):
        model.replace_head(7, "fc2")


# The input


def test_masks_zero_the_image_before_it_is_normalised(built: Callable[[str], Model]) -> None:
    model, x = built("psla-single"), images(1, 64, 64)
    mask = torch.ones_like(x)
    mask[..., 10:20, :] = 0
    expected = model(torch.where(mask == 0, 0.0, x)).clip_logits
    assert torch.equal(model(x, mask).clip_logits, expected)
    assert not torch.equal(model(x).clip_logits, expected)
    seen = []
    with model.backbone.stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])):
        model(torch.zeros_like(x))
    assert float(seen[0].max()) == float(seen[0].min()) == pytest.approx(1.017, abs=5e-4)  # 4.1 of the specification


def test_images_of_other_statistics_are_normalised_with_theirs(built: Callable[[str], Model]) -> None:
    model, x = built("psla-single"), images(1, 64, 64)
    other = Model(replace(model.config, mean=2.0, std=3.0), 64, 5).eval()
    other.load_state_dict(model.state_dict())
    theirs = (x + 4.6476) / 4.5699 * 3 + 2
    torch.testing.assert_close(other(theirs).clip_logits, model(x).clip_logits, rtol=1e-4, atol=1e-5)


# Ways to run it


@pytest.mark.parametrize("name", ["psla", "psla-resnet-50"])
def test_batchnorm_becomes_part_of_the_convolutions(own: Callable[[str], Model], name: str) -> None:
    model, x = own(name).double(), images(2, 64, 96).double()
    with torch.no_grad():
        expected = model.feature_map(x)
        model.optimize(torch.float64)
        assert not any(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())
        torch.testing.assert_close(model.feature_map(x), expected, rtol=1e-9, atol=1e-9)
    assert expected.std() > 0.1


def test_optimised_networks_give_the_same(own: Callable[[str], Model]) -> None:
    """As exact as the network itself is in float32, beside float64: how much that is depends on the CPU's kernels."""
    model, x = own("psla"), images(2, 64, 96)
    with torch.no_grad():
        plain = model(x).clip_logits
        features = copy.deepcopy(model).double().feature_map(x.double()).float()
        expected = model.head(features.mean(2).transpose(1, 2)).clip_logits
        rounding = float((plain - expected).abs().max())
        model.optimize(torch.float32)
        torch.testing.assert_close(model(x).clip_logits, expected, rtol=0, atol=10 * rounding + 1e-5)
    assert rounding < 1e-3 and expected.std() > 0.01


def test_half_precision_is_for_convolutions_alone(own: Callable[[str], Model]) -> None:
    model, x = own("psla"), images(2, 64, 64)
    expected = model(x).clip_logits.detach()
    model.optimize(torch.bfloat16)
    kinds = {(type(layer).__name__, layer.weight.dtype) for layer in model.modules() if hasattr(layer, "weight")}
    assert kinds == {("SameConv2d", torch.bfloat16), ("Linear", torch.float32)}
    with torch.no_grad():
        logits = model(x).clip_logits
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, expected, rtol=0, atol=0.1)


def test_the_head_ignores_autocast(built: Callable[[str], Model]) -> None:
    model, features = built("psla"), torch.randn(2, 3, 1408)
    expected = model.head(features).clip_logits
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.head(features).clip_logits, expected)
        logits = model(images(2, 64, 64)).clip_logits
    assert logits.dtype == torch.float32 and torch.isfinite(logits).all()


@pytest.mark.parametrize("name", ["psla", "psla-resnet-50"])
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::FutureWarning")
@pytest.mark.slow
def test_a_traced_network_is_right_for_other_durations(built: Callable[[str], Model], name: str) -> None:
    model, x = built(name), images(3, 64, 160)
    with torch.no_grad():
        traced = torch.jit.trace(Logits(model), images(1, 64, 64), check_trace=False)
        torch.testing.assert_close(traced(x), model(x).clip_logits, rtol=1e-4, atol=1e-5)


# ImageNet weights


@pytest.fixture
def imagenet(timm: ModuleType) -> nn.Module:
    """timm's EfficientNet-B2 for pictures: random weights in place of the downloaded."""
    return timm.create_model("tf_efficientnet_b2", pretrained=False)


def test_all_but_the_first_convolution_are_copied(own: Callable[[str], Model], imagenet: nn.Module) -> None:
    model, weights = own("psla"), imagenet.state_dict()
    first, head = model.backbone.stem[0].weight.clone(), {k: v.clone() for k, v in model.head.state_dict().items()}
    copied = {_imagenet.timm_name("efficientnet-b2", name): name for name in model.backbone.state_dict()}
    assert {name for name in weights if name not in copied} == {"classifier.weight", "classifier.bias"}
    _imagenet.copy(model, weights)
    ours = model.backbone.state_dict()
    for theirs, name in copied.items():
        if theirs != "conv_stem.weight":
            assert torch.equal(ours[name].flatten(), weights[theirs].flatten()), name
    assert torch.equal(ours["stem.0.weight"], first)
    assert all(torch.equal(value, head[name]) for name, value in model.head.state_dict().items())


def test_weights_of_another_network_are_refused(built: Callable[[str], Model]) -> None:
    with pytest.raises(IntegrityError, match=r"no '.*' among them.*pretrained=false"):
        _imagenet.copy(built("psla"), {})
    names = {_imagenet.timm_name("efficientnet-b2", name) for name in built("psla").backbone.state_dict()}
    with pytest.raises(IntegrityError, match=r"is \(2,\), not \("):
        _imagenet.copy(built("psla"), {name: torch.zeros(2) for name in names})


def test_what_was_loaded_is_told(own: Callable[[str], Model], imagenet: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    def create_model(name: str, pretrained: bool) -> nn.Module:
        assert name.startswith("tf_efficientnet_b2.") and pretrained
        return imagenet

    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=create_model, __version__="1.2.3"))
    model = own("psla")
    assert _imagenet.load(model) == "ImageNet weights tf_efficientnet_b2.aa_in1k of timm 1.2.3"
    assert torch.equal(model.backbone.top[0].weight, imagenet.conv_head.weight)


def test_timm_knows_the_weights_names(timm: ModuleType) -> None:
    for name in _imagenet.WEIGHTS.values():
        assert timm.is_model_pretrained(name), name


def test_without_timm_there_is_one_line(built: Callable[[str], Model], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError) as raised:
        _imagenet.load(built("psla"))
    remedies = "pip install 'eranntag[imagenet]'; or train with --set pretrained=false (He-uniform weights)"
    assert str(raised.value) == f"ImageNet weights need timm: {remedies}"


def test_a_failed_download_is_one_line(built: Callable[[str], Model], monkeypatch: pytest.MonkeyPatch) -> None:
    def create_model(name: str, pretrained: bool) -> nn.Module:
        raise OSError("no route to host\nand much more")

    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=create_model))
    with pytest.raises(
        FetchError, match=r"tf_efficientnet_b2.*no route to host; check the network.*pretrained=false"
    ) as raised:
        _imagenet.load(built("psla"))
    assert "\n" not in str(raised.value)


def test_before_other_front_ends_rows_are_normalised_and_masked_after() -> None:
    config = config_for_other_frontend(Config())
    assert to_name(config) == "psla"
    with torch.device("meta"):
        model = Model(config, 40, 5)
    assert model.bn0.num_features == 40
    model = Model(config, 32, 5).eval()
    model.bn0.running_mean.fill_(-60.0)
    model.bn0.running_var.fill_(100.0)
    mean, mask = torch.full((1, 1, 32, 64), -60.0), torch.zeros(1, 1, 32, 64)
    loud = torch.zeros(1, 1, 32, 64)
    torch.testing.assert_close(model.feature_map(loud, mask), model.feature_map(mean))  # what is masked is the mean
    assert (model.feature_map(loud) - model.feature_map(mean)).abs().max() > 1e-3
