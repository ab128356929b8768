"""The weight file: safetensors whose header carries the whole Checkpoint, so that a file needs no registry.

The header's one metadata entry (more would be written in random order, and the file's hash with them) is the spec as JSON
with `tensors_sha256`, the digest of the tensors themselves, which detects damage without a registry, too. Nothing is ever
unpickled.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from eranntag.checkpoints import header
from eranntag.checkpoints.limits import short_repr
from eranntag.errors import CheckpointError, EranntagError, IntegrityError
from eranntag.files import atomic
from eranntag.inference.network import Network, meta_tensors
from eranntag.types import Checkpoint

FLOATS, WHOLE = ("F16", "BF16", "F32"), ("I64",)  # the dtypes of a weight file, as safetensors names them
AGAIN = "write or fetch it again"


def save(network: Network, path: str | os.PathLike[str], half: bool = True) -> None:
    """Write `network` atomically; with `half` its matrices in float16, vectors (biases, BatchNorm) always in float32.

    Raises CheckpointError for a spec that `load` would refuse.
    """
    if wrong := header.spec_error(json.loads(json.dumps(dataclasses.asdict(network.checkpoint)))):
        raise CheckpointError(f"{os.fspath(path)}: not written, as it could not be read again: {wrong}; give it another")
    tensors = {
        name: tensor.detach().cpu().to(torch.float16 if half and tensor.ndim > 1 else tensor.dtype).contiguous()
        for name, tensor in network.tensors().items()
    }
    spec = {**dataclasses.asdict(network.checkpoint), "tensors_sha256": tensors_sha256(tensors)}
    with atomic.replace(path) as temporary:
        save_file(tensors, temporary, metadata={header.KEY: json.dumps(spec)})


def load(path: str | os.PathLike[str], name: str | None = None) -> Network:
    """Return the Network of a weight file, in evaluation mode on the CPU, float32; `name` replaces the header's.

    Raises CheckpointError for other files, IntegrityError for damaged or unfitting tensors.
    """
    file = header.read_header(path)
    return load_network(file, file.checkpoint if name is None else dataclasses.replace(file.checkpoint, name=name))


def load_network(file: header.Header, checkpoint: Checkpoint) -> Network:
    """Return the Network of the weight file that has the header `file`, as `load` does.

    No tensor is read and no memory allocated for the network before its shapes are compared with the header's.
    """
    path = file.path
    try:
        _check_shapes(file.tensors, meta_tensors(checkpoint), path)
        with safe_open(path, framework="pt") as tensor_file:
            tensors = {key: tensor_file.get_tensor(key) for key in tensor_file.keys()}
        if tensors_sha256(tensors) != file.tensors_sha256:
            raise IntegrityError(f"{path}: the tensors do not have the SHA-256 of the file's header; it is damaged: {AGAIN}")
        _check_values(tensors, path)
        network = Network(checkpoint)
    except CheckpointError as error:
        if str(error).startswith(f"{path}: "):
            raise
        raise CheckpointError(f"{path}: {error}; {AGAIN}") from None
    except (EranntagError, SafetensorError, OSError, MemoryError) as error:
        raise CheckpointError(f"{path}: {error}; {AGAIN}") from None
    network.load_tensors(tensors)
    return network.eval()


def _check_shapes(tensors: Mapping[str, tuple[str, tuple[int, ...]]], expected: dict[str, Tensor], path: str) -> None:
    if odd := sorted(tensors.keys() ^ expected.keys()):
        names = ", ".join(map(short_repr, odd[:3]))
        raise IntegrityError(f"{path}: tensors do not fit the network: {names} missing or unknown; {AGAIN}")
    for name, (dtype, shape) in tensors.items():
        if shape != expected[name].shape:
            raise IntegrityError(f"{path}: tensor {name} has shape {shape}, not {tuple(expected[name].shape)}; {AGAIN}")
        if dtype not in (right := FLOATS if expected[name].is_floating_point() else WHOLE):
            raise IntegrityError(f"{path}: tensor {name} is of {short_repr(dtype)}, not of {' or '.join(right)}; {AGAIN}")


def _check_values(tensors: dict[str, Tensor], path: str) -> None:
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise IntegrityError(f"{path}: tensor {name} has values that are not finite; {AGAIN}")
        if name.endswith("running_var") and (tensor < 0).any():
            raise IntegrityError(f"{path}: tensor {name}, a variance, has values below zero; {AGAIN}")


def tensors_sha256(tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256 of the names, dtypes, shapes and values of tensors."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
