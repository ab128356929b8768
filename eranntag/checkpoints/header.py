"""The header of a weight file: the whole Checkpoint as JSON in safetensors' metadata. Read without torch and tensors."""

import json
import os
from pathlib import Path

from eranntag.errors import CheckpointError
from eranntag.types import Checkpoint

KEY = "eranntag-1"  # another number when the format changes


def read(path: str | os.PathLike[str]) -> Checkpoint:
    """The Checkpoint in the header of a weight file. Raises CheckpointError."""
    return parse(metadata(path), os.fspath(path))[0]


def metadata(path: str | os.PathLike[str]) -> dict[str, str] | None:
    """What safetensors keeps beside the tensors. Raises CheckpointError for other files."""
    from safetensors import SafetensorError, safe_open

    if Path(path).is_dir():
        raise CheckpointError(f"{os.fspath(path)}: a folder; name a file in it, such as {Path(path) / 'best.safetensors'}")
    if not Path(path).is_file():
        raise CheckpointError(f"{os.fspath(path)}: no such checkpoint file")
    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata()
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{os.fspath(path)}: not a safetensors file ({error})") from None


def parse(metadata: dict[str, str] | None, path: str) -> tuple[Checkpoint, str]:
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
