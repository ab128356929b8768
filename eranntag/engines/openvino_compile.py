"""From a checkpoint to the compiled network that is kept: converted, compiled, compared with the reference. Needs torch."""

from dataclasses import replace
from typing import Any

import numpy as np

from eranntag.engines import openvino_runtime, verify
from eranntag.engines.eager import Eager
from eranntag.engines.openvino_tagger import HINTS, CompiledNetwork, Facts, OpenVINO
from eranntag.engines.selection import Unfit, VerifiedCheckpoint
from eranntag.errors import UsageError, error_reason


def compile_network(source: VerifiedCheckpoint, dtype: str, fall_back: bool) -> CompiledNetwork:
    """The network of `source` in `dtype`, compiled and verified, with all its parts.

    With `fall_back` it is float32 where `dtype` is not as good as that, or is not available in OpenVINO here. Raises Unfit
    where OpenVINO cannot execute the checkpoint correctly, and UsageError for a `dtype` that is not available.
    """
    reference = Eager(source.network())
    expected = verify.scores(reference)
    try:
        models = openvino_runtime.converted(reference.network)
    except Exception as error:  # whatever an operation that it cannot convert raises
        raise Unfit(f"openvino cannot convert {source.checkpoint.name}: {error_reason(error, '')}") from None
    facts = Facts(reference.geometry, dtype)
    compiled = _compiled(source, models, facts, expected)
    refused = ""
    if compiled is None:
        refused = f"openvino has no {dtype} on this CPU"
        if not fall_back and dtype != "float32":
            raise UsageError(f"{refused}; use another --dtype, or --engine torch")
    elif fall_back and not compiled.facts.difference <= verify.LIMITS[dtype]:
        refused = f"{dtype} is not as good ({verify.describe(compiled.facts.difference)})"
    if refused:
        compiled = _compiled(source, models, replace(facts, dtype="float32", refused=refused), expected)
    if compiled is None:
        raise Unfit("openvino has no float32 on this CPU")
    difference = compiled.facts.difference
    if compiled.facts.dtype == "float32" and not difference <= verify.LIMITS["float32"]:
        raise Unfit(f"openvino computes {source.checkpoint.name} wrongly: {verify.describe(difference)}")
    graph, weights = openvino_runtime.saved(models[0])
    return replace(compiled, graph=_array(graph), weights=_array(weights))


def _compiled(source: VerifiedCheckpoint, models: Any, facts: Facts, expected: np.ndarray) -> CompiledNetwork | None:
    """The `network` and `head` in the dtype of `facts`, with the difference from `expected`; None where it is not available."""
    hints = {"INFERENCE_PRECISION_HINT": HINTS[facts.dtype]}
    compiled = [openvino_runtime.core().compile_model(model, "CPU", hints) for model in models if model is not None]
    if compiled[0].get_property("INFERENCE_PRECISION_HINT").to_string() != HINTS[facts.dtype]:
        return None
    network = CompiledNetwork(facts, *(_array(part.export_model().read()) for part in compiled))
    difference = verify.difference(OpenVINO(source, network), expected)
    return replace(network, facts=replace(facts, difference=difference))


def _array(part: bytes) -> np.ndarray:
    """Writable, as OpenVINO requires of its memory."""
    return np.frombuffer(bytearray(part), np.uint8)
