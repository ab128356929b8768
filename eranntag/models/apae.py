"""2APAE: two-step attention pooling with an auxiliary auto-encoder, for weakly labelled sound event detection.

Deshmukh, Raj, Singh, "Multi-Task Learning for Interpretable Weakly Labelled Sound Event Detection" (Tables I to III, equations
(8) to (15)), and the networks that it is compared with. What the paper does not print, or prints otherwise than it can be
meant, is as in the authors' public code.

The image is (batch, 1, rows, frames), the authors' transposed, as are their kernels.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from eranntag.errors import UsageError
from eranntag.models._contracts import WindowedModel, require_head
from eranntag.models._fusion import optimize_sequences
from eranntag.models._pooling import logits
from eranntag.models._weak_pooling import AtrousAttention, RankPooling, Steps, TwoStepAttention
from eranntag.types import Output

FRONTEND: tuple[str, dict[str, Any]] = ("melmag", {})
HEADS = ("classes",)  # what `replace_head` can replace
POOLINGS = {  # by the names of their networks
    "2apae": "two-step",
    "2apae-literal": "two-step-literal",
    "gap": "mean",
    "gmp": "max",
    "gwrp": "rank",
    "atrous": "atrous",
}
LINEAR = "-linear"  # behind the name: a decoder whose output is not rectified
ENCODER, DECODER, BASELINE, ATROUS = (32, 64, 128, 256), (128, 64, 32, 1), (32, 64, 128, 128), (64, 128, 256)  # channels


@dataclass(frozen=True)
class Config:
    """`pooling`: one of POOLINGS. `decoder_linear_output`: without the last ReLU, which cannot give the negative half of a
    standardized image. `gwrp_decay`: of the pooling "rank". `frames`: 2APAE's attention maps so many to as many."""

    pooling: str = "two-step"
    decoder_linear_output: bool = False
    gwrp_decay: float = 0.9998
    frames: int = 311

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS.values():
            raise ValueError(f"the pooling must be {', '.join(POOLINGS.values())}, not {self.pooling!r}")
        if self.decoder_linear_output and not self.two_step:
            raise ValueError(f"the network with the pooling {self.pooling!r} has no decoder")
        if not 0 <= self.gwrp_decay <= 1:
            raise ValueError(f"the decay of the ranks' weights must be in 0 .. 1, not {self.gwrp_decay}")
        if self.frames < 1:
            raise ValueError(f"the attention needs 1 frame or more, not {self.frames}")

    @property
    def two_step(self) -> bool:
        return self.pooling.startswith("two-step")


def from_name(name: str) -> Config | None:
    """The configuration of the network that `name` stands for (POOLINGS; 2APAE's with LINEAR behind them too), or None."""
    pooling = POOLINGS.get(name.removesuffix(LINEAR), "")
    if not pooling or (name.endswith(LINEAR) and not pooling.startswith("two-step")):
        return None
    return Config(pooling, name.endswith(LINEAR))


def to_name(config: Config) -> str:
    """The inverse of `from_name`; a description, which it does not know, of networks that are not in the paper."""
    name = next(name for name, pooling in POOLINGS.items() if pooling == config.pooling)
    name += LINEAR if config.decoder_linear_output else ""
    if config.two_step and config.frames != Config.frames:
        return f"{name} of {config.frames} frames"
    if config.pooling == "rank" and config.gwrp_decay != Config.gwrp_decay:
        return f"{name} with decay {config.gwrp_decay:g}"
    return name


def config_for_other_frontend(config: Config) -> Config:
    """Return `config`: the rows are standardized by the training clips, whatever their scale."""
    return config


@dataclass(frozen=True)
class Explanation:
    """What Figure 3 shows of a window of `Config.frames`: `image`, standardized, and its `reconstruction`
    (batch, 1, rows, frames), and both steps of the attention."""

    image: Tensor
    reconstruction: Tensor
    steps: Steps


class Model(WindowedModel, nn.Module):
    """Standardization, encoder, pooling; 2APAE also has a decoder, which makes the image again of the encoder's feature map.

    `rows` is the number of rows of the image (64 mel bands), `classes` the number of outputs.

    2APAE computes windows of 311 frames (10 seconds) that overlap by half; the last one ends in zeros, each band's mean, and so
    does a shorter image. A clip's probability is the highest of its windows, a frame's the mean of the
    windows that it is in. The other networks take any number of frames at once.
    """

    mean: Tensor
    std: Tensor
    frame_multiple = 1
    gated = True  # Kong et al.'s post-processing looks for a class only in clips that have it

    def __init__(self, config: Config, rows: int, classes: int) -> None:
        super().__init__()
        self.config = config
        self.highest = config.two_step
        widths = {"two-step": ENCODER, "two-step-literal": ENCODER, "atrous": ATROUS}
        self.embedding_size = widths.get(config.pooling, BASELINE)[-1]
        self.register_buffer("mean", torch.zeros(rows))
        self.register_buffer("std", torch.ones(rows))
        self.decoder: nn.Sequential | None = None
        self.head: TwoStepAttention | AtrousAttention | RankPooling
        if config.two_step:
            self.encoder = _blocks(1, ENCODER, pool=True)
            self.decoder = _blocks(ENCODER[-1], DECODER, pool=True, linear=config.decoder_linear_output)
            literal = config.pooling == "two-step-literal"
            self.head = TwoStepAttention(ENCODER[-1], classes, rows, config.frames, literal)
        elif config.pooling == "atrous":
            layers = [_convolution(*pair, 5, 2**i) for i, pair in enumerate(zip((1, *ATROUS), ATROUS, strict=False))]
            self.encoder = nn.Sequential(*layers)
            self.head = AtrousAttention(ATROUS[-1], classes)
        else:
            self.encoder = _blocks(1, BASELINE, pool=False)
            self.head = RankPooling(BASELINE[-1], classes, {"mean": 1.0, "max": 0.0}.get(config.pooling, config.gwrp_decay))

    def standardize(self, mean: Any, std: Any) -> None:
        """Subtract `mean` (rows,) from the image's rows and divide them by `std` (rows,), numbers of the training
        clips, kept with the weights. A row that never changes, of standard deviation 0, becomes 0. ValueError for others."""
        mean, std = (torch.as_tensor(values, dtype=self.mean.dtype, device=self.mean.device) for values in (mean, std))
        if mean.shape != self.mean.shape or std.shape != self.std.shape:
            raise ValueError(f"{len(self.mean)} rows need as many means and deviations, not {[*mean.shape]} and {[*std.shape]}")
        if not (mean.isfinite().all() and std.isfinite().all() and (std >= 0).all()):
            raise ValueError("the rows' means and standard deviations must be finite, and no deviation negative")
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 0, std, torch.ones_like(std)))

    def standardized(self, image: Tensor) -> Tensor:
        """The image (batch, 1, rows, frames) that the encoder reads and the decoder reconstructs."""
        return (image - self.mean[:, None]) / self.std[:, None]

    def forward(self, image: Tensor, mask: Tensor | None = None) -> Output:
        """`mask` (batch, 1, rows, frames) of ones and zeros multiplies the standardized image, where zero is each band's mean.

        The embedding (batch, 256; 128 for gap, gmp and gwrp) has the means of the encoder's feature map. The reconstruction
        (batch, 1, rows, frames) is there in training alone: tagging takes two thirds of the time without.
        """
        x = self.standardized(image)
        x = x if mask is None else x * mask
        if self.decoder is None:
            features = self.encoder(self._cast(x))
            clip_logits, frame_logits = self.head(features)
            return Output(clip_logits, features.float().mean((2, 3)), frame_logits)
        windows = _windows(x, self.config.frames)  # (batch, windows, 1, rows, frames of a window)
        features = self.encoder(self._cast(windows.flatten(0, 1)))
        steps = self.head(features)

        def joined(each: Tensor) -> Tensor:
            """(batch * windows, rows or classes, frames of a window) -> (batch, rows or classes, frames)"""
            return _joined(each.float().reshape(*windows.shape[:2], *each.shape[1:]), x.shape[-1])

        clip_scores = steps.clip_scores.reshape(*windows.shape[:2], -1).max(1).values
        means = features.float().mean((2, 3))  # (batch * windows, channels)
        return Output(
            clip_logits=logits(clip_scores),
            embedding=means.reshape(*windows.shape[:2], -1).mean(1),
            frame_logits=logits(joined(steps.frame_scores)).transpose(1, 2),
            reconstruction=joined(self.decoder(features).squeeze(1)).unsqueeze(1) if self.training else None,
        )

    def explain(self, image: Tensor) -> Explanation:
        """2APAE's view of an image (batch, 1, rows, frames) of one window, zeros up to its whole length included. ValueError
        for longer images and other networks."""
        if self.decoder is None:
            raise ValueError(f"{to_name(self.config)} has neither two steps of attention nor a decoder; 2apae has")
        if image.shape[-1] > self.config.frames:
            raise ValueError(f"at most {self.config.frames} frames can be explained at once, not {image.shape[-1]}")
        x = _windows(self.standardized(image), self.config.frames).squeeze(1)
        features = self.encoder(self._cast(x))
        return Explanation(x, self.decoder(features).float(), self.head(features))

    def _cast(self, x: Tensor) -> Tensor:
        return x.to(next(self.encoder.parameters()).dtype)

    def optimize(self, dtype: torch.dtype) -> None:
        """For evaluation: every BatchNorm becomes part of the convolution before it, and convolutions compute in `dtype`.

        The standardization, the attention and all other pooling stay in float32.
        """
        optimize_sequences(self, dtype)

    def replace_head(self, classes: int, layers: str = "classes") -> None:
        """Fresh 1x1 convolutions for another set of classes; encoder, decoder and what all classes share of the attention are
        kept. ValueError for other layers."""
        require_head(layers, HEADS)
        self.head.renew(classes)

    def linear_head(self, classes: int) -> nn.Linear:
        """Raises UsageError: these heads pool the scores of cells, and no embedding."""
        raise UsageError(f"{to_name(self.config)} has no linear head; fine-tune it with --head classes")


def _convolution(inputs: int, channels: int, size: int = 3, dilation: int = 1, linear: bool = False) -> nn.Sequential:
    """Size x size at stride 1, BatchNorm and ReLU; the image keeps its size."""
    conv = nn.Conv2d(inputs, channels, size, padding=size // 2 * dilation, dilation=dilation, bias=False)
    nn.init.kaiming_uniform_(conv.weight, nonlinearity="relu")  # as in the authors' code
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.Identity() if linear else nn.ReLU(inplace=True))


def _blocks(inputs: int, channels: tuple[int, ...], pool: bool, linear: bool = False) -> nn.Sequential:
    """Blocks of two 3x3 convolutions, and with `pool` the mean of 3x3 cells at stride 1, zeros around the image included.

    `linear`: without the very last ReLU.
    """
    blocks = nn.Sequential()
    for block, width in enumerate(channels):
        last = linear and block == len(channels) - 1
        layers: list[nn.Module] = [_convolution(inputs, width), _convolution(width, width, linear=last)]
        blocks.append(nn.Sequential(*layers, *([nn.AvgPool2d(3, 1, 1)] if pool else [])))
        inputs = width
    return blocks


def _windows(image: Tensor, frames: int) -> Tensor:
    """(batch, 1, rows, any number of frames) -> (batch, windows, 1, rows, frames): 1 + ceil((any - frames) / hop), or one.

    No condition on the shape, so that a traced network cuts images of other lengths as it should.
    """
    missing = image.new_zeros(*image.shape[:-1], frames)[..., image.shape[-1] :]  # none from `frames` on
    padded = functional.pad(torch.cat([image, missing], -1), (0, _hop(frames) - 1))
    by_row = padded.transpose(1, 2)
    columns = functional.unfold(by_row, (1, frames), stride=(1, _hop(frames)))  # (batch, rows * frames, windows)
    return columns.transpose(1, 2).reshape(image.shape[0], -1, *image.shape[1:3], frames)


def _joined(windows: Tensor, frames: int) -> Tensor:
    """(batch, windows, rows, frames of a window) -> (batch, rows, frames): the mean where windows overlap."""
    count, _, size = windows.shape[1:]
    columns = windows.flatten(2).transpose(1, 2)  # (batch, rows * size, windows)
    shape = {"output_size": (1, (count - 1) * _hop(size) + size), "kernel_size": (1, size), "stride": (1, _hop(size))}
    overlaps = functional.fold(torch.ones_like(columns[:1, :size]), **shape)  # how many windows each frame is in
    return (functional.fold(columns, **shape) / overlaps)[:, :, 0, :frames]


def _hop(frames: int) -> int:
    """Frames between the beginnings of windows: half of them overlap."""
    return max(1, frames // 2)
