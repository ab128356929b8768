"""ERANN: Efficient Residual Audio Neural Networks.

Verbitskiy, Berikov, Vyshegorodtsev, "ERANNs: Efficient Residual Audio Neural Networks for Audio Pattern
Recognition", arXiv:2106.01621v2 (Table 1, Figure 1, Section 3). The first version of the paper calls the same network
ERANN-`t_c`x`t_m`-`W` with `t_m = 2 ** s_m`; both names are understood.

The image is (batch, 1, rows, frames): frequency before time, as the paper's "128 x T_0".
"""

import re
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from eranntag.models import _stem
from eranntag.models._contracts import require_head
from eranntag.models._fusion import fused
from eranntag.types import Output

SLOPE = 0.01  # of every Leaky ReLU
FRONTEND: tuple[str, dict[str, Any]] = ("logmel", {})
HEADS = ("fc2", "fc1+fc2")  # what `replace_head` can replace, the default first
BLOCK_FRAMES = 128 * 240  # of width 1: what is computed at once of a long image, so that every width takes as much memory


@dataclass(frozen=True)
class Config:
    """`s_m` (0..4): how many of the stages 1..4 divide the time axis by 4 instead of 2. `width`: the factor W.

    `shortcut_bn`: BatchNorm after each 1x1 shortcut convolution; the published parameter counts have it, the text
    does not. `s_m = 4` is version 1's t_m = 16 and needs an even number of seconds. `linear_head`: one linear layer on the
    embedding instead of two.
    """

    s_m: int = 1
    width: int = 6
    shortcut_bn: bool = True
    linear_head: bool = False

    def __post_init__(self) -> None:
        if self.s_m not in range(5):
            raise ValueError(f"s_m must be 0, 1, 2, 3 or 4, not {self.s_m}")
        if self.width < 1:
            raise ValueError(f"the width factor W must be 1 or more, not {self.width}")

    @property
    def time_strides(self) -> tuple[int, ...]:
        """Strides of stages 0..4 along time (Section 3.2)."""
        return (1, *(4 if stage <= self.s_m else 2 for stage in (1, 2, 3, 4)))


def from_name(name: str) -> Config | None:
    """The configuration that `name` stands for: `erann-1-6`, or version 1's `erann-8x2-6`; None for other names."""
    if match := re.fullmatch(r"erann-([0-4])-([1-9]\d?)", name):
        return Config(s_m=int(match[1]), width=int(match[2]))
    if match := re.fullmatch(r"erann-\d+x(1|2|4|8|16)-([1-9]\d?)", name):
        return Config(s_m=int(match[1]).bit_length() - 1, width=int(match[2]))
    return None


def to_name(config: Config) -> str:
    return f"erann-{config.s_m}-{config.width}"


def config_for_other_frontend(config: Config) -> Config:
    """Return `config`: BN0 adapts to any scale."""
    return config


def _kernel(stride: int) -> tuple[int, int, int]:
    """Sizes of the first and second convolution, and the second's padding, for a stride along one axis (Table 2)."""
    return (6, 5, 2) if stride == 4 else (3, 3, 1)


class Block(nn.Module):
    """ARB(x, y, c), the Audio Residual Block: two convolutions and a shortcut (Figure 1, Table 2).

    `first`: the network's first block, whose input is already normalised and gets no BatchNorm or activation.
    """

    def __init__(self, inputs: int, channels: int, stride: tuple[int, int], shortcut_bn: bool, first: bool) -> None:
        super().__init__()
        k1, k2, padding = zip(*map(_kernel, stride), strict=True)
        self.norm1 = nn.Identity() if first else nn.BatchNorm2d(inputs)
        self.act1 = nn.Identity() if first else nn.LeakyReLU(SLOPE, inplace=True)  # autograd needs no BatchNorm's output
        self.conv1 = nn.Conv2d(inputs, channels, k1, stride, padding=1, bias=False)
        self.norm2: nn.Module = nn.BatchNorm2d(channels)
        self.act2 = nn.LeakyReLU(SLOPE, inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, k2, padding=padding, bias=False)
        self.shortcut: nn.Module = nn.Identity()
        if inputs != channels or stride != (1, 1):
            norm = [nn.BatchNorm2d(channels)] if shortcut_bn else []
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, channels, 1, stride, bias=False), *norm)

    def forward(self, x: Tensor) -> Tensor:
        if self._of_image(x):
            h = _stem.convolved(x, self.conv1.weight)
            h = self.conv2(self.act2(self.norm2(h)))
            conv, norm = self.shortcut.children()
            assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
            return _stem.with_shortcut(h, x, conv, norm)
        h = self.conv1(self.act1(self.norm1(x)))  # (batch, channels, rows / x, frames / y)
        h = self.conv2(self.act2(self.norm2(h)))
        out: Tensor = h + self.shortcut(x)
        return out

    def _of_image(self, x: Tensor) -> bool:
        """Whether `_stem` computes it: in training on a CPU, in channels_last, without SyncBatchNorm, from one channel."""
        if not self.training or x.device.type != "cpu" or x.shape[1] != 1 or x.shape[-1] % _stem.FRAMES:
            return False
        plain = [type(module) for module in self.shortcut.children()] == [nn.Conv2d, nn.BatchNorm2d]
        return plain and self.conv1.stride == (1, 1) and self.conv2.weight.is_contiguous(memory_format=torch.channels_last)


class Model(nn.Module):
    """The network of Table 1 from the spectrogram on: BN0, stages 0-4, global pooling and two linear layers.

    `rows` is the number of rows of the image (128 mel bins), `classes` the number of outputs N.
    """

    def __init__(self, config: Config, rows: int, classes: int) -> None:
        super().__init__()
        self.config = config
        self.bn0 = nn.BatchNorm1d(rows)
        self.stages = nn.Sequential()
        channels = 1
        for stage, time_stride in enumerate(config.time_strides):
            inputs, channels = channels, 8 * config.width * 2**stage
            stride = (2 if stage else 1, time_stride)
            blocks = [Block(inputs, channels, stride, config.shortcut_bn, first=stage == 0)]
            blocks += [Block(channels, channels, (1, 1), config.shortcut_bn, first=False) for _ in range(3)]
            self.stages.append(nn.Sequential(*blocks))
        self.embedding_size = channels
        self.fc1: nn.Module = nn.Linear(channels, channels)
        self.act: nn.Module = nn.LeakyReLU(SLOPE)
        self.fc2 = nn.Linear(channels, classes)
        self.apply(_initialize)
        if config.linear_head:
            self.linear_head(classes)

    @property
    def frame_multiple(self) -> int:
        """The number of frames must be a multiple of this, or the branches of a stride-4 block disagree."""
        multiple = 1
        for stride in self.config.time_strides:
            multiple *= stride
        return multiple

    def feature_map(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, 1, rows, frames) -> (batch, 128 W, rows / 16, frames / frame_multiple).

        `mask` (batch, 1, rows, frames) of ones and zeros multiplies the normalised image: SpecAugment's place, where
        zero is each bin's mean.
        """
        if image.shape[-1] % self.frame_multiple:
            raise ValueError(f"{to_name(self.config)} needs a multiple of {self.frame_multiple} frames, not {image.shape[-1]}")
        x = self.bn0(image.squeeze(1)).unsqueeze(1)  # (batch, 1, rows, frames)
        if mask is not None:
            x = x * mask
        features: Tensor = self.stages(x.to(next(self.stages.parameters()).dtype))
        return features

    def columns(self, image: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and maximum of each column of the feature map over its rows: twice (batch, 128 W, frames / frame_multiple).

        Global pooling is the mean of the means plus the maximum of the maxima, so that an image may be computed in pieces
        (`eranntag.inference.streaming`).
        """
        features = self.feature_map(image, mask).float()
        # max and not amax: torch.compile recomputes amax's ties at another precision, and gradients become NaN.
        return features.mean(2), features.max(2).values

    def classify(self, pooled: Tensor) -> Tensor:
        """(batch, 128 W) -> logits (batch, classes)."""
        logits: Tensor = self.fc2(self.act(self.fc1(pooled)))
        return logits

    def forward(self, image: Tensor, mask: Tensor | None = None) -> Output:
        """(batch, 1, rows, frames) -> logits (batch, classes) and embedding (batch, 128 W): the globally pooled features."""
        means, highest = self.columns(image, mask)
        pooled = means.mean(-1) + highest.max(-1).values  # (batch, 128 W), whatever the duration
        return Output(self.classify(pooled), pooled)

    def _blocks(self) -> list[Block]:
        return [module for module in self.stages.modules() if isinstance(module, Block)]

    @property
    def context_frames(self) -> int:
        """The frames to either side of its own on which a column of the feature map depends."""
        reach = 0
        step = 1
        for block in self._blocks():
            for conv in (block.conv1, block.conv2):
                assert not isinstance(conv.padding, str)
                reach += max(conv.padding[1], conv.kernel_size[1] - 1 - conv.padding[1]) * step
                step *= conv.stride[1]
        return reach

    @property
    def block_frames(self) -> int:
        """How many frames of a long image are computed at once: wide networks fewer."""
        return BLOCK_FRAMES // self.config.width // self.frame_multiple * self.frame_multiple

    def optimize(self, dtype: torch.dtype) -> None:
        """For evaluation: every BatchNorm that follows a convolution becomes part of it, and the stages compute in `dtype`.

        BN0 (its decibels) and the linear layers stay in float32.
        """
        for block in self._blocks():
            block.conv1, block.norm2 = fused(block.conv1, block.norm2), nn.Identity()
            if isinstance(block.shortcut, nn.Sequential) and len(block.shortcut) == 2:
                block.shortcut = fused(*block.shortcut)
        self.stages.to(dtype)

    def replace_head(self, classes: int, layers: str = "fc2") -> None:
        """A fresh FC2 for another set of classes, with `layers` "fc1+fc2" a fresh FC1 too; everything else, BN0 included, is
        kept. ValueError for other layers."""
        require_head(layers, HEADS)
        if layers == "fc1+fc2" and not self.config.linear_head:
            self.fc1 = nn.Linear(self.embedding_size, self.embedding_size)
        self.fc2 = nn.Linear(self.embedding_size, classes)

    def linear_head(self, classes: int) -> nn.Linear:
        """Makes the head one linear layer on the embedding, and returns it."""
        self.config = replace(self.config, linear_head=True)
        self.fc1, self.act = nn.Identity(), nn.Identity()
        self.fc2 = nn.Linear(self.embedding_size, classes)
        return self.fc2


def _initialize(module: nn.Module) -> None:
    """He normal for convolutions (Leaky ReLU gain), torch's default for linear layers; the papers print nothing."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, a=SLOPE, nonlinearity="leaky_relu")
