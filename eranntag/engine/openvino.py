"""OpenVINO: the fastest on most CPUs. Compiled networks are kept between runs, so that a run that finds its own needs no torch.

The network is compiled for any number of frames, without the front-end, which threads compute ahead in numpy.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import eranntag
from eranntag import devices, features, registry
from eranntag.engine import Source, Unfit, _check, _compiled, _openvino
from eranntag.engine._requests import Pool, Specialised
from eranntag.errors import UsageError, reason
from eranntag.streaming import Geometry
from eranntag.tagger import Tagger
from eranntag.types import Checkpoint, Clip

HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
FORMAT = 2  # another number when the parts or the facts of a compiled network change


def build(source: Source, device: str, dtype: str, many: bool) -> Tagger:
    wanted, why = devices.native_dtype() if dtype == "auto" else (dtype, "as asked")
    choice = dtype == "auto" and wanted != "float32"  # then float32 will do, if need be
    key = _key(source, wanted, choice)
    path, model = _compiled.folder() / f"{key}.ov", _compiled.folder() / f"{key}-model.ov"
    if (entry := _compiled.read(path)) is not None:
        try:
            return OpenVINO(source.checkpoint, *entry, many, (why, "compiled before"), model)
        except RuntimeError:  # what another OpenVINO or CPU wrote is compiled anew
            pass
    facts, parts, models = _compile(source, wanted, choice)
    unkept = _compiled.write(path, facts, parts) or _compiled.write(model, {}, _openvino.saved(models[0]))
    how = f"compiled now, not kept ({unkept})" if unkept else "compiled now and kept"
    return OpenVINO(source.checkpoint, facts, [_bytes(part) for part in parts], many, (why, how), model)


class OpenVINO(Tagger):
    """`parts`: the network (image -> logits, means, maxima) and the head (pooled -> logits), as OpenVINO exported them.

    `model`: where the network is kept uncompiled.
    """

    engine = "openvino"

    def __init__(
        self,
        checkpoint: Checkpoint,
        facts: dict[str, Any],
        parts: list[np.ndarray],
        many: bool,
        why: tuple[str, str],
        model: Path | None = None,
    ) -> None:
        frontend, self.image = _frontend(checkpoint)
        self._parts = parts
        self._hints = {
            "INFERENCE_PRECISION_HINT": HINTS[facts["dtype"]],
            "PERFORMANCE_HINT": "THROUGHPUT" if many else "LATENCY",
        }
        network = self._imported(0)
        parallel = network.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        reason, how = facts["refused"] or why[0], why[1]
        told = _check.told(facts["difference"])
        notes = (f"openvino {metadata.version('openvino')}, {facts['dtype']}: {reason}, {told}; {how}",)
        super().__init__(checkpoint, frontend, Geometry(**facts["geometry"]), facts["dtype"], "cpu", parallel, notes)
        self._model = model
        self._outputs = Specialised(Pool(network, parallel, parts), self._special)
        self._head: Any = None

    def _imported(self, part: int) -> Any:
        tensor = _openvino.imported().Tensor(self._parts[part], shared_memory=True)
        return _openvino.core().import_model(tensor, "CPU", self._hints)

    def prepare(self, clip: Clip) -> np.ndarray:
        """(1, rows, frames): its image."""
        return self.image(self.waveform(clip))[None]

    def logits(self, prepared: np.ndarray) -> np.ndarray:
        return np.concatenate([self._outputs(image[None])[0] for image in prepared])  # one by one: batches gain nothing

    def columns(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        _, means, highest = self._outputs(images)
        return means, highest

    def classify(self, pooled: np.ndarray) -> np.ndarray:
        if self._head is None:
            self._head = self._imported(1)
        request = self._head.create_infer_request()  # small, and so each thread has its own
        request.infer([pooled])
        return request.get_output_tensor(0).data.copy()

    def _special(self, shape: tuple[int, ...]) -> Pool | None:
        """The network for images of `shape` alone, if its model was kept."""
        entry = _compiled.read(self._model) if self._model else None
        try:
            return Pool(_openvino.compiled(entry[1], shape, self._hints), self.parallel, entry) if entry else None
        except RuntimeError:
            return None


def _key(source: Source, dtype: str, choice: bool) -> str:
    """Of everything that a compiled network depends on."""
    versions = (FORMAT, eranntag.__version__, metadata.version("openvino"), sorted(devices.cpu_flags()))
    return hashlib.sha256(json.dumps([source.sha256, dtype, choice, versions]).encode()).hexdigest()[:40]


def _frontend(checkpoint: Checkpoint) -> tuple[Any, Callable[[np.ndarray], np.ndarray]]:
    """The front-end's Config and waveform (samples,) -> image (rows, frames): its numpy twin if it has one, else torch."""
    if twin := features.twin(checkpoint.frontend_family):
        config = twin.Config(**checkpoint.frontend)
        return config, partial(twin.compute, config=config)
    import torch

    module = registry.get("eranntag.features", checkpoint.frontend_family)
    frontend = module.Frontend(module.Config(**checkpoint.frontend)).eval()
    return frontend.config, lambda waveform: frontend(torch.from_numpy(waveform)[None])[0, 0].detach().numpy()


def _compile(source: Source, dtype: str, choice: bool) -> tuple[dict[str, Any], list[bytes], Any]:
    """The facts, the parts and the models they were compiled from; with `choice` in float32 if `dtype` is not good enough."""
    from eranntag.engine.eager import Eager

    reference = Eager(source.network())
    expected = _check.scores(reference)
    try:
        models = _openvino.converted(reference.network)
    except Exception as error:  # whatever an operation that it does not know makes of it
        raise Unfit(f"openvino cannot convert {source.checkpoint.name}: {reason(error, '')}") from None
    facts = {"geometry": asdict(reference.geometry), "dtype": dtype, "refused": "", "difference": 0.0}
    parts = _measured(source.checkpoint, models, facts, expected)
    if choice and not facts["difference"] <= _check.LIMITS[dtype]:
        facts |= {"dtype": "float32", "refused": f"{dtype} is not as good ({_check.told(facts['difference'])})"}
        parts = _measured(source.checkpoint, models, facts, expected)
    if facts["dtype"] == "float32" and not facts["difference"] <= _check.LIMITS["float32"]:
        raise Unfit(f"openvino computes {source.checkpoint.name} wrongly: {_check.told(facts['difference'])}")
    return facts, parts, models


def _measured(checkpoint: Checkpoint, models: Any, facts: dict[str, Any], expected: np.ndarray) -> list[bytes]:
    """The parts in the dtype of `facts`, whose `difference` is set."""
    hints = {"INFERENCE_PRECISION_HINT": HINTS[facts["dtype"]]}
    compiled = [_openvino.core().compile_model(model, "CPU", hints) for model in models if model is not None]
    real = compiled[0].get_property("INFERENCE_PRECISION_HINT").to_string()
    if real != HINTS[facts["dtype"]]:
        raise UsageError(f"this CPU has no {facts['dtype']} for openvino (it would take {real}); use another --dtype")
    parts = [part.export_model().read() for part in compiled]
    tagger = OpenVINO(checkpoint, facts, [_bytes(part) for part in parts], False, ("", ""))
    facts["difference"] = _check.difference(tagger, expected)
    return parts


def _bytes(part: bytes) -> np.ndarray:
    return np.frombuffer(bytearray(part), np.uint8)  # writable, as openvino wants it
