"""ImageNet weights for PSLA's backbones, downloaded by timm (https://github.com/huggingface/pytorch-image-models).

EfficientNet-B2: its authors' weights trained with AutoAugment, which `efficientnet_pytorch` and so PSLA's authors start
from. ResNet-50: torchvision's first weights.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from torch import Tensor

from eranntag.errors import FetchError, IntegrityError, UsageError, error_reason

WEIGHTS = {"efficientnet-b2": "tf_efficientnet_b2.aa_in1k", "resnet-50": "resnet50.tv_in1k"}
FIRST = "stem.0.weight"  # of three channels at timm: ours stays random, as in the paper
REMEDY = "or train with --set pretrained=false (He-uniform weights)"

# Our layers' names -> timm's, first those outside the blocks, then those of a block.
_EFFICIENTNET = {"stem.0": "conv_stem", "stem.1": "bn1", "top.0": "conv_head", "top.1": "bn2"}
_MBCONV = {
    "expand.0": "conv_pw",
    "expand.1": "bn1",
    "depthwise.0": "conv_dw",
    "depthwise.1": "bn2",
    "squeeze.reduce": "se.conv_reduce",
    "squeeze.expand": "se.conv_expand",
    "project.0": "conv_pwl",
    "project.1": "bn3",
}
_UNEXPANDED = _MBCONV | {"depthwise.1": "bn1", "project.0": "conv_pw", "project.1": "bn2"}
_RESNET = {"stem.0": "conv1", "stem.1": "bn1"}
_BOTTLENECK = {f"conv{n}.{i}": f"{kind}{n}" for n in (1, 2, 3) for i, kind in enumerate(("conv", "bn"))} | {
    "shortcut.0": "downsample.0",
    "shortcut.1": "downsample.1",
}


def load(model: Any) -> str:
    """Download the ImageNet weights of a PSLA network's backbone, copy them, and return their description.

    Raises UsageError without timm, FetchError when the download fails, IntegrityError for weights of another network.
    """
    timm, name = _timm(), WEIGHTS[model.config.backbone]
    try:
        network = timm.create_model(name, pretrained=True)
    except Exception as error:  # the hub's, the network's and the disk's errors have no base in common
        why = error_reason(error, name)
        raise FetchError(f"ImageNet weights: cannot fetch {name} with timm: {why}; check the network; {REMEDY}") from error
    copy(model, network.state_dict())
    return f"ImageNet weights {name} of timm {timm.__version__}"


def _timm() -> ModuleType:
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision of another torch
        why = "" if getattr(error, "name", None) == "timm" else f" that can be imported ({error_reason(error, 'timm')})"
        raise UsageError(f"ImageNet weights need timm{why}: pip install 'eranntag[imagenet]'; {REMEDY}") from error
    return timm


def copy(model: Any, weights: Mapping[str, Tensor]) -> None:
    """Copy timm's `weights` (its state_dict) into the backbone of `model`, all but the first convolution's.

    Raises IntegrityError where one is missing or of another shape.
    """
    ours = model.backbone.state_dict()
    copied = {FIRST: ours[FIRST]}
    for name in ours.keys() - copied.keys():
        theirs = timm_name(model.config.backbone, name)
        if theirs not in weights:
            raise IntegrityError(f"ImageNet weights: no {theirs!r} among them; another version of timm may have it; {REMEDY}")
        weight, expected = weights[theirs], ours[name]
        if weight.numel() != expected.numel() or weight.shape[: expected.ndim] != expected.shape:
            shapes = f"is {tuple(weight.shape)}, not {tuple(expected.shape)}"
            raise IntegrityError(f"ImageNet weights: {theirs!r} {shapes}; another version of timm may fit; {REMEDY}")
        copied[name] = weight.reshape(expected.shape)  # squeeze-excite's are 1x1 convolutions there
    model.backbone.load_state_dict(copied)


def timm_name(backbone: str, name: str) -> str:
    """Return timm's name of a tensor of our backbone: "stages.1.0.expand.0.weight" -> "blocks.1.0.conv_pw.weight"."""
    layer, _, tensor = name.rpartition(".")
    outside = _EFFICIENTNET if backbone == "efficientnet-b2" else _RESNET
    if layer in outside:
        return f"{outside[layer]}.{tensor}"
    _, stage, block, part = layer.split(".", 3)
    if backbone == "resnet-50":
        return f"layer{int(stage) + 1}.{block}.{_BOTTLENECK[part]}.{tensor}"
    parts = _MBCONV if stage != "0" else _UNEXPANDED  # stage 0 alone does not expand
    return f"blocks.{stage}.{block}.{parts[part]}.{tensor}"
