"""The choice of an engine: how a checkpoint is executed. An engine is one of the files ENGINES of this folder.

An engine's file has `build(source, device, dtype, many) -> NetworkTagger`. `dtype` "auto" is the fastest one that the hardware
has and that `verify` finds as good as float32. `many`: many clips will be scored, so that some may be computed side by side;
otherwise each uses the whole machine. It raises UsageError for a dtype that is not available, and Unfit for a checkpoint that
it cannot execute well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING

from eranntag import registry
from eranntag.errors import EranntagError, UsageError, error_reason
from eranntag.inference import devices
from eranntag.types import Checkpoint

if TYPE_CHECKING:
    from eranntag.inference.network import Network
    from eranntag.inference.network_tagger import NetworkTagger

ENGINES = ("eager", "openvino", "torch")
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class VerifiedCheckpoint:
    """A verified checkpoint file: its spec, the file's SHA-256, and `network()`, which needs torch to read it."""

    checkpoint: Checkpoint
    sha256: str
    network: Callable[[], Network]


class Unfit(EranntagError):
    """An engine that cannot execute this checkpoint as it should."""


def check(engine: str, device: str, dtype: str) -> str:
    """The device that will be used; UsageError for an engine, device or dtype that is unknown or not here."""
    if dtype not in ("auto", *DTYPES):
        raise UsageError(f"dtype {dtype!r} is none of auto, {', '.join(DTYPES)}{registry.did_you_mean(dtype, DTYPES)}")
    if engine not in ("auto", *ENGINES):
        raise UsageError(f"engine {engine!r} is none of auto, {', '.join(ENGINES)}{registry.did_you_mean(engine, ENGINES)}")
    if engine != "openvino":
        return devices.pick(device)
    if find_spec("openvino") is None:
        raise UsageError("the engine openvino is not installed: pip install 'eranntag[openvino]'")
    if device not in ("auto", "cpu"):
        raise UsageError(f"the engine openvino runs on the CPU, not on {device}; leave out --device or --engine")
    return "cpu"


def build(
    source: VerifiedCheckpoint, engine: str = "auto", device: str = "auto", dtype: str = "auto", many: bool = False
) -> NetworkTagger:
    """The Tagger of `source`: "auto" is openvino on a CPU where it is installed and fits, else torch.

    Raises UsageError for an engine, device or dtype that is unknown or not here.
    """
    device, why = check(engine, device, dtype), ""
    if engine != "auto":
        return _built(registry.get("eranntag.engines", engine), source, device, dtype, many)
    if device == "cpu":
        if find_spec("openvino"):
            try:
                return _built(registry.get("eranntag.engines", "openvino"), source, device, dtype, many)
            except Unfit as error:
                why = str(error)
            except (ImportError, AttributeError, RuntimeError) as error:  # an installation that is broken, or too old
                why = f"openvino fails here: {error_reason(error)}"
        else:
            why = "openvino, which is faster on most CPUs, is not installed: pip install 'eranntag[openvino]'"
    try:
        tagger = _built(registry.get("eranntag.engines", "torch"), source, device, dtype, many)
    except RuntimeError as error:  # of a GPU's driver or libraries
        why = f"torch's fast way fails on {device}: {error_reason(error)}"
        tagger = registry.get("eranntag.engines", "eager").build(source, device, dtype, many)
    if why:
        tagger.notes = (why, *tagger.notes)
    return tagger


def _built(engine: ModuleType, source: VerifiedCheckpoint, device: str, dtype: str, many: bool) -> NetworkTagger:
    """The Tagger of an engine; with float32 at hand for clips whose numbers a dtype that it chose itself cannot hold."""
    tagger: NetworkTagger = engine.build(source, device, dtype, many)
    if dtype == "auto" and tagger.dtype != "float32":
        tagger.exact = cache(lambda: engine.build(source, device, "float32", many))
    return tagger
