"""BatchNorm fused into the convolution before it, for evaluation."""

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fused(conv: nn.Module, norm: nn.Module) -> nn.Conv2d:
    """Return one convolution that computes both."""
    assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    return fuse_conv_bn_eval(conv, norm)


def optimize_sequences(module: nn.Module, dtype: torch.dtype) -> None:
    """Fuse each BatchNorm that follows a convolution in an nn.Sequential; all convolutions then compute in `dtype`."""
    for layer in module.modules():
        if isinstance(layer, nn.Sequential) and len(layer) > 1:
            conv, norm = layer[0], layer[1]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                layer[0] = fused(conv, norm)
                layer[1] = nn.Identity()
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            layer.to(dtype)
