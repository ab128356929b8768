"""The weight file: safetensors whose header carries the whole Checkpoint, so that a file needs no registry.

The header's one metadata entry (more would be written in random order, and the file's hash with them) is the spec as JSON
with `tensors_sha256`, the digest of the tensors themselves, so that damage is noticed in one's own files too. Nothing is
ever unpickled.
"""

import dataclasses
import hashlib
import json
import os

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from eranntag import atomic
from eranntag.checkpoints import header
from eranntag.errors import CheckpointError, EranntagError, IntegrityError
from eranntag.network import Network


def save(network: Network, path: str | os.PathLike[str], half: bool = True) -> None:
    """Write `network` atomically; with `half` its matrices in float16, vectors (biases, BatchNorm) always in float32."""
    tensors = {
        name: tensor.detach().cpu().to(torch.float16 if half and tensor.ndim > 1 else tensor.dtype).contiguous()
        for name, tensor in network.tensors().items()
    }
    spec = {**dataclasses.asdict(network.checkpoint), "tensors_sha256": _digest(tensors)}
    with atomic.replace(path) as temporary:
        save_file(tensors, temporary, metadata={header.KEY: json.dumps(spec)})


def load(path: str | os.PathLike[str], name: str | None = None) -> Network:
    """The Network of a weight file, in evaluation mode on the CPU, float32; `name` replaces the header's.

    Raises CheckpointError for other files, IntegrityError for damaged or unfitting tensors.
    """
    spec, digest = header.parse(header.metadata(path), os.fspath(path))
    if name is not None:
        spec = dataclasses.replace(spec, name=name)
    with safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}
    if _digest(tensors) != digest:
        raise IntegrityError(f"{path}: the tensors do not have the SHA-256 of the file's header; it is damaged")
    try:
        network = Network(spec)
    except (EranntagError, TypeError) as error:
        raise CheckpointError(f"{os.fspath(path)}: {error}") from None
    _check_shapes(tensors, network.tensors(), path)
    network.load_tensors(tensors)
    return network.eval()


def _check_shapes(tensors: dict[str, Tensor], expected: dict[str, Tensor], path: str | os.PathLike[str]) -> None:
    if odd := sorted(tensors.keys() ^ expected.keys()):
        raise IntegrityError(f"{path}: tensors do not fit the network: {', '.join(odd[:3])} missing or unknown")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            shapes = f"{tuple(tensor.shape)}, not {tuple(expected[name].shape)}"
            raise IntegrityError(f"{path}: tensor {name} has shape {shapes}")
        if not torch.isfinite(tensor).all():
            raise IntegrityError(f"{path}: tensor {name} has values that are not finite")


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
