"""Weights that other people published -> a weight file of ours.

Every tensor of the network must be there, fit and be finite; what else there is must be a constant of the front-end and equal
ours, so that the weights of another variant are refused. Nothing is written unless all fits.
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
from eranntag.errors import CheckpointError, UsageError
from eranntag.features import logmel
from eranntag.inference.network import Network
from eranntag.recipes import audioset
from eranntag.types import Checkpoint

TOLERANCE = 1e-5  # of a front-end's constants: more than rounding, far less than what is between two front-ends
REMEDY = "name the file that was published (docs/checkpoints.md)"


@dataclass(frozen=True)
class Published:
    """Weights of one architecture by one publisher. `checkpoint` is what they become.

    Their file is a dictionary whose `entry` is the state dict, or "" for the dictionary itself. `theirs`: our tensor's name ->
    theirs; `laid_out`: their tensor -> ours; `constants`: what their file holds of the front-end.
    """

    checkpoint: Checkpoint
    entry: str = ""
    theirs: Callable[[str], str] = lambda name: name
    laid_out: Callable[[Tensor], Tensor] = lambda tensor: tensor
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
# Weights of PANNs' Cnn14_DecisionLevelMax and ...Avg, which pool differently, have the same tensors and cannot be told apart.
PUBLISHED = {
    "cnn14": Published(
        _on_audioset("cnn14", "CNN14 on AudioSet (PANNs)", "CC BY 4.0", "https://zenodo.org/records/3987831"),
        "model",
        _panns_name,
        _panns_layout,
        _panns_constants,
    ),
    "mn04": Published(_on_audioset("mn04", "MobileNetV3 of width 0.4 on AudioSet (EfficientAT)", "MIT", EFFICIENTAT)),
    "mn10": Published(_on_audioset("mn10", "MobileNetV3 of width 1.0 on AudioSet (EfficientAT)", "MIT", EFFICIENTAT)),
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
    _check_output(file, output, force)
    return write(file, output, published, published.checkpoint, half)


def write(file: Path, output: Path, published: Published, checkpoint: Checkpoint, half: bool) -> Network:
    """Write the weights of `file`, which have the form `published`, as `checkpoint` with the SHA-256 of `file`.

    Raises CheckpointError for a file of another form.
    """
    given = _state(pickled.load_pickled(file, REMEDY), published.entry, file)
    network = Network(replace(checkpoint, source_sha256=file_sha256(file))).eval()
    expected = network.model.state_dict()
    sources = {name: published.theirs(name) for name in expected}
    constants = published.constants(network.frontend.config)
    what = f"not the weights of {checkpoint.name}"
    if missing := sorted(set(sources.values()) - given.keys()):
        raise CheckpointError(f"{file}: {what}: {_first(missing)} missing")
    if unknown := sorted(given.keys() - set(sources.values()) - constants.keys()):
        raise CheckpointError(f"{file}: {what}: {_first(unknown)} unknown")
    for name in sorted(constants.keys() & given.keys()):
        _check_constant(given[name], constants[name], f"{file}: {name}", checkpoint)
    state = {
        name: _fitted(given[source], expected[name], published.laid_out, half, f"{file}: {source}")
        for name, source in sources.items()
    }
    network.model.load_state_dict(state)
    weights.save(network, output, half)
    return network


def _check_output(file: Path, output: Path, force: bool) -> None:
    if output.suffix != ".safetensors":
        raise UsageError(f"--output {output}: must end in .safetensors")
    if not output.absolute().parent.is_dir():
        raise UsageError(f"--output {output}: must be in a folder that exists")
    if output.exists() and not (force and output.is_file()):
        raise UsageError(f"{output} is there already; use --force to overwrite it, or another --output")
    if output.exists() and file.exists() and output.samefile(file):
        raise UsageError(f"--output {output}: is the file that is converted; name another")


def _state(content: Any, entry: str, file: Path) -> dict[Any, Any]:
    state = content.get(entry) if entry and isinstance(content, dict) else content
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        where = f"no dictionary {entry!r} of names" if entry else "no dictionary of names"
        raise CheckpointError(f"{file}: not the weights that were published: it has {where}; {REMEDY}")
    return state


def _first(names: list[str]) -> str:
    plain = (name if name.isprintable() and len(name) <= 60 else limits.shown(name) for name in names[:3])
    return ", ".join(plain) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _check_constant(given: Any, ours: np.ndarray, what: str, checkpoint: Checkpoint) -> None:
    _check_tensor(given, what)
    if given.shape != ours.shape or not np.allclose(given.float().numpy(), ours, rtol=0, atol=TOLERANCE):
        rate = checkpoint.frontend["sample_rate_hz"]
        other = f"another front-end than that of {checkpoint.family} ({rate} Hz)"
        raise CheckpointError(f"{what} {tuple(given.shape)} belongs to {other}: the weights are of another variant")


def _fitted(given: Any, ours: Tensor, laid_out: Callable[[Tensor], Tensor], half: bool, what: str) -> Tensor:
    """A published tensor as ours, in our dtype."""
    _check_tensor(given, what)
    given = laid_out(given)
    if given.shape != ours.shape:
        raise CheckpointError(f"{what} has shape {tuple(given.shape)}, not {tuple(ours.shape)}")
    if given.is_floating_point() != ours.is_floating_point():
        raise CheckpointError(f"{what} is of {given.dtype}, not {ours.dtype}")
    given = given.to(ours.dtype)
    if not torch.isfinite(given).all():
        raise CheckpointError(f"{what} has values that are not finite")
    if half and given.ndim > 1 and given.abs().max() > torch.finfo(torch.float16).max:
        raise CheckpointError(f"{what} has values too large for float16; use --float32")
    return given


def _check_tensor(given: Any, what: str) -> None:
    if not isinstance(given, Tensor) or given.layout != torch.strided or given.device.type != "cpu" or given.is_quantized:
        raise CheckpointError(f"{what} is no plain tensor")
