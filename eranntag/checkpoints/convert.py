"""Conversion of published weights to a weight file.

Every tensor of the network must exist, fit and be finite; others must be constants of the front-end that equal ours, so that
the weights of another variant are refused. Nothing is written otherwise.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eranntag import models, registry
from eranntag.checkpoints import limits, pickled, weights
from eranntag.checkpoints.digest import file_sha256
from eranntag.checkpoints.output import check_output
from eranntag.errors import CheckpointError, UsageError
from eranntag.features import logmel
from eranntag.inference.network import Network
from eranntag.recipes import audioset
from eranntag.types import Checkpoint

TOLERANCE = 1e-5  # of a front-end's constants: more than rounding, far less than the difference of two front-ends
REMEDY = "name the file that was published (docs/checkpoints.md)"


@dataclass(frozen=True)
class PublishedWeights:
    """The format of one publisher's weights, which are converted to `checkpoint`.

    `entry` is the key of the state dict in the file, "" for the file itself. `source_name` maps our name of a tensor to the
    publisher's, `to_layout` a published tensor to our layout; `constants` are the front-end's tensors in the file.
    """

    checkpoint: Checkpoint
    entry: str = ""
    source_name: Callable[[str], str] = lambda name: name
    to_layout: Callable[[Tensor], Tensor] = lambda tensor: tensor
    constants: Callable[[Any], Mapping[str, np.ndarray]] = lambda config: {}


def _panns_name(name: str) -> str:
    """blocks.0.norm1.weight -> conv_block1.bn1.weight, fc2.bias -> fc_audioset.bias"""
    if match := re.fullmatch(r"blocks\.(\d)\.(.+)", name):
        return f"conv_block{int(match[1]) + 1}.{match[2].replace('norm', 'bn')}"
    return name.replace("fc2.", "fc_audioset.")


def _panns_layout(tensor: Tensor) -> Tensor:
    """Kernels (out, in, time, frequency) -> (out, in, frequency, time)."""
    return tensor.transpose(2, 3) if tensor.ndim == 4 else tensor


def _panns_constants(config: logmel.Config) -> dict[str, np.ndarray]:
    """The short-time Fourier transform as two convolutions (bins, 1, samples), and the mel filters (bins, mels)."""
    samples = np.arange(config.window_samples)
    angles = 2 * np.pi * np.outer(np.arange(config.window_samples // 2 + 1), samples) / config.window_samples
    return {
        "spectrogram_extractor.stft.conv_real.weight": (config.window() * np.cos(angles))[:, None],
        "spectrogram_extractor.stft.conv_imag.weight": (-config.window() * np.sin(angles))[:, None],
        "logmel_extractor.melW": config.filters().T,
    }


def _on_audioset(architecture: str, title: str, licence: str, source: str) -> Checkpoint:
    """A checkpoint of AudioSet's classes with the front-end of the architecture's paper."""
    family, config = models.resolve(architecture)
    features, arguments = models.front_end(architecture)
    return Checkpoint(
        name=f"{architecture}-audioset",
        family=family,
        model=asdict(config),
        frontend_family=features,
        frontend=asdict(registry.get("eranntag.features", features).Config(**arguments)),
        labels=audioset.RECIPE.labels,
        activation="sigmoid",
        title=title,
        data="AudioSet",
        licence=licence,
        source=source,
    )


EFFICIENTAT = "https://github.com/fschmid56/EfficientAT"
# Weights of PANNs' Cnn14_DecisionLevelMax and ...Avg, which pool differently, have the same tensors and look alike.
PUBLISHED = {
    "cnn14": PublishedWeights(
        _on_audioset("cnn14", "CNN14 on AudioSet (PANNs)", "CC BY 4.0", "https://zenodo.org/records/3987831"),
        "model",
        _panns_name,
        _panns_layout,
        _panns_constants,
    ),
    "mn04": PublishedWeights(_on_audioset("mn04", "MobileNetV3 of width 0.4 on AudioSet (EfficientAT)", "MIT", EFFICIENTAT)),
    "mn10": PublishedWeights(_on_audioset("mn10", "MobileNetV3 of width 1.0 on AudioSet (EfficientAT)", "MIT", EFFICIENTAT)),
}


def convert(
    file: str | os.PathLike[str],
    output: str | os.PathLike[str],
    model: str = "cnn14",
    half: bool = True,
    force: bool = False,
) -> Network:
    """Write the published weights of `file` to `output`, and return their Network.

    `model` is the architecture that was published: cnn14 for PANNs' Cnn14_mAP=0.431.pth, mn04, mn10 for EfficientAT's files.
    `half`: matrices in float16, as everywhere. Raises UsageError for an `output` that cannot be or, without `force`, is there
    already, and CheckpointError for a file that is not what `model` says.
    """
    if model not in PUBLISHED:
        raise UsageError(f"no published weights are known for {model!r}, only for {', '.join(PUBLISHED)}")
    file, output, published = Path(file), Path(output), PUBLISHED[model]
    check_output(output, (".safetensors",), force)
    if output.exists() and file.exists() and output.samefile(file):
        raise UsageError(f"--output {output}: is the file that is converted; name another")
    return write_converted(file, output, published, published.checkpoint, half)


def write_converted(file: Path, output: Path, published: PublishedWeights, checkpoint: Checkpoint, half: bool) -> Network:
    """Write the weights of `file`, which have the form `published`, as `checkpoint` with the SHA-256 of `file`.

    Raises CheckpointError for a file of another form.
    """
    state_dict = _state_dict(pickled.load_pickled(file, REMEDY), published.entry, file)
    network = Network(replace(checkpoint, source_sha256=file_sha256(file))).eval()
    expected = network.model.state_dict()
    sources = {name: published.source_name(name) for name in expected}
    constants = published.constants(network.frontend.config)
    what = f"not the weights of {checkpoint.name}"
    if missing := sorted(set(sources.values()) - state_dict.keys()):
        raise CheckpointError(f"{file}: {what}: {_abbreviate(missing)} missing")
    if unknown := sorted(state_dict.keys() - set(sources.values()) - constants.keys()):
        raise CheckpointError(f"{file}: {what}: {_abbreviate(unknown)} unknown")
    for name in sorted(constants.keys() & state_dict.keys()):
        _check_constant(state_dict[name], constants[name], f"{file}: {name}", checkpoint)
    state = {
        name: _converted_tensor(state_dict[source], expected[name], published.to_layout, half, f"{file}: {source}")
        for name, source in sources.items()
    }
    network.model.load_state_dict(state)
    weights.save(network, output, half)
    return network


def _state_dict(content: Any, entry: str, file: Path) -> dict[Any, Any]:
    state = content.get(entry) if entry and isinstance(content, dict) else content
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        where = f"no dictionary {entry!r} of names" if entry else "no dictionary of names"
        raise CheckpointError(f"{file}: not the weights that were published: it has {where}; {REMEDY}")
    return state


def _abbreviate(names: list[str]) -> str:
    plain = (name if name.isprintable() and len(name) <= 60 else limits.short_repr(name) for name in names[:3])
    return ", ".join(plain) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _check_constant(given: Any, ours: np.ndarray, what: str, checkpoint: Checkpoint) -> None:
    _check_tensor(given, what)
    if given.shape != ours.shape or not np.allclose(given.float().numpy(), ours, rtol=0, atol=TOLERANCE):
        rate = checkpoint.frontend["sample_rate_hz"]
        other = f"another front-end than that of {checkpoint.family} ({rate} Hz)"
        raise CheckpointError(f"{what} {tuple(given.shape)} belongs to {other}: the weights are of another variant")


def _converted_tensor(given: Any, ours: Tensor, to_layout: Callable[[Tensor], Tensor], half: bool, what: str) -> Tensor:
    """Return a published tensor in our layout and dtype."""
    _check_tensor(given, what)
    tensor = to_layout(given)
    if tensor.shape != ours.shape:
        raise CheckpointError(f"{what} has shape {tuple(tensor.shape)}, not {tuple(ours.shape)}")
    if tensor.is_floating_point() != ours.is_floating_point():
        raise CheckpointError(f"{what} is of {tensor.dtype}, not {ours.dtype}")
    tensor = tensor.to(ours.dtype)
    if not torch.isfinite(tensor).all():
        raise CheckpointError(f"{what} has values that are not finite")
    if half and tensor.ndim > 1 and tensor.abs().max() > torch.finfo(torch.float16).max:
        raise CheckpointError(f"{what} has values too large for float16; use --float32")
    return tensor


def _check_tensor(given: Any, what: str) -> None:
    if not isinstance(given, Tensor) or given.layout != torch.strided or given.device.type != "cpu" or given.is_quantized:
        raise CheckpointError(f"{what} is no plain tensor")
