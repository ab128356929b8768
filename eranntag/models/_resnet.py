"""ResNet-50 without its classifier.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", arXiv:1512.03385, Table 1; the stride is in a block's
3x3 convolution, as in the widely used weights.
"""

from torch import Tensor, nn

STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))  # width, blocks
EXPANSION = 4  # a block's output has so many times its width


def normed(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = EXPANSION * width
        self.conv1 = normed(inputs, width, 1)
        self.conv2 = normed(width, width, 3, stride)
        self.conv3 = normed(width, outputs, 1)
        self.shortcut = nn.Identity() if (inputs, stride) == (outputs, 1) else normed(inputs, outputs, 1, stride)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv3(self.act(self.conv2(self.act(self.conv1(x)))))
        out: Tensor = self.act(h + self.shortcut(x))
        return out


class ResNet(nn.Module):
    """(batch, inputs, rows, frames) -> (batch, 2048, rows / 32, frames / 32), both rounded up.

    23 501 760 parameters with one input channel.
    """

    channels = EXPANSION * STAGES[-1][0]

    def __init__(self, inputs: int) -> None:
        super().__init__()
        channels = STAGES[0][0]
        self.stem = normed(inputs, channels, 7, 2)
        self.act = nn.ReLU()
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        self.stages = nn.Sequential()
        for stage, (width, blocks) in enumerate(STAGES):
            strides = (2 if stage else 1, *[1] * (blocks - 1))
            blocks_of_stage = nn.Sequential()
            for stride in strides:
                blocks_of_stage.append(Bottleneck(channels, width, stride))
                channels = EXPANSION * width
            self.stages.append(blocks_of_stage)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.stages(self.pool(self.act(self.stem(x))))
        return out
