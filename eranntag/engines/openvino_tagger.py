"""The Tagger of a network that OpenVINO compiled for any number of frames, without the front-end, which threads compute ahead.

No torch here, so that a compiled network that was kept starts at once.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from eranntag import features, registry
from eranntag.engines import compile_cache, openvino_runtime, verify
from eranntag.engines.request_pool import RequestPool, ShapeSpecialized
from eranntag.engines.selection import VerifiedCheckpoint
from eranntag.inference.network_tagger import NetworkTagger
from eranntag.inference.streaming import Geometry
from eranntag.types import Clip

HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


@dataclass(frozen=True)
class Facts:
    """The `dtype` of a compiled network; why another was `refused`, if it was; and the `difference` of its probabilities from
    the reference's in float32."""

    geometry: Geometry
    dtype: str
    refused: str = ""
    difference: float = 0.0


def _absent() -> np.ndarray:
    return np.zeros(0, np.uint8)


@dataclass(frozen=True)
class CompiledNetwork:
    """Bytes of a compiled network, as uint8 arrays.

    `network` (image -> logits, then means and maxima of the columns; without columns the embedding, then logits of the frames
    where the family has them) and `head` (pooled -> logits) are as OpenVINO exported them; `graph` and `weights` are the model
    of the network, which can be compiled for other shapes. Absent parts are empty.
    """

    facts: Facts
    network: np.ndarray
    head: np.ndarray = field(default_factory=_absent)
    graph: np.ndarray = field(default_factory=_absent)
    weights: np.ndarray = field(default_factory=_absent)

    def parts(self) -> dict[str, bytes]:
        """All parts by their names, for `compile_cache.write`."""
        return {name: getattr(self, name).tobytes() for name in ("network", "head", "graph", "weights")}


class OpenVINO(NetworkTagger):
    """Executes `compiled`; `cached` is the file that has all its parts. `why` explains the dtype, and where it comes from."""

    engine = "openvino"

    def __init__(
        self,
        source: VerifiedCheckpoint,
        compiled: CompiledNetwork,
        many: bool = False,
        why: tuple[str, str] = ("", ""),
        cached: Path | None = None,
    ) -> None:
        frontend, self.image = _frontend(source)
        self._compiled, self._cached, self._many = compiled, cached, many
        facts = compiled.facts
        network = self._imported(compiled.network, many)
        parallel = network.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        quality = f"{facts.refused or why[0]}, {verify.describe(facts.difference)}; {why[1]}"
        notes = (f"openvino {metadata.version('openvino')}, {facts.dtype} on cpu: {quality}",)
        super().__init__(source.checkpoint, frontend, facts.geometry, facts.dtype, "cpu", parallel, notes)
        self._outputs = ShapeSpecialized(RequestPool(network, parallel, compiled), self._compiled_for)

    def _imported(self, part: np.ndarray, many: bool = False) -> Any:
        tensor = openvino_runtime.imported().Tensor(part, shared_memory=True)
        return openvino_runtime.core().import_model(tensor, "CPU", self._hints(many))

    def _hints(self, many: bool) -> dict[str, str]:
        mode = "THROUGHPUT" if many else "LATENCY"
        return {"INFERENCE_PRECISION_HINT": HINTS[self._compiled.facts.dtype], "PERFORMANCE_HINT": mode}

    def prepare(self, clip: Clip) -> np.ndarray:
        """The image of the clip: (1, rows, frames)."""
        return self.image(self.waveform(clip))[None]

    def logits(self, prepared: np.ndarray) -> np.ndarray:
        return np.concatenate([self._outputs(image[None])[0] for image in prepared])  # one by one: batches gain nothing

    def scores_and_embeddings(self, prepared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits, *others = self._each(prepared)
        scores, vectors = self._probabilities(logits), self._pooled(others)
        if np.isfinite(scores).all() and np.isfinite(vectors).all():
            return scores, vectors
        return super().scores_and_embeddings(prepared)

    def pooled(self, prepared: np.ndarray) -> np.ndarray:
        return self._pooled(self._each(prepared)[1:])

    def _pooled(self, outputs: list[np.ndarray]) -> np.ndarray:
        """The embedding, from the outputs behind the logits."""
        first, *others = outputs
        if self.geometry.context_frames is None:
            return first
        pooled: np.ndarray = first.mean(-1) + others[0].max(-1)  # global pooling of the columns' means and maxima
        return pooled

    def frame_logits(self, prepared: np.ndarray) -> np.ndarray | None:
        _, first, *others = self._each(prepared)
        if self.geometry.context_frames is not None:
            return self.column_logits(first, others[0])
        return others[0] if others else None

    def _each(self, prepared: np.ndarray) -> list[np.ndarray]:
        """All outputs of the network, each (batch, ...)."""
        return [np.concatenate(output) for output in zip(*(self._outputs(image[None]) for image in prepared), strict=True)]

    def columns(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        _, means, highest = self._sequential(images)
        return means, highest

    def classify(self, pooled: np.ndarray) -> np.ndarray:
        request = self._head.create_infer_request()  # small, and so each thread has its own
        request.infer([pooled])
        logits: np.ndarray = request.get_output_tensor(0).data.copy()
        return logits

    @cached_property
    def _sequential(self) -> Callable[[np.ndarray], list[np.ndarray]]:
        """For blocks of long audio, one after the other with all cores: requests side by side would each keep their memory."""
        if self.parallel == 1:
            return self._outputs.general
        return RequestPool(self._imported(self._compiled.network), 1, self._compiled)

    @cached_property
    def _head(self) -> Any:
        return self._imported(self._compiled.head)

    def _compiled_for(self, shape: tuple[int, ...]) -> RequestPool | None:
        """The network for images of `shape` alone, if its model was kept."""
        entry = compile_cache.read(self._cached, ("graph", "weights")) if self._cached else None
        if entry is None:
            return None
        graph, weights = entry.parts["graph"], entry.parts["weights"]
        try:
            network = openvino_runtime.compiled(graph, weights, shape, self._hints(self._many))
        except RuntimeError:
            return None
        return RequestPool(network, self.parallel, weights)


def _frontend(source: VerifiedCheckpoint) -> tuple[Any, Callable[[np.ndarray], np.ndarray]]:
    """The front-end's Config and waveform (samples,) -> image (rows, frames): its numpy twin if it has one, else torch."""
    checkpoint = source.checkpoint
    if twin := features.twin(checkpoint.frontend_family):
        config = twin.Config(**checkpoint.frontend)
        return config, partial(twin.compute, config=config)
    import torch

    module = registry.get("eranntag.features", checkpoint.frontend_family)
    frontend = module.Frontend(module.Config(**checkpoint.frontend)).eval()
    if any(True for _ in frontend.parameters()):
        frontend = source.network().frontend.requires_grad_(False)  # so that nothing is kept for gradients
    return frontend.config, lambda waveform: frontend(torch.from_numpy(waveform)[None])[0, 0].numpy()
