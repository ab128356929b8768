"""The formats of export: how a file is written, and how its runtime is called."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eranntag.engines import openvino_runtime

INPUT, OUTPUTS = "image", ("logits", "scores", "embedding")
OPSET = 17

Run = Callable[[np.ndarray], Sequence[np.ndarray]]  # image -> logits, scores, embedding


@dataclass(frozen=True)
class Format:
    """`suffixes` of its files, the one that programs open last; the `packages` it needs, and how they are installed."""

    suffixes: tuple[str, ...]
    packages: tuple[str, ...]
    install: str
    write: Callable[[Any, dict[str, str], Path, bool], None]  # network, metadata, path, half
    load: Callable[[Path], Run]
    half: bool = False


def scored_module(network: Any) -> tuple[Any, Any]:
    """Return the module that is exported, from image to OUTPUTS, and an example input."""
    import torch

    from eranntag.engines.traced_modules import Scored

    image = torch.zeros(2, 1, network.frontend.config.rows, network.model.frame_multiple)
    return Scored(network.model, network.checkpoint.activation).eval(), image


def _write_onnx(network: Any, about: dict[str, str], path: Path, half: bool) -> None:
    import onnx
    import torch

    module, image = scored_module(network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the tracer is old, and that it makes constants of shapes: the check would see it
        torch.onnx.export(
            module,
            (image,),
            path,
            dynamo=False,  # five times as fast as the new exporter, without onnxscript; the graph is as good
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_axes={INPUT: {0: "batch", 3: "frames"}, **{name: {0: "batch"} for name in OUTPUTS}},
        )
    model = onnx.load(path)
    onnx.helper.set_model_props(model, about)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _load_onnx(path: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda image: session.run(list(OUTPUTS), {INPUT: image})


def _write_openvino(network: Any, about: dict[str, str], path: Path, half: bool) -> None:
    module, image = scored_module(network)
    model = openvino_runtime.model_of(module, image, [-1, *image.shape[1:3], -1])
    for port, name in zip((*model.inputs, *model.outputs), (INPUT, *OUTPUTS), strict=True):
        port.get_tensor().set_names({name})
    for key, value in about.items():
        model.set_rt_info(value, [key])
    openvino_runtime.imported().save_model(model, path, compress_to_fp16=half)


def _load_openvino(path: Path) -> Run:
    """In float32 on every CPU: the file is checked, not the CPU's bfloat16."""
    compiled = openvino_runtime.core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(image: np.ndarray) -> Sequence[np.ndarray]:
        outputs = compiled([image])
        return [outputs[name] for name in OUTPUTS]

    return run


FORMATS = {
    "onnx": Format((".onnx",), ("onnx", "onnxruntime"), "'eranntag[onnx]'", _write_onnx, _load_onnx),
    "openvino": Format((".bin", ".xml"), ("openvino",), "'eranntag[openvino]'", _write_openvino, _load_openvino, half=True),
}
