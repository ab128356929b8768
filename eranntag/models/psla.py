"""PSLA: EfficientNet-B2 with four attention heads over time.

Gong, Chung, Glass, "PSLA: Improving Audio Tagging with Pretraining, Sampling, Labeling, and Aggregation",
arXiv:2102.01243 (Section III, Figure 1, Table II). The image is the Kaldi-compatible log-mel filterbank (natural
logarithm), 128 rows, 100 frames a second; ten seconds are padded to 1056 frames.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from eranntag.models._contracts import WindowedModel, require_head
from eranntag.models._efficientnet import EfficientNet
from eranntag.models._fusion import optimize_sequences
from eranntag.models._pooling import EPSILON, Pooled, logits, without_autocast
from eranntag.models._resnet import ResNet
from eranntag.types import Output

FRONTEND: tuple[str, dict[str, Any]] = ("fbank", {})
HEADS = ("attention",)  # what `replace_head` can replace
PAPER_HEADS = {"efficientnet-b2": 4, "resnet-50": 1}  # the backbones, and with how many heads the paper has them (Table II)
POOLING = {0: "mean", 1: "single"}  # numbers of heads that have a word
MAX_HEADS = 16
FRAME_MULTIPLE = 32  # by how much both backbones divide the frames


@dataclass(frozen=True)
class Config:
    """`backbone`: "efficientnet-b2" or "resnet-50". `heads`: of the attention over time; 1 has no weights v of heads, 0
    is the plain mean over time. `mean`, `std`: of the images (natural logarithms) that are to be normalised; `input_norm`: a
    BatchNorm of the rows does that instead, for front-ends of other numbers than the paper's. `linear_head`: one linear layer
    on the embedding instead of the attention."""

    backbone: str = "efficientnet-b2"
    heads: int = 4
    mean: float = -4.6476
    std: float = 4.5699
    input_norm: bool = False
    linear_head: bool = False

    def __post_init__(self) -> None:
        if self.backbone not in PAPER_HEADS:
            raise ValueError(f"the backbone must be {' or '.join(PAPER_HEADS)}, not {self.backbone!r}")
        if self.heads not in range(MAX_HEADS + 1):
            raise ValueError(f"the heads must be 0 (mean over time) to {MAX_HEADS}, not {self.heads}")
        if not math.isfinite(self.mean):
            raise ValueError(f"the mean must be finite, not {self.mean}")
        if not 0 < self.std < math.inf:
            raise ValueError(f"the standard deviation must be positive and finite, not {self.std}")


def config_for_other_frontend(config: Config) -> Config:
    """Return the configuration for another front-end, whose mean is unknown and whose loudest value may be the mask's 0."""
    return replace(config, input_norm=True)


def to_name(config: Config) -> str:
    """`psla` and `psla-resnet-50` with the paper's heads; else `psla-mean`, `psla-single`, `psla-2-heads` and so on."""
    name = "psla" if config.backbone == "efficientnet-b2" else f"psla-{config.backbone}"
    if config.heads == PAPER_HEADS[config.backbone]:
        return name
    return f"{name}-{POOLING.get(config.heads, f'{config.heads}-heads')}"


_NAMED = {to_name(config): config for config in (Config(b, h) for b in PAPER_HEADS for h in range(MAX_HEADS + 1))}


def from_name(name: str) -> Config | None:
    """The configuration that `name` stands for, or None."""
    return _NAMED.get(name)


class Head(nn.Module):
    """Attention over time, for each class and head by itself (Section III-B).

    Head h: o_h = sum_t a_h(t) c_h(t), with the attention a_h normalised over time and the scores c_h both sigmoids of a
    linear layer. A clip's probability is sum_h v_h o_h with learnable weights v, which nothing bounds: it is clamped.

    A frame's probability is sum_h v_h c_h(t): what the whole clip would get if it were this frame alone. Each head's o_h is
    a mean of its c_h(t), so that clips and frames are on one scale.
    """

    def __init__(self, channels: int, classes: int, heads: int) -> None:
        super().__init__()
        self.shape = (max(heads, 1), classes)
        self.scores = nn.Linear(channels, self.shape[0] * classes)
        self.attention = nn.Linear(channels, heads * classes) if heads else None
        self.weights = nn.Parameter(torch.full((heads,), 1 / heads)) if heads > 1 else None  # v

    def forward(self, x: Tensor) -> Pooled:
        """(batch, frames, channels) -> logits (batch, classes) and (batch, frames, classes), in float32.

        Logits of clamped probabilities, so that the cross-entropy with logits is the paper's binary cross-entropy.
        """
        with without_autocast(x.device.type):
            scores = self.scores(x).sigmoid().unflatten(2, self.shape)  # (batch, frames, heads, classes)
            if self.attention is None:
                pooled = scores.mean(1)
            else:
                attention = self.attention(x).sigmoid().clamp(EPSILON, 1 - EPSILON).unflatten(2, self.shape)
                pooled = (attention * scores).sum(1) / attention.sum(1)  # (batch, heads, classes)
            return Pooled(self._logits(pooled), self._logits(scores))

    def _logits(self, x: Tensor) -> Tensor:
        """Probabilities (..., heads, classes) -> the logits (..., classes) of their weighted sum."""
        return logits(x.squeeze(-2) if self.weights is None else (x * self.weights[:, None]).sum(-2))


class LinearHead(nn.Module):
    """One linear layer: what it makes of the mean over time is the mean of what it makes of the frames."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Pooled:
        """(batch, frames, channels) -> logits (batch, classes) and (batch, frames, classes)."""
        frame_logits = self.linear(x)
        return Pooled(frame_logits.mean(1), frame_logits)


class Model(WindowedModel, nn.Module):
    """Normalisation, backbone, mean over the rows that are left, attention over time.

    `rows` is the number of rows of the image (128 mel bands), `classes` the number of outputs.
    """

    def __init__(self, config: Config, rows: int, classes: int) -> None:
        super().__init__()
        self.config = config
        self.bn0 = nn.BatchNorm1d(rows) if config.input_norm else None
        self.backbone = EfficientNet(1, rows) if config.backbone == "efficientnet-b2" else ResNet(1)
        self.embedding_size = self.backbone.channels
        self.head: nn.Module = Head(self.embedding_size, classes, config.heads)
        self.apply(_initialize)
        if config.linear_head:
            self.linear_head(classes)

    @property
    def frame_multiple(self) -> int:
        return FRAME_MULTIPLE

    def feature_map(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, 1, rows, frames) -> (batch, channels, rows / 32, frames / 32); channels are 1408 or 2048.

        `mask` (batch, 1, rows, frames) of ones and zeros multiplies the image before it is normalised: the paper masks with
        the logarithm 0, which is 1.017 after normalisation, as are the frames that pad a clip. With `input_norm`: after it.
        """
        if image.shape[-1] % FRAME_MULTIPLE:
            raise ValueError(f"{to_name(self.config)} needs a multiple of {FRAME_MULTIPLE} frames, not {image.shape[-1]}")
        if self.bn0 is None:
            x = (_masked(image, mask) - self.config.mean) / self.config.std
        else:
            x = _masked(self.bn0(image.squeeze(1)).unsqueeze(1), mask)
        features: Tensor = self.backbone(x.to(next(self.backbone.parameters()).dtype))
        return features

    def forward(self, image: Tensor, mask: Tensor | None = None) -> Output:
        """(batch, 1, rows, frames) -> logits (batch, classes), those of frames (batch, frames / 32, classes) and embedding
        (batch, 1408 or 2048): the means of the last feature map."""
        features = self.feature_map(image, mask).float().mean(2)  # (batch, channels, frames / 32)
        clip_logits, frame_logits = self.head(features.transpose(1, 2))
        return Output(clip_logits, features.mean(-1), frame_logits)

    def optimize(self, dtype: torch.dtype) -> None:
        """For evaluation: every BatchNorm becomes part of the convolution before it, and convolutions compute in `dtype`.

        Squeeze-excite and the attention, linear layers all, stay in float32.
        """
        optimize_sequences(self.backbone, dtype)
        for layer in self.backbone.modules():
            if isinstance(layer, nn.SiLU | nn.ReLU):
                layer.inplace = True

    def load_pretrained(self) -> str:
        """Begin with ImageNet weights, all but the first convolution's. Raises UsageError, FetchError, IntegrityError."""
        from eranntag.models import _imagenet

        return _imagenet.load(self)

    def replace_head(self, classes: int, layers: str = "attention") -> None:
        """Fresh heads for another set of classes; the backbone is kept. ValueError for other layers."""
        require_head(layers, HEADS)
        if self.config.linear_head:
            self.linear_head(classes)
        else:
            self.head = Head(self.embedding_size, classes, self.config.heads).apply(_initialize)

    def linear_head(self, classes: int) -> nn.Linear:
        """Makes the head one linear layer on the embedding, and returns it."""
        self.config = replace(self.config, linear_head=True)
        self.head = LinearHead(self.embedding_size, classes).apply(_initialize)
        return self.head.linear


def _masked(image: Tensor, mask: Tensor | None) -> Tensor:
    return image if mask is None else image * mask


def _initialize(module: nn.Module) -> None:
    """He-uniform, as the paper has it without pretraining, and no bias, so that all gates and scores start about 1/2.

    For the layers before sigmoids too, as in the authors' code; BatchNorm (1 and 0) follows all convolutions, which makes
    their scale irrelevant.
    """
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
