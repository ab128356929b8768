"""torch made fast: BatchNorm in the convolutions, channels_last, in place, half precision where the hardware has it; on a
CUDA GPU a captured graph for each shape, front-end included."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from eranntag.engines import verify
from eranntag.engines.cuda_graphs import CapturedGraphs
from eranntag.engines.eager import Eager
from eranntag.engines.selection import VerifiedCheckpoint
from eranntag.inference import devices
from eranntag.inference.network import DTYPES, Network, memory_format
from eranntag.inference.network_tagger import NetworkTagger
from eranntag.models import OptimizableModel


def build(source: VerifiedCheckpoint, device: str, dtype: str, many: bool) -> NetworkTagger:
    wanted, why = dtype, "as asked"
    if dtype == "auto":
        wanted, why = devices.native_dtype() if device == "cpu" else ("float16", "a GPU has it")
    if dtype == "auto" and wanted != "float32":
        reference = verify.scores(Eager(source.network().to(device)))
        tagger = Fast(source.network().to(device), wanted)
        difference = verify.difference(tagger, reference)
        if difference <= verify.LIMITS[wanted]:
            tagger.notes = (_note(wanted, device, f"{why}; {verify.describe(difference)}"),)
            return tagger
        wanted, why = "float32", f"{wanted} is not as good: {verify.describe(difference)}"
    return Fast(source.network().to(device), wanted, (_note(wanted, device, why),))


def _note(dtype: str, device: str, why: str) -> str:
    return f"torch {torch.__version__}, {dtype} on {device}: {why}"


class Fast(Eager):
    """Executes `network` itself, which is changed permanently: it cannot be trained or saved any more."""

    engine = "torch"

    def __init__(self, network: Network, dtype: str, notes: tuple[str, ...] = ()) -> None:
        super().__init__(network, dtype, notes)
        network.requires_grad_(False)
        self.optimized = isinstance(network.model, OptimizableModel)
        if isinstance(network.model, OptimizableModel):
            network.model.optimize(DTYPES[dtype])
        self.layout = memory_format(network.model, network.device)
        network.model.to(memory_format=self.layout)
        self._graphs = CapturedGraphs(super().run) if network.device.type == "cuda" else None

    def run(self, waveforms: Tensor) -> Tensor:
        return super().run(waveforms) if self._graphs is None else self._graphs(waveforms)

    def cast(self) -> AbstractContextManager[object]:
        return nullcontext() if self.optimized else super().cast()  # optimized weights are of the dtype already

    def laid_out(self, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=self.layout)
