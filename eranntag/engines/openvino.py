"""OpenVINO: the fastest on most CPUs. Compiled networks are kept between runs, so that a run that finds its own needs no torch.

The network is compiled for any number of frames, without the front-end, which threads compute ahead in numpy.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property, partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import eranntag
from eranntag import features, registry
from eranntag.engines import compile_cache, openvino_runtime, verify
from eranntag.engines.request_pool import Pool, Specialised
from eranntag.engines.selection import Source
from eranntag.inference import devices
from eranntag.inference.streaming import Geometry
from eranntag.inference.tagger import Tagger
from eranntag.types import Clip

HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
_PACKAGE = Path(eranntag.__file__).parent
FORMAT = 6  # another number when the parts or the facts of a compiled network change
NETWORK, MODEL = slice(0, 2), slice(2, 4)  # of the parts: network and head, as exported; graph and weights, for other shapes


def build(source: Source, device: str, dtype: str, many: bool) -> Tagger:
    wanted, why = devices.native_dtype() if dtype == "auto" else (dtype, "as asked")
    choice = dtype == "auto" and wanted != "float32"  # then float32 will do, if need be
    path = compile_cache.folder() / f"{_key(source, wanted, choice)}.ov"
    if (entry := compile_cache.read(path, NETWORK)) is not None:
        try:
            return OpenVINO(source, *entry, many, (why, "compiled before"), path)
        except RuntimeError:  # what another OpenVINO or CPU wrote is compiled anew
            pass
    from eranntag.engines._openvino_compile import compiled  # needs torch

    facts, parts = compiled(source, wanted, choice)
    unkept = compile_cache.write(path, facts, parts)
    how = f"compiled now, not kept ({unkept})" if unkept else "compiled now and kept"
    return OpenVINO(source, facts, [writable(part) for part in parts], many, (why, how), path)


class OpenVINO(Tagger):
    """`parts`: the network (image -> logits, then means and maxima of the columns; without columns the embedding, then logits
    of the frames where it has them) and the head (pooled -> logits), as OpenVINO exported them.

    `kept`: the file where all parts are.
    """

    engine = "openvino"

    def __init__(
        self,
        source: Source,
        facts: dict[str, Any],
        parts: list[np.ndarray],
        many: bool,
        why: tuple[str, str],
        kept: Path | None = None,
    ) -> None:
        checkpoint = source.checkpoint
        frontend, self.image = _frontend(source)
        self._parts, self._kept = parts, kept
        self._hints = {"INFERENCE_PRECISION_HINT": HINTS[facts["dtype"]]}
        network = self._imported(0, many)
        parallel = network.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        reason = facts["refused"] or why[0]
        told = f"{facts['dtype']} on cpu: {reason}, {verify.told(facts['difference'])}; {why[1]}"
        notes = (f"openvino {metadata.version('openvino')}, {told}",)
        super().__init__(checkpoint, frontend, Geometry(**facts["geometry"]), facts["dtype"], "cpu", parallel, notes)
        self._outputs = Specialised(Pool(network, parallel, parts), partial(self._special, many))

    def _imported(self, part: int, many: bool = False) -> Any:
        tensor = openvino_runtime.imported().Tensor(self._parts[part], shared_memory=True)
        return openvino_runtime.core().import_model(tensor, "CPU", _aim(self._hints, many))

    def prepare(self, clip: Clip) -> np.ndarray:
        """(1, rows, frames): its image."""
        return self.image(self.waveform(clip))[None]

    def logits(self, prepared: np.ndarray) -> np.ndarray:
        return np.concatenate([self._outputs(image[None])[0] for image in prepared])  # one by one: batches gain nothing

    def answers(self, prepared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits, *others = self._each(prepared)
        scores, vectors = self._probabilities(logits), self._pooled(others)
        if np.isfinite(scores).all() and np.isfinite(vectors).all():
            return scores, vectors
        return super().answers(prepared)

    def pooled(self, prepared: np.ndarray) -> np.ndarray:
        return self._pooled(self._each(prepared)[1:])

    def _pooled(self, outputs: list[np.ndarray]) -> np.ndarray:
        """The embedding, of the outputs behind the logits."""
        first, *others = outputs
        if self.geometry.context_frames is None:
            return first  # the embedding
        return first.mean(-1) + others[0].max(-1)  # global pooling of the columns' means and maxima

    def frame_logits(self, prepared: np.ndarray) -> np.ndarray | None:
        _, first, *others = self._each(prepared)
        if self.geometry.context_frames is not None:
            return self.column_logits(first, others[0])
        return others[0] if others else None

    def _each(self, prepared: np.ndarray) -> list[np.ndarray]:
        """All outputs of the network, each (batch, ...)."""
        return [np.concatenate(output) for output in zip(*(self._outputs(image[None]) for image in prepared), strict=True)]

    def columns(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        _, means, highest = self._alone(images)
        return means, highest

    def classify(self, pooled: np.ndarray) -> np.ndarray:
        request = self._head.create_infer_request()  # small, and so each thread has its own
        request.infer([pooled])
        return request.get_output_tensor(0).data.copy()

    @cached_property
    def _alone(self) -> Callable[[np.ndarray], list[np.ndarray]]:
        """For blocks of a long sound, one after the other with all cores: each that ran side by side would keep its memory."""
        return Pool(self._imported(0), 1, self._parts) if self.parallel > 1 else self._outputs.general

    @cached_property
    def _head(self) -> Any:
        return self._imported(1)

    def _special(self, many: bool, shape: tuple[int, ...]) -> Pool | None:
        """The network for images of `shape` alone, if its model was kept."""
        entry = compile_cache.read(self._kept, MODEL) if self._kept else None
        try:
            network = openvino_runtime.compiled(entry[1], shape, _aim(self._hints, many)) if entry else None
        except RuntimeError:
            return None
        return Pool(network, self.parallel, entry) if network else None


def writable(part: bytes) -> np.ndarray:
    """As openvino wants its memory."""
    return np.frombuffer(bytearray(part), np.uint8)


def _aim(hints: dict[str, str], many: bool) -> dict[str, str]:
    return {**hints, "PERFORMANCE_HINT": "THROUGHPUT" if many else "LATENCY"}


def _key(source: Source, dtype: str, choice: bool) -> str:
    """Of everything that a compiled network depends on: also the code, which may change between versions."""
    spec, versions = asdict(source.checkpoint), (FORMAT, eranntag.__version__, metadata.version("openvino"))
    files = (path for folder in ("models", "features") for path in sorted((_PACKAGE / folder).glob("*.py")))
    code = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    facts = [source.sha256, spec, dtype, choice, versions, sorted(devices.cpu_flags()), code]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:40]


def _frontend(source: Source) -> tuple[Any, Callable[[np.ndarray], np.ndarray]]:
    """The front-end's Config and waveform (samples,) -> image (rows, frames): its numpy twin if it has one, else torch."""
    checkpoint = source.checkpoint
    if twin := features.twin(checkpoint.frontend_family):
        config = twin.Config(**checkpoint.frontend)
        return config, partial(twin.compute, config=config)
    import torch

    module = registry.get("eranntag.features", checkpoint.frontend_family)
    frontend = module.Frontend(module.Config(**checkpoint.frontend)).eval()
    if any(True for _ in frontend.parameters()):
        frontend = source.network().frontend.requires_grad_(False)  # nothing of the layers is kept for gradients
    return frontend.config, lambda waveform: frontend(torch.from_numpy(waveform)[None])[0, 0].numpy()
