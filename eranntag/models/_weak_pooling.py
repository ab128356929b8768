"""From a feature map to what a clip and its frames contain, learned from labels of clips alone: 2APAE's two-step attention and
the poolings that its paper compares it with.

Deshmukh, Raj, Singh, "Multi-Task Learning for Interpretable Weakly Labelled Sound Event Detection": equations (8) to (15) and
Section IV; what it does not print as in the authors' public code. Feature maps are (batch, channels, rows, frames). Each
head has a 1x1 convolution `classes`, and `renew` gives it new classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eranntag.models._pooling import Pooled, logits, without_autocast

ATTENTION_RANGE = 0.1, 0.9  # of each cell before it is normalised, in the atrous network


def class_convolution(channels: int, classes: int) -> nn.Conv2d:
    """1x1, He-uniform weights and no bias at first."""
    conv = nn.Conv2d(channels, classes, 1)
    nn.init.kaiming_uniform_(conv.weight, nonlinearity="relu")
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


@dataclass(frozen=True)
class Steps:
    """Both steps of the attention: each one's weights, which sum to 1 over what it pools, and the weighted mean.

    A1 (batch, classes, rows, frames); Z_p1 (batch, classes, frames); A2 (batch, classes, frames); Z_p2 (batch, classes).
    """

    frequency_attention: Tensor
    frame_scores: Tensor
    time_attention: Tensor
    clip_scores: Tensor


class TwoStepAttention(nn.Module):
    """Attention over the rows of each frame, then over the frames; linear maps of rows and of frames that all classes share.

    A1 = softmax(Z W_a1 + b_a1), C1 = sigmoid(Z W_c1 + b_c1), Z_p1 = sum over rows of A1 C1, and the same of Z_p1 over frames
    with W_a2 and W_c2, which thus fix the number of frames. Where the sigmoid stands is the public code's: with it, all scores
    are in (0, 1). `literal`: equations (8) to (15) as they are printed have it on the attention, before the softmax, so that
    scores are not bounded.
    """

    def __init__(self, channels: int, classes: int, rows: int, frames: int, literal: bool) -> None:
        super().__init__()
        self.literal = literal
        self.classes = class_convolution(channels, classes)
        self.a1, self.c1 = nn.Linear(rows, rows), nn.Linear(rows, rows)
        self.a2, self.c2 = nn.Linear(frames, frames), nn.Linear(frames, frames)

    def forward(self, features: Tensor) -> Steps:
        """In float32 from the class convolution on."""
        z = self.classes(features).float().transpose(2, 3)  # (batch, classes, frames, rows)
        with without_autocast(z.device.type):
            frequency_attention, frame_scores = self._pool(self.a1(z), self.c1(z))
            time_attention, clip_scores = self._pool(self.a2(frame_scores), self.c2(frame_scores))
        return Steps(frequency_attention.transpose(2, 3), frame_scores, time_attention, clip_scores)

    def _pool(self, attention: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """(..., pooled) each -> the weights (..., pooled) and the weighted mean (...)."""
        if self.literal:
            weights = attention.sigmoid().softmax(-1)
        else:
            weights, scores = attention.softmax(-1), scores.sigmoid()
        return weights, (weights * scores).sum(-1)

    def renew(self, classes: int) -> None:
        self.classes = class_convolution(self.classes.in_channels, classes)


class RankPooling(nn.Module):
    """Global weighted rank pooling: the mean of all cells' probabilities, the j-th highest weighted by decay^j.

    With decay 0 it is the maximum (GMP), with 1 the mean (GAP); Kong et al., "Sound event detection and time-frequency
    segmentation from weakly labelled data", 2019, whose code also makes a frame's probability: the mean over rows.
    """

    def __init__(self, channels: int, classes: int, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.classes = class_convolution(channels, classes)

    def forward(self, features: Tensor) -> Pooled:
        scores = self.classes(features).float().sigmoid()  # (batch, classes, rows, frames)
        return Pooled(logits(self._pool(scores.flatten(2))), logits(scores.mean(2)).transpose(1, 2))

    def _pool(self, cells: Tensor) -> Tensor:
        """(batch, classes, cells) -> (batch, classes); the two limits need no sorting."""
        if self.decay == 0:
            return cells.max(-1).values
        if self.decay == 1:
            return cells.mean(-1)
        ranks = torch.arange(cells.shape[-1], dtype=torch.float64, device=cells.device)
        weights = self.decay**ranks  # in float64, as the last of 20 000 would be 0.06 % off
        # a sum and no matrix product, which autocast would compute in bfloat16
        return (cells.sort(-1, descending=True).values * (weights / weights.sum()).float()).sum(-1)

    def renew(self, classes: int) -> None:
        self.classes = class_convolution(self.classes.in_channels, classes)


class AtrousAttention(nn.Module):
    """Attention over rows and frames at once: a clip's logit is the weighted mean of the cells' log-softmax over classes, and a
    frame's that of its own cells.

    As published, although no logarithm of a probability is above 0, and so no probability above 1/2.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.channels = channels
        self.renew(classes)

    def forward(self, features: Tensor) -> Pooled:
        attention = self.attention(features).float().sigmoid().clamp(*ATTENTION_RANGE)  # (batch, classes, rows, frames)
        weighted = attention * self.classes(features).float().log_softmax(1)
        frames = weighted.sum(2) / attention.sum(2)
        return Pooled(weighted.sum((2, 3)) / attention.sum((2, 3)), frames.transpose(1, 2))

    def renew(self, classes: int) -> None:
        """All cells have the same attention at first."""
        self.classes = class_convolution(self.channels, classes)
        self.attention = class_convolution(self.channels, classes)
        nn.init.zeros_(self.attention.weight)
