"""The weight file: safetensors whose header carries the whole Checkpoint, so that a file needs no registry.

The header's one metadata entry (more would be written in random order, and the file's hash with them) is the spec as JSON
with `tensors_sha256`, the digest of the tensors themselves, so that damage is noticed in one's own files too. Nothing is
ever unpickled.
"""

import dataclasses
import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from eranntag import atomic
from eranntag.errors import CheckpointError, EranntagError, IntegrityError
from eranntag.tagger import Tagger
from eranntag.types import Checkpoint

KEY = "eranntag-1"  # another number when the format changes


def save(tagger: Tagger, path: str | os.PathLike[str], half: bool = True) -> None:
    """Write `tagger` atomically; with `half` its matrices in float16, vectors (biases, BatchNorm) always in float32."""
    tensors = {
        name: tensor.detach().cpu().to(torch.float16 if half and tensor.ndim > 1 else tensor.dtype).contiguous()
        for name, tensor in tagger.model.state_dict().items()
    }
    spec = {**dataclasses.asdict(tagger.checkpoint), "tensors_sha256": _digest(tensors)}
    with atomic.replace(path) as temporary:
        save_file(tensors, temporary, metadata={KEY: json.dumps(spec)})


def read_spec(path: str | os.PathLike[str]) -> Checkpoint:
    """The Checkpoint in the header of a weight file, without its tensors. Raises CheckpointError."""
    return _spec(_open(path).metadata(), os.fspath(path))[0]


def load(path: str | os.PathLike[str], name: str | None = None) -> Tagger:
    """The Tagger of a weight file, in evaluation mode on the CPU, float32; `name` replaces the header's.

    Raises CheckpointError for other files, IntegrityError for damaged or unfitting tensors.
    """
    file = _open(path)
    spec, digest = _spec(file.metadata(), os.fspath(path))
    if name is not None:
        spec = dataclasses.replace(spec, name=name)
    tensors = {key: file.get_tensor(key) for key in file.keys()}
    if _digest(tensors) != digest:
        raise IntegrityError(f"{path}: the tensors do not have the SHA-256 of the file's header; it is damaged")
    try:
        tagger = Tagger(spec)
    except (EranntagError, TypeError) as error:
        raise CheckpointError(f"{os.fspath(path)}: {error}") from None
    _check_shapes(tensors, tagger.model.state_dict(), path)
    tagger.model.load_state_dict(tensors, strict=True)
    return tagger.eval()


def _open(path: str | os.PathLike[str]) -> safe_open:
    if Path(path).is_dir():
        raise CheckpointError(f"{os.fspath(path)}: a folder; name a file in it, such as {Path(path) / 'best.safetensors'}")
    if not Path(path).is_file():
        raise CheckpointError(f"{os.fspath(path)}: no such checkpoint file")
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{os.fspath(path)}: not a safetensors file ({error})") from None


def _spec(metadata: dict[str, str] | None, path: str) -> tuple[Checkpoint, str]:
    """The Checkpoint and the digest of the tensors."""
    if KEY not in (metadata or {}):
        raise CheckpointError(f"{path}: a safetensors file, but not one of eranntag's: its header has no spec")
    try:
        fields = json.loads(metadata[KEY])
        digest = fields.pop("tensors_sha256")
        lists = {"labels": tuple(fields["labels"]), "thresholds": tuple(fields.get("thresholds", ()))}
        return Checkpoint(**{**fields, **lists}), digest
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: the spec in its header cannot be read ({error})") from None


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
