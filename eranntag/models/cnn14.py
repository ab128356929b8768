"""CNN14: the best known of the Pretrained Audio Neural Networks.

Kong, Cao, Iqbal, Wang, Wang, Plumbley, "PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern Recognition",
2020, arXiv:1912.10211 (Table 1, Section II-A). What the paper does not print, such as the initialization, is as in the authors'
public code. `eranntag.checkpoints.loading.convert` reads their published weights.

The image is (batch, 1, rows, frames): frequency before time. The authors' is transposed, and so are their kernels.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from eranntag.models._contracts import WindowedModel, require_head
from eranntag.models._fusion import fused
from eranntag.types import Output

HEADS = ("fc2", "fc1+fc2")  # what `replace_head` can replace, the default first
SMALLEST = 32  # rows and frames that five poolings leave one of
DROPOUT, HEAD_DROPOUT = 0.2, 0.5  # after each block; before each linear layer

FRONTEND: tuple[str, dict[str, Any]] = (
    "logmel",
    {
        "sample_rate_hz": 32000,
        "window_samples": 1024,
        "hop_samples": 320,
        "frames_per_second": 100,
        "n_mels": 64,
        "fmin_hz": 50.0,
        "fmax_hz": 14000.0,
        "whole_seconds": False,
    },
)


@dataclass(frozen=True)
class Config:
    """`channels` of the first block; each of the five others has twice those of the one before. The paper has 64 alone."""

    channels: int = 64

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise ValueError(f"the first block must have 1 channel or more, not {self.channels}")


def from_name(name: str) -> Config | None:
    """The paper's network for its name, `cnn14`; None for other names."""
    return Config() if name == "cnn14" else None


def to_name(config: Config) -> str:
    """`cnn14`; a description, which `from_name` does not know, for networks that are not in the paper."""
    return "cnn14" if config == Config() else f"cnn14 from {config.channels} channels on"


def config_for_other_frontend(config: Config) -> Config:
    """Return `config`: BN0 adapts to any scale."""
    return config


class Block(nn.Module):
    """Two 3x3 convolutions, each with BatchNorm and ReLU, and the mean of `pool` x `pool` cells: a last odd row or column is
    dropped, as published."""

    def __init__(self, inputs: int, channels: int, pool: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, padding=1, bias=False)
        self.norm1: nn.Module = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2: nn.Module = nn.BatchNorm2d(channels)
        self.act = nn.ReLU(inplace=True)
        self.pool = nn.AvgPool2d(pool) if pool > 1 else nn.Identity()
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.norm1(self.conv1(x)))  # (batch, channels, rows, frames)
        h = self.act(self.norm2(self.conv2(h)))
        out: Tensor = self.dropout(self.pool(h))
        return out


class Model(WindowedModel, nn.Module):
    """The network of Table 1 from the spectrogram on: BN0, six blocks, pooling and two linear layers.

    `rows` is the number of rows of the image (64 mel bins), `classes` the number of outputs. ValueError for fewer than 32 rows.
    """

    frame_multiple = 1

    def __init__(self, config: Config, rows: int, classes: int) -> None:
        super().__init__()
        if rows < SMALLEST:
            raise ValueError(f"cnn14 halves the rows of its image five times and needs {SMALLEST} or more, not {rows}")
        self.config = config
        self.bn0 = nn.BatchNorm1d(rows)
        widths = [1, *(config.channels * 2**block for block in range(6))]
        pools = [2, 2, 2, 2, 2, 1]
        self.blocks = nn.Sequential(*map(Block, widths[:-1], widths[1:], pools))
        self.embedding_size = widths[-1]
        self.fc1 = nn.Linear(widths[-1], widths[-1])
        self.act = nn.ReLU()
        self.fc2 = nn.Linear(widths[-1], classes)
        self.dropout = nn.Dropout(HEAD_DROPOUT)
        self.apply(_initialize)

    def feature_map(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, 1, rows, frames) -> (batch, 32 channels, rows // 32, frames // 32), with one column at least.

        `mask` (batch, 1, rows, frames) of ones and zeros multiplies the normalised image: SpecAugment's place, where zero is
        each bin's mean. Images of less than 32 frames (0.32 s), which the authors' code refuses, are continued with such zeros.
        """
        x = self.bn0(image.squeeze(1)).unsqueeze(1)  # (batch, 1, rows, frames)
        if mask is not None:
            x = x * mask
        missing = x.new_zeros(*x.shape[:-1], SMALLEST)[..., x.shape[-1] :]  # none from 32 frames on, also when it is traced
        features: Tensor = self.blocks(torch.cat([x, missing], -1).to(next(self.blocks.parameters()).dtype))
        return features

    def forward(self, image: Tensor, mask: Tensor | None = None) -> Output:
        """(batch, 1, rows, frames) -> logits (batch, classes) and PANNs' embedding (batch, 2048), the hidden layer."""
        columns = self.feature_map(image, mask).float().mean(2)  # (batch, 32 channels, columns)
        pooled = columns.max(-1).values + columns.mean(-1)  # (batch, 32 channels), whatever the duration
        hidden = self.act(self.fc1(self.dropout(pooled)))
        return Output(self.fc2(self.dropout(hidden)), hidden)

    def optimize(self, dtype: torch.dtype) -> None:
        """For evaluation: every BatchNorm that follows a convolution becomes part of it, and the blocks compute in `dtype`.

        BN0 (its decibels), the pooling over all columns and the linear layers stay in float32.
        """
        for block in self.blocks:
            assert isinstance(block, Block)
            block.conv1, block.norm1 = fused(block.conv1, block.norm1), nn.Identity()
            block.conv2, block.norm2 = fused(block.conv2, block.norm2), nn.Identity()
        self.blocks.to(dtype)

    def replace_head(self, classes: int, layers: str = "fc2") -> None:
        """A fresh FC2 for another set of classes, with `layers` "fc1+fc2" a fresh FC1 too; everything else, BN0 included, is
        kept. ValueError for other layers."""
        require_head(layers, HEADS)
        if layers == "fc1+fc2":
            self.fc1 = nn.Linear(self.fc1.in_features, self.fc1.out_features)
            _initialize(self.fc1)
        self.linear_head(classes)

    def linear_head(self, classes: int) -> nn.Linear:
        """Replaces the last layer, which is linear on the embedding already, and returns it."""
        self.fc2 = nn.Linear(self.embedding_size, classes)
        _initialize(self.fc2)
        return self.fc2


def _initialize(module: nn.Module) -> None:
    """Xavier uniform weights and zero biases, as in the authors' code."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
