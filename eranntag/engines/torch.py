"""torch made fast: BatchNorm in the convolutions, channels_last, in place, half precision where the hardware has it; on a
CUDA GPU a captured graph for each shape, front-end included."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from eranntag.engines import verify
from eranntag.engines.cuda_graphs import Graphs
from eranntag.engines.eager import Eager
from eranntag.engines.selection import Source
from eranntag.inference import devices
from eranntag.inference.network import DTYPES, Network, memory_format
from eranntag.inference.tagger import Tagger
from eranntag.models import OptimizableModel


def build(source: Source, device: str, dtype: str, many: bool) -> Tagger:
    wanted, why = dtype, "as asked"
    if dtype == "auto":
        wanted, why = devices.native_dtype() if device == "cpu" else ("float16", "a GPU has it")
    if dtype == "auto" and wanted != "float32":
        reference = verify.scores(Eager(source.network().to(device)))
        tagger = Fast(source.network().to(device), wanted)
        difference = verify.difference(tagger, reference)
        if difference <= verify.LIMITS[wanted]:
            tagger.notes = (_note(wanted, device, f"{why}; {verify.told(difference)}"),)
            return tagger
        wanted, why = "float32", f"{wanted} is not as good: {verify.told(difference)}"
    return Fast(source.network().to(device), wanted, (_note(wanted, device, why),))


def _note(dtype: str, device: str, why: str) -> str:
    return f"torch {torch.__version__}, {dtype} on {device}: {why}"


class Fast(Eager):
    """`network` itself, changed for good: it cannot be trained or saved any more."""

    engine = "torch"

    def __init__(self, network: Network, dtype: str, notes: tuple[str, ...] = ()) -> None:
        super().__init__(network, dtype, notes)
        network.requires_grad_(False)
        self.optimized = isinstance(network.model, OptimizableModel)
        if self.optimized:
            network.model.optimize(DTYPES[dtype])
        self.layout = memory_format(network.model, network.device)
        network.model.to(memory_format=self.layout)
        if network.device.type == "cuda":
            self.run = Graphs(self.run)

    def cast(self) -> AbstractContextManager[object]:
        return nullcontext() if self.optimized else super().cast()  # optimized weights are of the dtype already

    def laid_out(self, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=self.layout)
