"""From a checkpoint to the compiled network that openvino keeps: converted, compiled, compared with the reference."""

from dataclasses import asdict
from typing import Any

import numpy as np

from eranntag.engines import openvino_runtime, verify
from eranntag.engines.eager import Eager
from eranntag.engines.openvino import HINTS, OpenVINO, writable
from eranntag.engines.selection import Source, Unfit
from eranntag.errors import UsageError, error_reason


def compiled(source: Source, dtype: str, choice: bool) -> tuple[dict[str, Any], list[bytes]]:
    """The facts and the parts: network and head as exported, then the model's graph and weights.

    With `choice` in float32, if `dtype` is not as good or OpenVINO has it not here. Raises Unfit, and UsageError without it.
    """
    reference = Eager(source.network())
    expected = verify.scores(reference)
    try:
        models = openvino_runtime.converted(reference.network)
    except Exception as error:  # whatever an operation that it does not know makes of it
        raise Unfit(f"openvino cannot convert {source.checkpoint.name}: {error_reason(error)}") from None
    facts = {"geometry": asdict(reference.geometry), "dtype": dtype, "refused": "", "difference": 0.0}
    parts, refused = _measured(source, models, facts, expected)
    if refused and not choice and dtype != "float32":
        raise UsageError(f"{refused}; use another --dtype, or --engine torch")
    if not refused and choice and not facts["difference"] <= verify.LIMITS[dtype]:
        refused = f"{dtype} is not as good ({verify.told(facts['difference'])})"
    if refused:
        facts |= {"dtype": "float32", "refused": refused}
        parts, refused = _measured(source, models, facts, expected)
    if facts["dtype"] == "float32" and not facts["difference"] <= verify.LIMITS["float32"]:
        raise Unfit(f"openvino computes {source.checkpoint.name} wrongly: {verify.told(facts['difference'])}")
    return facts, [*parts, *[b""] * (2 - len(parts)), *openvino_runtime.saved(models[0])]


def _measured(source: Source, models: Any, facts: dict[str, Any], expected: np.ndarray) -> tuple[list[bytes], str]:
    """The parts in the dtype of `facts`, whose `difference` is set; or why there are none."""
    hints = {"INFERENCE_PRECISION_HINT": HINTS[facts["dtype"]]}
    compiled = [openvino_runtime.core().compile_model(model, "CPU", hints) for model in models if model is not None]
    real = compiled[0].get_property("INFERENCE_PRECISION_HINT").to_string()
    if real != HINTS[facts["dtype"]]:
        return [], f"openvino has no {facts['dtype']} on this CPU"
    parts = [part.export_model().read() for part in compiled]
    tagger = OpenVINO(source, facts, [writable(part) for part in parts], False, ("", ""))
    facts["difference"] = verify.difference(tagger, expected)
    return parts, ""
