"""The library OpenVINO: its import without telemetry, and the conversion of a Network to its models."""

import sys
import warnings
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from types import ModuleType
from typing import Any

import numpy as np

CONVERTER = "openvino.tools.ovc"

_importing = Lock()


def imported() -> ModuleType:
    """The module openvino, imported without its converter, which doubles the import time and connects to a telemetry server.

    So this is no matter of the command line alone: `eranntag.load` connects nowhere either. A module that is imported already
    is not changed. `openvino.convert_model` still works for other code: it imports the converter when it is called.
    """
    with _importing:
        if "openvino" not in sys.modules:
            sys.modules[CONVERTER] = None  # type: ignore[assignment]  # its import fails, which openvino expects
            try:
                import openvino
            finally:
                del sys.modules[CONVERTER]
            openvino.convert_model = _convert_model
    return sys.modules["openvino"]


def _convert_model(*args: Any, **options: Any) -> Any:
    from openvino.tools.ovc import convert_model

    return convert_model(*args, **options)


@cache
def core() -> Any:
    return imported().Core()


def converted(network: Any) -> tuple[Any, Any]:
    """A Network without its front-end as openvino.Models in float32, for any number of frames.

    The first: image (1, 1, rows, frames) -> logits (1, classes) and, where the family has columns, their means and maxima
    (1, channels, columns); elsewhere the embedding (1, size) and, where the family has them, the frames' logits
    (1, frames, classes). The second, the head: pooled (columns, channels) -> logits (columns, classes); None without columns.
    """
    import torch

    from eranntag.engines.traced_modules import Body, Framed, Head
    from eranntag.models import ColumnModel

    model, rows = network.model, network.frontend.config.rows
    image = torch.zeros(1, 1, rows, 2 * model.frame_multiple)
    if not isinstance(model, ColumnModel):
        return model_of(Framed(model), image, [1, 1, rows, -1]), None
    body = model_of(Body(network.model), image, [1, 1, rows, -1])
    channels = model.columns(image)[0].shape[1]
    return body, model_of(Head(network.model), torch.zeros(1, channels), [-1, channels])


def model_of(module: Any, example: Any, shape: list[int]) -> Any:
    openvino = imported()
    import torch
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer: shapes become constants, which a test contradicts
        frontend = FrontEndManager().load_by_framework("pytorch")
        # the check of the trace takes twice as long as all the rest
        traced = torch.jit.trace(module.eval(), example, check_trace=False)  # type: ignore[no-untyped-call]  # of torch
        decoder = TorchScriptPythonDecoder(traced, example_input=example)  # a name: the frontend does not keep it alive
        model = frontend.convert(frontend.load(decoder))
    model.reshape({0: openvino.PartialShape(shape)})
    return model


def saved(model: Any) -> tuple[bytes, bytes]:
    """The graph (XML) and the weights of a model."""
    with TemporaryDirectory() as folder:
        graph, numbers = Path(folder) / "model.xml", Path(folder) / "model.bin"
        imported().serialize(model, graph, numbers)
        return graph.read_bytes(), numbers.read_bytes()


def compiled(graph: np.ndarray, weights: np.ndarray, shape: tuple[int, ...], hints: dict[str, str]) -> Any:
    """A `saved` model, compiled for images of `shape` alone."""
    model = core().read_model(graph.tobytes(), imported().Tensor(weights, shared_memory=True))
    model.reshape({0: imported().PartialShape(list(shape))})
    return core().compile_model(model, "CPU", hints)
