"""The two convolutions of an image that has one channel, in forms that cost a CPU little; equal to torch's up to rounding.

oneDNN has no good kernel for a convolution of one channel: for ERANN-2-2 the 3x3 convolution of the image took five times as
long as one of 16 channels. Neighboring frames are therefore made channels, as a view where memory is channels_last.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

FRAMES = 16  # outputs of a row that `convolved` computes as one; ERANN's images have a multiple of 16
TOGETHER = 4  # frames that `with_shortcut` multiplies at once


def convolved(image: Tensor, weight: Tensor) -> Tensor:
    """conv2d(image, weight, padding=1) of an image (batch, 1, rows, frames) with weights (channels, 1, 3, 3).

    FRAMES neighboring outputs y[f], y[f + 1], ... of all channels depend on the FRAMES + 2 inputs x[f - 1], x[f], ... of each
    of three rows, so that a convolution along the rows alone computes them:

        y[f + p, c] = sum over q of x[f - 1 + q] wide[p, c, q],  wide[p, c, q] = weight[c, q - p] where 0 <= q - p < 3, else 0.
    """
    (batch, _, rows, frames), channels = image.shape, weight.shape[0]
    windows = functional.pad(image.squeeze(1), (1, 1)).unfold(2, FRAMES + 2, FRAMES).contiguous()  # (.., rows, blocks, inputs)
    wide = torch.stack([functional.pad(weight.squeeze(1), (p, FRAMES - 1 - p)) for p in range(FRAMES)])
    wide = wide.flatten(0, 1).transpose(1, 2).contiguous().unsqueeze(3)  # (FRAMES * channels, inputs, 3, 1)
    outputs = functional.conv2d(windows.permute(0, 3, 1, 2), wide, padding=(1, 0))
    return outputs.permute(0, 2, 3, 1).reshape(batch, rows, frames, channels).permute(0, 3, 1, 2)


def with_shortcut(h: Tensor, image: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    """h + norm(conv(image)), in training, of a 1x1 convolution of an image of one channel; `norm`'s statistics are updated.

    Channel c of conv(x) is w_c x, with the mean w_c m and the variance w_c^2 v, where m and v are the image's. Hence

        norm(conv(x))_c = a_c (x - m) + b_c,  a_c = g_c w_c / sqrt(w_c^2 v + eps),  g and b being norm's weight and bias:

    a matrix product, to which h is added. A row of it is TOGETHER frames, as narrow matrices are slow: [x - m, 1] times
    the block-diagonal matrix of a, with b below.
    """
    image = image.to(norm.weight.dtype)
    variance, mean = torch.var_mean(image, correction=0)
    weight = conv.weight.flatten()
    with torch.no_grad():
        assert norm.num_batches_tracked is not None and norm.momentum is not None
        assert norm.running_mean is not None and norm.running_var is not None
        norm.num_batches_tracked.add_(1)
        unbiased = variance * image.numel() / (image.numel() - 1)
        norm.running_mean.lerp_(weight * mean, norm.momentum)
        norm.running_var.lerp_(weight**2 * unbiased, norm.momentum)
    scale = norm.weight * weight * torch.rsqrt(weight**2 * variance + norm.eps)
    inputs = functional.pad((image - mean).reshape(-1, TOGETHER), (0, 1), value=1.0)
    diagonal = torch.block_diag(*[scale] * TOGETHER)  # type: ignore[no-untyped-call]  # torch does not annotate it
    matrix = torch.cat([diagonal, norm.bias.repeat(TOGETHER).unsqueeze(0)])
    batch, channels, rows, frames = h.shape
    flat = h.permute(0, 2, 3, 1).reshape(-1, TOGETHER * channels)  # a view
    return torch.addmm(flat, inputs, matrix).view(batch, rows, frames, channels).permute(0, 3, 1, 2)
