"""EfficientAT's MobileNetV3: small networks that learned AudioSet from transformers.

Schmid, Koutini, Widmer, "Efficient Large-scale Audio Tagging via Transformer-to-CNN Knowledge Distillation", ICASSP 2023,
arXiv:2211.04772. The network is MobileNetV3-Large (Howard et al., 2019, arXiv:1905.02244, Table 1) with one input channel and
all widths multiplied by a factor: `mn04` has 0.4 and 0.98 million parameters, `mn10` has 1.0. Modules are named so that the
published files' tensors fit as they are.

The image is (batch, 1, rows, frames): frequency before time, as the authors' is.
"""

import re
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from eranntag.models._contracts import WindowedModel, require_head
from eranntag.models._fusion import optimize_sequences
from eranntag.types import Output

FRONTEND: tuple[str, dict[str, Any]] = ("melstft", {})
HEADS = ("fc2", "fc1+fc2")  # what `replace_head` can reinitialize, the default first
WINDOW_SECONDS = 10  # of AudioSet's clips, on which the networks were trained
STEM, EXPANDED_LAST, HIDDEN = 16, 6, 1280  # channels at width 1; the last convolution has 6 times those of the last block
DROPOUT = 0.2
BLOCKS = (  # Table 1: kernel, expanded channels, channels, squeeze-and-excitation, activation, stride; at width 1
    (3, 16, 16, False, nn.ReLU, 1),
    (3, 64, 24, False, nn.ReLU, 2),
    (3, 72, 24, False, nn.ReLU, 1),
    (5, 72, 40, True, nn.ReLU, 2),
    (5, 120, 40, True, nn.ReLU, 1),
    (5, 120, 40, True, nn.ReLU, 1),
    (3, 240, 80, False, nn.Hardswish, 2),
    (3, 200, 80, False, nn.Hardswish, 1),
    (3, 184, 80, False, nn.Hardswish, 1),
    (3, 184, 80, False, nn.Hardswish, 1),
    (3, 480, 112, True, nn.Hardswish, 1),
    (3, 672, 112, True, nn.Hardswish, 1),
    (5, 672, 160, True, nn.Hardswish, 2),
    (5, 960, 160, True, nn.Hardswish, 1),
    (5, 960, 160, True, nn.Hardswish, 1),
)


@dataclass(frozen=True)
class Config:
    """`width`: the factor of all channels. `linear_head`: one linear layer on the embedding instead of two. `input_norm`: a
    BatchNorm of the image's rows, for front-ends with other numbers than the paper's."""

    width: float = 1.0
    linear_head: bool = False
    input_norm: bool = False

    def __post_init__(self) -> None:
        if not 0.05 <= self.width <= 10:
            raise ValueError(f"the width must be 0.05 to 10, not {self.width}")


def from_name(name: str) -> Config | None:
    """The network of a name: `mn04` has the width 0.4, `mn10` 1.0 and `mn40` 4.0; None for other names."""
    match = re.fullmatch(r"mn(\d\d)", name)
    return Config(int(match[1]) / 10) if match and int(match[1]) else None


def to_name(config: Config) -> str:
    """`mn04` and so on; a description, which `from_name` does not take, for other widths."""
    tenths = round(10 * config.width)
    return f"mn{tenths:02}" if tenths / 10 == config.width and 0 < tenths < 100 else f"mn of width {config.width:g}"


def config_for_other_frontend(config: Config) -> Config:
    """Return the configuration for another front-end than FRONTEND, whose scale is unknown."""
    return replace(config, input_norm=True)


def divisible(channels: float) -> int:
    """The nearest multiple of 8, 8 or more, and never below 90 % of `channels` (MobileNet's rule)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


class SqueezeExcitation(nn.Module):
    """Each channel times a sigmoid of a function of all channels' means over both axes. Always in float32."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = divisible(channels // 4)
        self.fc1 = nn.Linear(channels, squeezed)
        self.fc2 = nn.Linear(squeezed, channels)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean((2, 3)).to(self.fc1.weight.dtype)  # (batch, channels)
        scale = self.fc2(self.fc1(means).relu()).sigmoid()
        scaled: Tensor = x * scale.to(x.dtype)[:, :, None, None]
        return scaled


class Excitation(nn.Module):
    """The published code can excite along other axes too; its released networks do along channels alone."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conc_se_layers = nn.ModuleList([SqueezeExcitation(channels)])

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conc_se_layers[0](x)
        return out


class Block(nn.Module):
    """Inverted residual: 1x1 to `expanded` channels (left out where it would not widen), depthwise, squeeze-and-excitation, 1x1
    to `channels` without activation; the input is added where stride is 1 and widths agree."""

    def __init__(
        self, kernel: int, inputs: int, expanded: int, channels: int, squeeze: bool, act: type[nn.Module], stride: int
    ) -> None:
        super().__init__()
        self.residual = stride == 1 and inputs == channels
        self.block = nn.Sequential()
        if expanded != inputs:
            self.block.append(_convolution(inputs, expanded, 1, act=act))
        self.block.append(_convolution(expanded, expanded, kernel, stride, groups=expanded, act=act))
        if squeeze:
            self.block.append(Excitation(expanded))
        self.block.append(_convolution(expanded, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block(x)
        return x + out if self.residual else out


class Model(WindowedModel, nn.Module):
    """Convolution, 15 inverted residual blocks, convolution, mean over both axes (the embedding), two linear layers.

    `rows` is the number of rows of the image (128 mel bands), `classes` the number of outputs. Squeeze-and-excitation and the
    mean make scores depend on the whole clip: long sounds are computed in windows of `window_seconds`.
    """

    frame_multiple = 1
    window_seconds = WINDOW_SECONDS

    def __init__(self, config: Config, rows: int, classes: int) -> None:
        super().__init__()
        self.config = config
        self.bn0 = nn.BatchNorm1d(rows) if config.input_norm else None
        inputs = divisible(STEM * config.width)
        layers: list[nn.Module] = [_convolution(1, inputs, 3, 2, act=nn.Hardswish)]
        for kernel, expanded, channels, squeeze, act, stride in BLOCKS:
            widths = inputs, divisible(expanded * config.width), divisible(channels * config.width)
            layers.append(Block(kernel, *widths, squeeze, act, stride))
            inputs = widths[2]
        self.embedding_size = EXPANDED_LAST * inputs
        layers.append(_convolution(inputs, self.embedding_size, 1, act=nn.Hardswish))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(self.embedding_size, hidden := divisible(HIDDEN * config.width)),
            nn.Hardswish(),
            nn.Dropout(DROPOUT),
            nn.Linear(hidden, classes),
        )
        self.apply(_initialize)
        if config.linear_head:
            self.linear_head(classes)

    def forward(self, image: Tensor, mask: Tensor | None = None) -> Output:
        """(batch, 1, rows, frames) -> logits (batch, classes) and embedding (batch, 384 for mn04, 960 for mn10): the means of
        the last feature map.

        `mask` (batch, 1, rows, frames) of ones and zeros multiplies the normalized image, where zero is about the mean.
        """
        x = image if self.bn0 is None else self.bn0(image.squeeze(1)).unsqueeze(1)
        x = x if mask is None else x * mask
        x = self.features(x.to(next(self.features.parameters()).dtype)).float()  # (batch, channels, rows / 32, frames / 32)
        embedding = self.classifier[:2](x)  # (batch, channels)
        return Output(self.classifier[2:](embedding), embedding)

    def optimize(self, dtype: torch.dtype) -> None:
        """For evaluation: every BatchNorm becomes part of the convolution before it, and convolutions compute in `dtype`.

        Squeeze-and-excitation and the linear layers stay in float32.
        """
        optimize_sequences(self.features, dtype)

    def replace_head(self, classes: int, layers: str = "fc2") -> None:
        """Reinitializes the last linear layer for `classes`, with "fc1+fc2" both. ValueError for other layers."""
        require_head(layers, HEADS)
        for index in (5, 2) if layers == "fc1+fc2" and not self.config.linear_head else (5,):
            old = self.classifier[index]
            assert isinstance(old, nn.Linear)
            self.classifier[index] = nn.Linear(old.in_features, classes if index == 5 else old.out_features)
            _initialize(self.classifier[index])

    def linear_head(self, classes: int) -> nn.Linear:
        """Makes the head one linear layer on the embedding, and returns it."""
        self.config = replace(self.config, linear_head=True)
        self.classifier[2] = self.classifier[3] = nn.Identity()
        head = nn.Linear(self.embedding_size, classes)
        _initialize(head)
        self.classifier[5] = head
        return head


def _convolution(
    inputs: int, channels: int, kernel: int, stride: int = 1, groups: int = 1, act: type[nn.Module] | None = None
) -> nn.Sequential:
    """Convolution without bias, BatchNorm and activation."""
    conv = nn.Conv2d(inputs, channels, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
    norm = nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
    return nn.Sequential(conv, norm, *([act(inplace=True)] if act else []))


def _initialize(module: nn.Module) -> None:
    """He normal over the outputs for convolutions, normal of deviation 0.01 for linear layers, as in the published code."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0, 0.01)
        nn.init.zeros_(module.bias)
