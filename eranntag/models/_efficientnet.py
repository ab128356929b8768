"""EfficientNet-B2 without its classifier, in the layers of its authors' TensorFlow weights.

Tan, Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", arXiv:1905.11946: Table 1 with width
1.1 and depth 1.2. TensorFlow's layers are a BatchNorm of eps 1e-3 that moves by 0.01, and "same" padding, which is not
symmetric where a convolution halves an even size.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

STEM, TOP = 32, 1408  # channels of the first and the last convolution
STAGES = (  # expansion, kernel, stride of the first block, channels, blocks
    (1, 3, 1, 16, 2),
    (6, 3, 2, 24, 3),
    (6, 5, 2, 48, 3),
    (6, 3, 2, 88, 4),
    (6, 5, 1, 120, 4),
    (6, 5, 2, 208, 5),
    (6, 3, 1, 352, 2),
)
SQUEEZE = 4  # squeeze-excite has a quarter of the channels that enter the block
DROP_CONNECT = 0.2  # of a block that would follow the last one; the first block has 0


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's "same": how many zeros go before and after `size` values, so that ceil(size / stride) come out."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class SameConv2d(nn.Conv2d):
    """A convolution with "same" padding for `rows` rows and any number of frames that `stride` (1 or 2) divides.

    All even sizes are padded alike, so that the padding is constant and a traced graph is right for every duration.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, rows: int, groups: int = 1) -> None:
        (top, bottom), (left, right) = same_padding(rows, kernel, stride), same_padding(stride, kernel, stride)
        symmetric = (top, left) == (bottom, right)
        padding = (top, left) if symmetric else 0
        super().__init__(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.margins = None if symmetric else (left, right, top, bottom)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if self.margins is None else functional.pad(x, self.margins))


def normed(convolution: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels, eps=1e-3, momentum=0.01))


class SqueezeExcite(nn.Module):
    """Each channel times a gate in (0, 1), which is computed from the means of all channels over the whole image.

    Linear layers, at their own precision: sums over a whole image and sigmoids are no place for half precision.
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.reduce = nn.Linear(channels, squeezed)
        self.act = nn.SiLU()
        self.expand = nn.Linear(squeezed, channels)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean((2, 3), dtype=self.reduce.weight.dtype)  # (batch, channels)
        gates = self.expand(self.act(self.reduce(means))).sigmoid()
        scaled: Tensor = x * gates.to(x.dtype)[:, :, None, None]
        return scaled


class Block(nn.Module):
    """MBConv: a 1x1 expansion, a convolution of each channel by itself, squeeze-excite, a 1x1 projection, and the input
    again where the shape stays. `drop`: the probability that training leaves out all but the input (drop-connect)."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int, rows: int, drop: float) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = normed(SameConv2d(inputs, hidden, 1, 1, rows)) if expansion > 1 else None
        self.depthwise = normed(SameConv2d(hidden, hidden, kernel, stride, rows, groups=hidden))
        self.squeeze = SqueezeExcite(hidden, inputs // SQUEEZE)
        self.project = normed(SameConv2d(hidden, outputs, 1, 1, rows))
        self.act = nn.SiLU()
        self.residual = stride == 1 and inputs == outputs
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = x if self.expand is None else self.act(self.expand(x))
        h = self.project(self.squeeze(self.act(self.depthwise(h))))  # (batch, outputs, rows / stride, frames / stride)
        if not self.residual:
            return h
        return x + (drop_connect(h, self.drop) if self.training and self.drop else h)


def drop_connect(x: Tensor, rate: float) -> Tensor:
    """Each example of `x` becomes zero with probability `rate`, else it is divided by 1 - rate: the mean stays."""
    kept = torch.empty(len(x), 1, 1, 1, dtype=x.dtype, device=x.device).bernoulli_(1 - rate)
    return x * (kept / (1 - rate))


class EfficientNet(nn.Module):
    """(batch, inputs, rows, frames) -> (batch, 1408, rows / 32 rounded up, frames / 32). 32 must divide the frames.

    7 700 418 parameters with one input channel.
    """

    channels = TOP

    def __init__(self, inputs: int, rows: int) -> None:
        super().__init__()
        self.stem = normed(SameConv2d(inputs, STEM, 3, 2, rows))
        self.act = nn.SiLU()
        self.stages = nn.Sequential()
        rows, channels, done, blocks = -(-rows // 2), STEM, 0, sum(stage[-1] for stage in STAGES)
        for expansion, kernel, first_stride, outputs, count in STAGES:
            stage = nn.Sequential()
            for stride in (first_stride, *[1] * (count - 1)):
                drop = DROP_CONNECT * done / blocks
                stage.append(Block(channels, outputs, expansion, kernel, stride, rows, drop))
                rows, channels, done = -(-rows // stride), outputs, done + 1
            self.stages.append(stage)
        self.top = normed(SameConv2d(channels, TOP, 1, 1, rows))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.top(self.stages(self.act(self.stem(x)))))
        return out
