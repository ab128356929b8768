"""The header of a weight file: the whole Checkpoint as JSON in safetensors' metadata. Read without torch and tensors.

Whoever wrote it may mean harm. Nothing is believed: not the header's length, not the type of a field.
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
from eranntag.checkpoints.limits import is_number, shown
from eranntag.errors import CheckpointError, error_reason
from eranntag.types import Checkpoint

KEY = "eranntag-1"  # another number when the format changes
MAX_BYTES = 4 << 20  # of a header; one with 10 000 labels has half a megabyte
MAX_LABELS = 100_000
MAX_WORD = 64  # characters of what names a family or a number's key

REMEDY = "name a weight file, such as the best.safetensors of a run, or a name of `eranntag checkpoints`"
_CODE = "such files may hold code, so nothing of it was read; `eranntag checkpoints convert` reads those of public taggers"
_FOREIGN = (  # how other files begin
    (b"PK", f"but a zip archive, as torch.save and numpy write; {_CODE}"),
    (b"\x80", f"but a pickle; {_CODE}"),
    (b"version https://git-lfs", "but a pointer of git LFS to one; fetch that with `git lfs pull`"),
)


@dataclass(frozen=True)
class Header:
    """`digest`: SHA-256 of the tensors (`weights`), of which `tensors` has dtype ("F16") and shape by name."""

    spec: Checkpoint
    digest: str
    tensors: Mapping[str, tuple[str, tuple[int, ...]]]


def read(path: str | os.PathLike[str]) -> Checkpoint:
    """The Checkpoint in the header of a weight file. Raises CheckpointError."""
    return whole(path).spec


def whole(path: str | os.PathLike[str]) -> Header:
    """All of a header, in bounded time and memory. Raises CheckpointError for files that are no weight files."""
    from safetensors import SafetensorError, safe_open

    path = os.fspath(path)
    try:
        parsed = _json(_bytes(path).decode())
        metadata = parsed.pop("__metadata__", None) or {}
        tensors = {name: (str(about["dtype"]), _shape(about["shape"])) for name, about in parsed.items()}
        with safe_open(path, framework="numpy"):  # where the tensors lie, and whether they are all there
            pass
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint file; {REMEDY}") from None
    except (SafetensorError, OSError, LookupError, AttributeError, TypeError, ValueError, RecursionError, MemoryError) as error:
        cause = error_reason(error, path)[:200]
        raise CheckpointError(f"{path}: not a safetensors file, or not all of it ({cause}); {REMEDY}") from None
    if not isinstance(metadata, dict) or not isinstance(metadata.get(KEY), str):
        raise CheckpointError(f"{path}: a safetensors file, but not one of eranntag's: its header has no spec; {REMEDY}")
    try:
        fields = _json(metadata[KEY])
        digest = fields.pop("tensors_sha256")
        if flaw := wrong(fields) or ("" if _is_sha256(digest) else f"tensors_sha256 is {shown(digest)}"):
            raise ValueError(flaw)
        lists = {name: tuple(fields.get(name, ())) for name in ("labels", "thresholds")}
        return Header(Checkpoint(**{**fields, **lists}), digest, tensors)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        remedy = "it is damaged, or of a newer eranntag: write or fetch it again"
        raise CheckpointError(
            f"{path}: the spec in its header cannot be read ({error_reason(error, path)[:300]}); {remedy}"
        ) from None


def _bytes(path: str) -> bytes:
    """The header's JSON. ValueError or CheckpointError for a file that has none."""
    file, size = limits.opened(path, REMEDY)
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


def _json(text: str) -> dict[str, Any]:
    """An object. ValueError where a name is there twice: two readers could understand different things."""
    parsed = json.loads(text, object_pairs_hook=_once)
    if not isinstance(parsed, dict):
        raise ValueError(f"not an object: {shown(parsed)}")
    return parsed


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if twice := _twice([name for name, _ in pairs]):
        raise ValueError(f"{twice} is there twice")
    return dict(pairs)


def _twice(names: list[str]) -> str:
    """A name that is there twice, as in a message; "" for none."""
    return next((shown(name) for name, count in Counter(names).items() if count > 1), "")


def _shape(sizes: Any) -> tuple[int, ...]:
    if not isinstance(sizes, list) or not all(type(size) is int and size >= 0 for size in sizes):
        raise ValueError(f"a tensor of shape {shown(sizes)}")
    return tuple(sizes)


def _is_sha256(text: Any) -> bool:
    return isinstance(text, str) and re.fullmatch("[0-9a-f]{64}", text) is not None


_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {  # of the fields of a Checkpoint, by their annotations
    "str": ("a text", lambda value: isinstance(value, str)),
    "Mapping[str, Any]": ("an object", lambda value: isinstance(value, dict)),
    "tuple[str, ...]": ("a list of texts", lambda value: isinstance(value, list) and all(isinstance(x, str) for x in value)),
    "tuple[float, ...]": ("a list of finite numbers", lambda value: isinstance(value, list) and all(map(is_number, value))),
}


def wrong(fields: dict[str, Any]) -> str:
    """What is wrong with a spec, "" if nothing is; whether its network exists is for `Network` to say."""
    known = {field.name: field for field in dataclasses.fields(Checkpoint)}
    if unknown := sorted(fields.keys() - known.keys()):
        return f"unknown field {shown(unknown[0])}"
    for name, field in known.items():
        kind, right = _KINDS[str(field.type)]
        if name in fields and not right(fields[name]):
            return f"{name} must be {kind}, not {shown(fields[name])}"
        if name not in fields and field.default is field.default_factory is dataclasses.MISSING:
            return f"{name} is missing"
    if flaw := limits.wrong_value(fields):
        return flaw
    if flaw := limits.wrong_name(fields["name"]):
        return f"name {flaw}"
    if (source := fields.get("source_sha256", "")) and not _is_sha256(source):
        return f"source_sha256 must be 64 hexadecimal digits, not {shown(source)}"
    return _wrong_labels(fields["labels"], fields.get("thresholds", [])) or _wrong_arguments(fields)


def _wrong_labels(labels: list[str], thresholds: list[float]) -> str:
    if not 1 <= len(labels) <= MAX_LABELS:
        return f"1 to {MAX_LABELS} labels are possible, not {len(labels)}"
    if twice := _twice(labels):
        return f"the label {twice} is there twice"
    if len(thresholds) not in (0, len(labels)):
        return f"{len(thresholds)} thresholds for {len(labels)} labels"
    return ""


def _wrong_arguments(fields: dict[str, Any]) -> str:
    for name in ("family", "frontend_family", "activation"):
        if len(fields[name]) > MAX_WORD:
            return f"{name} must have at most {MAX_WORD} characters, not {len(fields[name])}"
    for part in ("model", "frontend"):
        for name, value in fields[part].items():
            if isinstance(value, str) and len(value) > MAX_WORD:
                return f"{part}: {shown(name)} must have at most {MAX_WORD} characters, not {len(value)}"
            if len(name) > MAX_WORD or not (isinstance(value, bool | str) or is_number(value)):
                return f"{part}: {shown(name)} cannot be {shown(value)}"
    bases = fields.get("training", {}).get("bases", [])
    if not isinstance(bases, list) or not all(isinstance(base, dict) for base in bases):
        return f"the bases of its training must be a list of objects, not {shown(bases)}"
    return ""
