"""2APAE and its baselines: sizes, both readings of the attention, pooling by hand, windows of longer sounds."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import miniature
import numpy as np
import pytest
import runs
import torch
from scipy.special import expit, softmax
from torch import Tensor, nn
from torch.nn import functional

from eranntag import models, recipes
from eranntag.audio import reader
from eranntag.checkpoints import weights
from eranntag.engines import openvino_runtime
from eranntag.engines.eager import Eager
from eranntag.engines.traced_modules import Framed
from eranntag.features import melmag
from eranntag.inference.network import Network
from eranntag.models import apae
from eranntag.models._pooling import logits
from eranntag.models._weak_pooling import AtrousAttention, RankPooling, TwoStepAttention
from eranntag.models.apae import Config, Model, from_name, to_name
from eranntag.training import trainer
from eranntag.training.losses import loss, reconstruction_error
from eranntag.types import Checkpoint, Clip

ROWS, FRAMES, CLASSES = 6, 9, 4
SMALL = Config(frames=FRAMES)
Explained = dict[str, Tensor]


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def built(config: Config = SMALL) -> Model:
    """For evaluation, with statistics as if it had been trained, so that no layer is nearly linear."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Model(config, ROWS, CLASSES)
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                for values, low, high in ((layer.weight, 0.5, 1.5), (layer.bias, -0.3, 0.3), (layer.running_mean, -0.3, 0.3)):
                    nn.init.uniform_(values, low, high)
                nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def two_step() -> Model:
    return built()


@pytest.fixture(scope="module")
def every(two_step: Model) -> dict[str, Model]:
    others = {name: built(dataclasses.replace(from_name(name), frames=FRAMES)) for name in apae.POOLINGS if name != "2apae"}
    return {"2apae": two_step, **others}


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_sizes(oracle: Callable[[str], Any]) -> None:
    published = oracle("parameter_counts")
    with torch.device("meta"):
        model = Model(Config(), 64, 41)
        baselines = {name: Model(from_name(name), 64, 41) for name in ("gap", "gmp", "gwrp", "atrous")}
    attention = parameters(model.head) - parameters(model.head.classes)
    assert published["two_step_attention_autoencoder_41_classes_311x64"] == {
        "encoder": parameters(model.encoder),
        "class_conv": parameters(model.head.classes),
        "decoder": parameters(model.decoder),
        "attention": attention,
        "total": parameters(model),
    }
    assert {parameters(baselines[name]) for name in ("gap", "gmp", "gwrp")} == {published["gmp_gap_gwrp_baseline_41_classes"]}
    assert parameters(baselines["atrous"]) == published["atrous_attention_baseline_41_classes"] == 1047570


def test_names() -> None:
    for name in (*apae.POOLINGS, "2apae-linear", "2apae-literal-linear"):
        assert to_name(from_name(name)) == name and models.resolve(name) == ("apae", from_name(name))
    assert to_name(Config()) == "2apae" and from_name("2apae").frames == 311
    for other in ("gap-linear", "atrous-linear", "3apae", "-linear", "two-step", ""):
        assert from_name(other) is None
    assert len({to_name(config) for config in (Config(), SMALL, Config("rank"), Config("rank", gwrp_decay=0.5))}) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "median"}, "must be two-step, .*not 'median'"),
        ({"pooling": "rank", "decoder_linear_output": True}, "has no decoder"),
        ({"gwrp_decay": 1.1}, "0 .. 1, not 1.1"),
        ({"frames": 0}, "1 frame or more"),
    ],
)
def test_impossible_configurations(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config(**options)


# Two steps of attention


def by_hand(head: TwoStepAttention, z: np.ndarray) -> tuple[np.ndarray, ...]:
    """Equations (8) to (15) for z (classes, frames, rows) in float64, class by class and frame by frame: A1, Z_p1, A2, Z_p2."""
    layers = {n: (m.weight.double().numpy(), m.bias.double().numpy()) for n, m in head.named_children() if n != "classes"}

    def step(name: str, x: np.ndarray) -> tuple[np.ndarray, float]:
        attention, scores = ((x @ weight.T + bias) for weight, bias in (layers[f"a{name}"], layers[f"c{name}"]))
        weights = softmax(expit(attention)) if head.literal else softmax(attention)
        return weights, float(weights @ (scores if head.literal else expit(scores)))

    classes, frames, _ = z.shape
    first = [[step("1", z[k, t]) for t in range(frames)] for k in range(classes)]
    z_p1 = np.array([[score for _, score in row] for row in first])
    second = [step("2", z_p1[k]) for k in range(classes)]
    a1 = np.array([[weights for weights, _ in row] for row in first]).transpose(0, 2, 1)
    return a1, z_p1, np.array([weights for weights, _ in second]), np.array([score for _, score in second])


@pytest.mark.parametrize("literal", [False, True])
def test_both_readings_by_hand(literal: bool) -> None:
    torch.manual_seed(1)
    head = TwoStepAttention(3, CLASSES, ROWS, FRAMES, literal).requires_grad_(False)
    features = 3 * numbers(2, 3, ROWS, FRAMES)
    steps = head(features)
    weight, bias = head.classes.weight[:, :, 0, 0].double().numpy(), head.classes.bias.double().numpy()
    for clip in range(2):
        z = np.einsum("kc,crt->ktr", weight, features[clip].double().numpy()) + bias[:, None, None]
        ours = (steps.frequency_attention, steps.frame_scores, steps.time_attention, steps.clip_scores)
        for found, expected in zip(ours, by_hand(head, z), strict=True):
            np.testing.assert_allclose(found[clip].numpy(), expected, rtol=0, atol=2e-6)
    torch.testing.assert_close(steps.frequency_attention.sum(2), torch.ones(2, CLASSES, FRAMES))
    torch.testing.assert_close(steps.time_attention.sum(2), torch.ones(2, CLASSES))


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_scores_are_probabilities_whatever_is_heard(two_step: Model, scale: float) -> None:
    image = scale * numbers(2, 1, ROWS, FRAMES)
    steps = two_step.explain(image).steps
    for scores in (steps.frame_scores, steps.clip_scores):
        assert (scores >= 0).all() and (scores <= 1 + 1e-6).all()
    output = two_step(image)
    assert output.clip_logits.isfinite().all() and output.frame_logits.isfinite().all()


def test_the_literal_reading_is_not_bounded_but_its_output_is(every: dict[str, Model]) -> None:
    model = every["2apae-literal"]
    image = 1e3 * numbers(8, 1, ROWS, FRAMES)
    scores = model.explain(image).steps.clip_scores
    assert ((scores < 0) | (scores > 1)).any()
    torch.testing.assert_close(model(image).clip_logits, torch.logit(scores.clamp(1e-7, 1 - 1e-7)), rtol=1e-3, atol=1e-3)


# The whole network in the paper's layout


def test_the_network_in_the_papers_layout(two_step: Model) -> None:
    """Channels x time x frequency, BatchNorm by its formula, pooling as a convolution: from the words of Tables I to III."""

    def norm(x: Tensor, layer: nn.BatchNorm2d) -> Tensor:
        shape = (1, -1, 1, 1)
        scale = layer.weight / (layer.running_var + layer.eps).sqrt()
        return (x - layer.running_mean.view(shape)) * scale.view(shape) + layer.bias.view(shape)

    def blocks(x: Tensor, part: nn.Sequential) -> Tensor:
        convolutions = [layer for layer in part.modules() if isinstance(layer, nn.Conv2d)]
        norms = [layer for layer in part.modules() if isinstance(layer, nn.BatchNorm2d)]
        for index, (convolution, layer) in enumerate(zip(convolutions, norms, strict=True)):
            x = norm(functional.conv2d(x, convolution.weight.transpose(2, 3), padding=1), layer).clamp(min=0)
            if index % 2:
                ninth = torch.full((x.shape[1], 1, 3, 3), 1 / 9)
                x = functional.conv2d(x, ninth, padding=1, groups=x.shape[1])
        return x

    image = numbers(2, 1, ROWS, FRAMES)
    features = blocks(image.transpose(2, 3), two_step.encoder)
    explained = two_step.explain(image)
    torch.testing.assert_close(explained.reconstruction.transpose(2, 3), blocks(features, two_step.decoder))
    steps = two_step.head(features.transpose(2, 3))
    torch.testing.assert_close(explained.steps.clip_scores, steps.clip_scores)
    torch.testing.assert_close(two_step(image).clip_logits, torch.logit(steps.clip_scores), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", apae.POOLINGS)
def test_convolutions_begin_he_uniform(name: str) -> None:
    """Bound sqrt(6 / fan_in), no bias; the atrous network's attention begins at zero."""
    model = Model(dataclasses.replace(from_name(name), frames=FRAMES), ROWS, 41)
    for layer in (layer for layer in model.modules() if isinstance(layer, nn.Conv2d)):
        assert layer.bias is None or not layer.bias.any()
        if layer is getattr(model.head, "attention", None):
            assert not layer.weight.any()
        else:
            bound = (6 / layer.weight[0].numel()) ** 0.5
            assert 0.9 * bound * (layer.weight.numel() > 1000) <= layer.weight.abs().max() <= bound


def test_a_rectified_decoder_cannot_be_negative(two_step: Model) -> None:
    image = numbers(4, 1, ROWS, FRAMES)
    assert (two_step.explain(image).reconstruction >= 0).all()
    linear = built(dataclasses.replace(SMALL, decoder_linear_output=True))
    assert parameters(linear) == parameters(two_step)
    assert (linear.explain(image).reconstruction < 0).any()


@pytest.mark.parametrize("name", apae.POOLINGS)
@pytest.mark.parametrize("frames", [1, FRAMES, 3 * FRAMES])
def test_shapes(every: dict[str, Model], name: str, frames: int) -> None:
    image = numbers(2, 1, ROWS, frames)
    output = every[name](image)
    assert output.clip_logits.shape == (2, CLASSES) and output.frame_logits.shape == (2, frames, CLASSES)
    assert output.reconstruction is None
    every[name].train()
    reconstruction = every[name](image).reconstruction
    every[name].eval()
    assert reconstruction.shape == image.shape if name.startswith("2apae") else reconstruction is None


# Baselines


def test_rank_pooling_by_hand() -> None:
    """Cells with the probabilities 0.9, 0.5 and 0.2, decay 1/2: (0.9 + 0.5 / 2 + 0.2 / 4) / (1 + 1/2 + 1/4) = 0.685714."""
    cells = torch.tensor([0.5, 0.2, 0.9])
    head = RankPooling(1, 1, 0.5).requires_grad_(False)
    head.classes.weight.fill_(1)
    output = head(torch.logit(cells).reshape(1, 1, 1, 3))
    assert output.clip_logits.sigmoid().item() == pytest.approx(1.2 / 1.75, abs=1e-6)
    torch.testing.assert_close(output.frame_logits.sigmoid().flatten(), cells)  # one row: each cell is a frame


def test_rank_pooling_has_the_maximum_and_the_mean_as_limits(every: dict[str, Model]) -> None:
    image = numbers(3, 1, ROWS, 20)
    for name, limit in (("gmp", 1e-9), ("gap", 1 - 1e-12)):
        every["gwrp"].head.load_state_dict(every[name].head.state_dict())
        every["gwrp"].head.decay = limit
        torch.testing.assert_close(every["gwrp"](image).clip_logits, every[name](image).clip_logits, rtol=0, atol=1e-4)
    every["gwrp"].head.decay = 0.9998
    scores = every["gmp"].head.classes(every["gmp"].encoder(image)).sigmoid()
    torch.testing.assert_close(every["gmp"](image).clip_logits.sigmoid(), scores.amax((2, 3)))
    torch.testing.assert_close(every["gap"](image).clip_logits.sigmoid(), scores.mean((2, 3)))
    torch.testing.assert_close(every["gap"](image).frame_logits.sigmoid(), scores.mean(2).transpose(1, 2))


def test_atrous_attention_by_hand() -> None:
    """One row of two frames; attention 0.5 and 0.9 (clamped), which weighs the log-softmax of two classes."""
    head = AtrousAttention(1, 2).requires_grad_(False)
    head.classes.weight[:, 0, 0, 0] = torch.tensor([1.0, -1.0])
    head.attention.weight.fill_(10.0)
    output = head(torch.tensor([0.0, 2.0]).reshape(1, 1, 1, 2))
    logs = np.log([[0.5, 0.5], [1 / (1 + np.exp(-4)), 1 / (1 + np.exp(4))]])  # (frames, classes)
    np.testing.assert_allclose(output.frame_logits[0].numpy(), logs, rtol=0, atol=1e-5)
    np.testing.assert_allclose(output.clip_logits[0].numpy(), (0.5 * logs[0] + 0.9 * logs[1]) / 1.4, rtol=0, atol=1e-5)


def test_atrous_convolutions_see_as_far_as_they_should() -> None:
    """5 wide with dilations 1, 2 and 4: 2 + 4 + 8 = 14 frames and rows to either side."""
    model = built(Config("atrous"))
    image = torch.zeros(1, 1, 41, 41)
    image[0, 0, 20, 20] = 1.0
    reached = (model.encoder(image) - model.encoder(torch.zeros_like(image))).abs().amax((0, 1)) > 0
    assert reached.any(0).nonzero().flatten().tolist() == reached.any(1).nonzero().flatten().tolist() == [*range(6, 35)]


# Windows


@pytest.mark.parametrize(("frames", "starts"), [(9, [0]), (10, [0, 4]), (13, [0, 4]), (14, [0, 4, 8]), (21, [0, 4, 8, 12])])
def test_windows_of_longer_images(two_step: Model, frames: int, starts: list[int]) -> None:
    """9 frames every 4: frames are means, clips the highest, the last window ends in zeros."""
    image = numbers(2, 1, ROWS, frames)
    padded = functional.pad(image, (0, FRAMES))
    total, heard, highest = torch.zeros(2, CLASSES, frames + FRAMES), torch.zeros(frames + FRAMES), torch.zeros(2, CLASSES)
    for start in starts:
        steps = two_step.explain(padded[..., start : start + FRAMES]).steps
        total[..., start : start + FRAMES] += steps.frame_scores
        heard[start : start + FRAMES] += 1
        highest = torch.maximum(highest, steps.clip_scores)
    output = two_step(image)
    torch.testing.assert_close(output.clip_logits.sigmoid(), highest)
    torch.testing.assert_close(output.frame_logits.sigmoid(), (total / heard)[..., :frames].transpose(1, 2))


def test_a_short_image_ends_in_its_rows_means(two_step: Model) -> None:
    model = built()
    model.standardize(numbers(ROWS, seed=1), numbers(ROWS, seed=2).abs() + 0.5)
    image = numbers(1, 1, ROWS, 5)
    longer = torch.cat([image, model.mean[:, None].expand(1, 1, ROWS, 4)], -1)
    torch.testing.assert_close(model(image).clip_logits, model(longer).clip_logits)
    torch.testing.assert_close(model(image).frame_logits, model(longer).frame_logits[:, :5])


@pytest.mark.parametrize("pooling", ["two-step", "rank", "atrous"])
@pytest.mark.filterwarnings("ignore")  # of the tracer
def test_a_traced_network_takes_other_lengths(every: dict[str, Model], pooling: str) -> None:
    model = Framed(every[next(name for name, its in apae.POOLINGS.items() if its == pooling)]).eval()
    traced = torch.jit.trace(model, torch.zeros(2, 1, ROWS, 2), check_trace=False)
    for frames in (1, FRAMES, FRAMES + 1, 30):
        image = numbers(3, 1, ROWS, frames)
        for found, expected in zip(traced(image), model(image), strict=True):
            torch.testing.assert_close(found, expected)


def test_openvino_takes_other_lengths(two_step: Model) -> None:
    converted = openvino_runtime.model_of(Framed(two_step), torch.zeros(1, 1, ROWS, 2), [1, 1, ROWS, -1])
    compiled = openvino_runtime.core().compile_model(converted, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for frames in (FRAMES, 30):
        image = numbers(1, 1, ROWS, frames)
        output, found = two_step(image), compiled(image.numpy())
        np.testing.assert_allclose(found[0], output.clip_logits.numpy(), rtol=0, atol=1e-4)
        np.testing.assert_allclose(found[1], output.embedding.numpy(), rtol=0, atol=1e-4)
        np.testing.assert_allclose(found[2], output.frame_logits.numpy(), rtol=0, atol=1e-4)


# Standardisation, explanation, the contract


@pytest.mark.parametrize("name", ["2apae", "gap", "atrous"])
def test_standardisation(name: str) -> None:
    config = dataclasses.replace(from_name(name), frames=FRAMES)
    plain, model = built(config), built(config)
    mean, std = numbers(ROWS, seed=1), numbers(ROWS, seed=2).abs() + 0.5
    image = numbers(2, 1, ROWS, FRAMES)
    assert torch.equal(model.standardized(image), image)
    model.standardize(mean.numpy(), std.double())
    raw = image * std[:, None] + mean[:, None]
    torch.testing.assert_close(model.standardized(raw), image)
    torch.testing.assert_close(model(raw).clip_logits, plain(image).clip_logits, rtol=1e-4, atol=1e-4)
    assert {"mean", "std"} <= model.state_dict().keys() and not dict(model.named_parameters()).keys() & {"mean", "std"}
    silent = torch.zeros_like(image)
    torch.testing.assert_close(model(raw, silent).clip_logits, plain(silent).clip_logits)  # masked: each row's mean
    std[2] = 0
    model.standardize(mean, std)
    assert not model.standardized(mean[:, None].expand(1, 1, ROWS, 3)).any()
    for wrong in ((mean[1:], std), (mean, std * torch.nan), (mean, -std), (mean / 0, std)):
        with pytest.raises(ValueError, match=r"rows"):
            model.standardize(*wrong)


def test_an_explanation_is_of_what_is_said(every: dict[str, Model]) -> None:
    model, image = every["2apae"], numbers(2, 1, ROWS, FRAMES)
    explained, output = model.explain(image), model(image)
    torch.testing.assert_close(logits(explained.steps.clip_scores), output.clip_logits)
    torch.testing.assert_close(logits(explained.steps.frame_scores).transpose(1, 2), output.frame_logits)
    assert torch.equal(explained.image, image) and explained.reconstruction.shape == image.shape
    assert explained.steps.frequency_attention.shape == (2, CLASSES, ROWS, FRAMES)
    assert explained.steps.time_attention.shape == (2, CLASSES, FRAMES)
    assert model.explain(image[..., :3]).image[..., 3:].count_nonzero() == 0
    with pytest.raises(ValueError, match="at most 9 frames"):
        model.explain(numbers(1, 1, ROWS, 10))
    with pytest.raises(ValueError, match="gap has neither"):
        every["gap"].explain(image)


@pytest.mark.parametrize("name", apae.POOLINGS)
def test_autocast_leaves_pooling_in_float32(every: dict[str, Model], name: str) -> None:
    image = numbers(2, 1, ROWS, FRAMES)
    exact = every[name](image)
    with torch.autocast("cpu", torch.bfloat16):
        output = every[name](image)
    for found, expected in zip((output.clip_logits, output.frame_logits), (exact.clip_logits, exact.frame_logits), strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.sigmoid(), expected.sigmoid(), rtol=0, atol=0.05)


def test_the_attentions_linear_maps_never_run_in_bfloat16(two_step: Model) -> None:
    """Bits are those of float32 for the same feature map."""
    features = numbers(2, 256, ROWS, FRAMES).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        inside = two_step.head(features)
        maps = two_step.head.classes(features).float()
    z_p1 = (two_step.head.a1(maps.transpose(2, 3)).softmax(-1) * two_step.head.c1(maps.transpose(2, 3)).sigmoid()).sum(-1)
    torch.testing.assert_close(inside.frame_scores, z_p1, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", apae.POOLINGS)
def test_optimised_networks_say_the_same(name: str) -> None:
    config = dataclasses.replace(from_name(name), frames=FRAMES)
    image = numbers(2, 1, ROWS, 14)
    expected = built(config)(image)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.05)):
        model = built(config)
        model.optimize(dtype)
        assert not any(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())
        output = model(image)
        torch.testing.assert_close(output.clip_logits.sigmoid(), expected.clip_logits.sigmoid(), rtol=0, atol=tolerance)
        torch.testing.assert_close(output.frame_logits.sigmoid(), expected.frame_logits.sigmoid(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", ["2apae", "gwrp", "atrous"])
def test_a_new_head_keeps_all_but_the_classes(name: str) -> None:
    model = built(dataclasses.replace(from_name(name), frames=FRAMES))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.replace_head(7)
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed and {key.split(".")[1] for key in changed} <= {"classes", "attention"}
    assert model(numbers(1, 1, ROWS, 3)).frame_logits.shape == (1, 3, 7)
    with pytest.raises(ValueError, match="classes, not 'fc2'"):
        model.replace_head(7, "fc2")


def test_with_its_front_end_in_a_network() -> None:
    family, arguments = apae.FRONTEND
    frontend = dataclasses.asdict(melmag.Config(**arguments))
    labels = ("knock", "bark", "meow")
    network = Network(Checkpoint("tiny", "apae", {"frames": 31}, family, frontend, labels, "sigmoid")).eval()
    with torch.inference_mode():
        output = network(0.1 * numbers(1, 2 * 32000))
    assert output.clip_logits.shape == (1, 3) and output.frame_logits.shape == (1, 61, 3)


# Losses


def test_losses_by_hand() -> None:
    """BCE of the probabilities 0.8 for 1 and 0.3 for 0: -(ln 0.8 + ln 0.7) / 2; MSE of the differences 1, 2, 0, 3: 14 / 4."""
    said, target = torch.logit(torch.tensor([[0.8, 0.3]])), torch.tensor([[1.0, 0.0]])
    assert loss(said, target, "sigmoid").item() == pytest.approx(-(np.log(0.8) + np.log(0.7)) / 2, abs=1e-6)
    image = torch.tensor([1.0, -2.0, 0.5, 3.0]).reshape(1, 1, 2, 2)
    reconstruction = torch.tensor([0.0, 0.0, 0.5, 0.0]).reshape(1, 1, 2, 2).bfloat16()
    assert reconstruction_error(reconstruction, image).item() == pytest.approx(14 / 4)


def test_the_logits_loss_is_the_papers_on_probabilities(two_step: Model) -> None:
    image, target = numbers(3, 1, ROWS, FRAMES), (numbers(3, CLASSES) > 0).float()
    scores = two_step.explain(image).steps.clip_scores
    ours = loss(two_step(image).clip_logits, target, "sigmoid")
    torch.testing.assert_close(ours, functional.binary_cross_entropy(scores, target), rtol=1e-4, atol=1e-5)


def test_gradients_reach_the_encoder_through_the_decoder() -> None:
    torch.manual_seed(0)
    model, image = Model(SMALL, ROWS, CLASSES), numbers(2, 1, ROWS, FRAMES)
    reconstruction_error(model(image).reconstruction, model.standardized(image)).backward()
    for part in (model.encoder, model.decoder):
        assert all(parameter.grad is not None for parameter in part.parameters())
    assert any(parameter.grad.abs().sum() > 0 for parameter in model.encoder.parameters())
    assert all(parameter.grad is None for parameter in model.head.parameters())


@pytest.mark.parametrize("name", ["2apae-linear", "gmp", "gwrp", "atrous"])
def test_a_few_steps_make_the_loss_smaller(name: str) -> None:
    torch.manual_seed(0)
    model = Model(dataclasses.replace(from_name(name), frames=FRAMES), ROWS, CLASSES)
    image, target = numbers(4, 1, ROWS, FRAMES), torch.eye(4)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    values = []
    for _ in range(12):
        output = model(image)
        value = loss(output.clip_logits, target, "sigmoid")
        if output.reconstruction is not None:
            value = value + reconstruction_error(output.reconstruction, model.standardized(image))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.8 * values[0]


def test_a_run_standardises_by_its_training_clips_and_adds_the_reconstruction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of the training clips have mean 0 and deviation 1; alpha weighs the squared error. Few channels are enough."""
    monkeypatch.setattr(apae, "ENCODER", (4, 8, 8, 16))
    monkeypatch.setattr(apae, "DECODER", (8, 8, 4, 1))
    seen: list[float] = []
    monkeypatch.setattr(trainer, "reconstruction_error", lambda made, image: seen.append(1.0) or (made - image).square().mean())
    data = miniature.mixtures(tmp_path / "data")
    options = ("--iterations", 1, "--batch", 2, "--fold", 1, "--device", "cpu", "--workers", 1, "--set", "crop_seconds=1")
    losses = []
    for alpha in ("0", "1"):
        out = tmp_path / alpha
        result = runs.command(
            "train", "mixtures", "--model", "2apae", "--data", data, "--out", out, *options, "--set", f"reconstruction={alpha}"
        )
        assert result.exit_code == 0, result.stderr
        losses.append(runs.history(out)[0]["loss"])
    assert len(seen) == 2 and losses[1] > losses[0] + 0.1
    network = weights.load(tmp_path / "0" / "last.safetensors")
    dataset = recipes.load("mixtures", str(data))
    images = []
    for example in dataset.examples:
        if example.fold != 1:
            clip = Clip(reader.read_int16(example.path, 32000)[None].astype(np.float32) / reader.FULL_SCALE, 32000)
            images.append(network.frontend(torch.from_numpy(Eager(network).prepare(clip))[None])[0, 0])
    rows = torch.cat(images, 1)
    standard = network.model.standardized(rows[None, None])[0, 0]
    torch.testing.assert_close(standard.mean(1), torch.zeros(64), atol=1e-3, rtol=0)
    torch.testing.assert_close(standard.std(1, correction=0), torch.ones(64), atol=1e-3, rtol=0)
