"""The header of a weight file: the whole Checkpoint as JSON in safetensors' metadata. Read without torch and tensors.

The file may be malicious, so everything is checked: the header's length, and the type of every field.
"""

import dataclasses
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from eranntag.checkpoints import limits
from eranntag.checkpoints.limits import is_finite_number, short_repr
from eranntag.errors import CheckpointError, error_reason
from eranntag.types import Checkpoint

KEY = "eranntag-1"  # another number when the format changes
MAX_BYTES = 4 << 20  # of a header; one with 10 000 labels has half a megabyte
MAX_LABELS = 100_000
MAX_KEY = 64  # characters of the name of a family or of an argument

REMEDY = "name a weight file, such as the best.safetensors of a run, or a name of `eranntag checkpoints`"
_CODE = "such files may hold code, so nothing of it was read; `eranntag checkpoints convert` reads those of public taggers"
_FOREIGN = (  # beginnings of other files
    (b"PK", f"but a zip archive, as torch.save and numpy write; {_CODE}"),
    (b"\x80", f"but a pickle; {_CODE}"),
    (b"version https://git-lfs", "but a pointer of git LFS to one; fetch that with `git lfs pull`"),
)


@dataclass(frozen=True)
class Header:
    """The header of the weight file `path`: `tensors_sha256` is the digest of the tensors (`weights.tensors_sha256`), and
    `tensors` has the dtype ("F16") and the shape of each by its name."""

    path: str
    checkpoint: Checkpoint
    tensors_sha256: str
    tensors: Mapping[str, tuple[str, tuple[int, ...]]]


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Return the Checkpoint in the header of a weight file. Raises CheckpointError."""
    return read_header(path).checkpoint


def read_header(path: str | os.PathLike[str]) -> Header:
    """Return the header, read in bounded time and memory. Raises CheckpointError for files that are no weight files."""
    from safetensors import SafetensorError, safe_open

    path = os.fspath(path)
    try:
        fields = _parse_object(_read_header_bytes(path).decode())
        metadata = fields.pop("__metadata__", None) or {}
        tensors = {name: (str(entry["dtype"]), _shape(entry["shape"])) for name, entry in fields.items()}
        with safe_open(path, framework="numpy"):  # checks the offsets of the tensors
            pass
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint file; {REMEDY}") from None
    except (SafetensorError, OSError, LookupError, AttributeError, TypeError, ValueError, RecursionError, MemoryError) as error:
        cause = error_reason(error, path)[:200]
        raise CheckpointError(f"{path}: not a safetensors file, or not all of it ({cause}); {REMEDY}") from None
    if not isinstance(metadata, dict) or not isinstance(metadata.get(KEY), str):
        raise CheckpointError(f"{path}: a safetensors file, but not one of eranntag's: its header has no spec; {REMEDY}")
    try:
        spec = _parse_object(metadata[KEY])
        if "tensors_sha256" not in spec:
            raise ValueError("tensors_sha256 is missing")
        digest = spec.pop("tensors_sha256")
        if error_text := spec_error(spec):
            raise ValueError(error_text)
        if not _is_sha256(digest):
            raise ValueError(f"tensors_sha256 is {short_repr(digest)}")
        lists = {name: tuple(spec.get(name, ())) for name in ("labels", "thresholds")}
        return Header(path, Checkpoint(**{**spec, **lists}), digest, tensors)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        remedy = "it is damaged, or of a newer eranntag: write or fetch it again"
        raise CheckpointError(
            f"{path}: the spec in its header cannot be read ({error_reason(error, path)[:300]}); {remedy}"
        ) from None


def _read_header_bytes(path: str) -> bytes:
    """Return the header's JSON. Raises ValueError or CheckpointError for a file without one."""
    file, size = limits.open_regular_file(path, REMEDY)
    with file:
        start = file.read(32)
        for beginning, what in _FOREIGN:
            if start.startswith(beginning) and int.from_bytes(start[:8], "little") > MAX_BYTES:
                raise CheckpointError(f"{path}: not a safetensors file {what}")
        length = int.from_bytes(start[:8], "little")
        if len(start) < 8 or length > min(MAX_BYTES, size - 8):
            raise ValueError(f"{size} bytes, with a header of {length if len(start) >= 8 else 'none'}")
        file.seek(8)
        return file.read(length)


def _parse_object(text: str) -> dict[str, Any]:
    """Return a JSON object. Raises ValueError for a duplicate name, which two readers could interpret differently."""

    def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if duplicate := _duplicate([name for name, _ in pairs]):
            raise ValueError(f"{duplicate} is there twice")
        return dict(pairs)

    value = json.loads(text, object_pairs_hook=without_duplicates)
    if not isinstance(value, dict):
        raise ValueError(f"not an object: {short_repr(value)}")
    return value


def _duplicate(names: list[str]) -> str:
    """Return a name that occurs twice, quoted for a message; "" without one."""
    return next((short_repr(name) for name, count in Counter(names).items() if count > 1), "")


def _shape(sizes: Any) -> tuple[int, ...]:
    if not isinstance(sizes, list) or not all(type(size) is int and size >= 0 for size in sizes):
        raise ValueError(f"a tensor of shape {short_repr(sizes)}")
    return tuple(sizes)


def _is_sha256(text: Any) -> bool:
    return isinstance(text, str) and re.fullmatch("[0-9a-f]{64}", text) is not None


_FIELD_TYPES: dict[str, tuple[str, Callable[[Any], bool]]] = {  # of the fields of a Checkpoint, by their annotations
    "str": ("a text", lambda value: isinstance(value, str)),
    "Mapping[str, Any]": ("an object", lambda value: isinstance(value, dict)),
    "tuple[str, ...]": ("a list of texts", lambda value: isinstance(value, list) and all(isinstance(x, str) for x in value)),
    "tuple[float, ...]": (
        "a list of finite numbers",
        lambda value: isinstance(value, list) and all(map(is_finite_number, value)),
    ),
}


def spec_error(fields: dict[str, Any]) -> str:
    """Return what is wrong with the fields of a Checkpoint, "" if nothing is; `Network` checks whether the network exists."""
    known = {field.name: field for field in dataclasses.fields(Checkpoint)}
    if unknown := sorted(fields.keys() - known.keys()):
        return f"unknown field {short_repr(unknown[0])}"
    for name, field in known.items():
        required = field.default is field.default_factory is dataclasses.MISSING
        if name not in fields and required:
            return f"{name} is missing"
        description, is_valid = _FIELD_TYPES[str(field.type)]
        if name in fields and not is_valid(fields[name]):
            return f"{name} must be {description}, not {short_repr(fields[name])}"
    if error := limits.value_error(fields):
        return error
    if error := limits.name_error(fields["name"]):
        return f"name {error}"
    if (source := fields.get("source_sha256", "")) and not _is_sha256(source):
        return f"source_sha256 must be 64 hexadecimal digits, not {short_repr(source)}"
    return _labels_error(fields["labels"], fields.get("thresholds", [])) or _arguments_error(fields)


def _labels_error(labels: list[str], thresholds: list[float]) -> str:
    if not 1 <= len(labels) <= MAX_LABELS:
        return f"1 to {MAX_LABELS} labels are possible, not {len(labels)}"
    if duplicate := _duplicate(labels):
        return f"the label {duplicate} is there twice"
    if len(thresholds) not in (0, len(labels)):
        return f"{len(thresholds)} thresholds for {len(labels)} labels"
    return ""


def _arguments_error(fields: dict[str, Any]) -> str:
    for name in ("family", "frontend_family", "activation"):
        if len(fields[name]) > MAX_KEY:
            return f"{name} must have at most {MAX_KEY} characters, not {len(fields[name])}"
    for part in ("model", "frontend"):
        for name, value in fields[part].items():
            if isinstance(value, str) and len(value) > MAX_KEY:
                return f"{part}: {short_repr(name)} must have at most {MAX_KEY} characters, not {len(value)}"
            if len(name) > MAX_KEY or not (isinstance(value, bool | str) or is_finite_number(value)):
                return f"{part}: {short_repr(name)} cannot be {short_repr(value)}"
    bases = fields.get("training", {}).get("bases", [])
    if not isinstance(bases, list) or not all(isinstance(base, dict) for base in bases):
        return f"the bases of its training must be a list of objects, not {short_repr(bases)}"
    return ""
