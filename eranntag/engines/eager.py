"""The reference: the Network as it is trained and saved, one operation after the other, on any device of torch."""

from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eranntag.engines.selection import Source
from eranntag.inference.network import DTYPES, Network
from eranntag.inference.streaming import Geometry
from eranntag.inference.tagger import Tagger
from eranntag.models import ColumnModel

BATCH_ON_GPU = 16


def build(source: Source, device: str, dtype: str, many: bool) -> Tagger:
    dtype = "float32" if dtype == "auto" else dtype
    note = f"eager, torch {torch.__version__}, {dtype} on {device}: as it is trained"
    return Eager(source.network().to(device), dtype, (note,))


def geometry(model: Any) -> Geometry:
    if isinstance(model, ColumnModel):
        return Geometry(model.frame_multiple, model.context_frames, model.block_frames)
    return Geometry(model.frame_multiple, highest=model.highest, gated=model.gated, window_seconds=model.window_seconds)


class Eager(Tagger):
    """`network` itself, not a copy; `dtype` is that of torch's autocast, for the model alone."""

    engine = "eager"

    def __init__(self, network: Network, dtype: str = "float32", notes: tuple[str, ...] = ()) -> None:
        self.network, device = network, network.device
        config, lattice = network.frontend.config, geometry(network.model)
        super().__init__(network.checkpoint, config, lattice, dtype, str(device), notes=notes)
        self.batch = 1 if device.type == "cpu" else BATCH_ON_GPU

    @torch.inference_mode()
    def logits(self, prepared: np.ndarray) -> np.ndarray:
        return self.run(self._to_device(prepared)).float().cpu().numpy()

    @torch.inference_mode()
    def pooled(self, prepared: np.ndarray) -> np.ndarray:
        with self.cast():
            images = self.laid_out(self.network.frontend(self._to_device(prepared)))
            return self.network.model(images).embedding.float().cpu().numpy()

    @torch.inference_mode()
    def frame_logits(self, prepared: np.ndarray) -> np.ndarray | None:
        with self.cast():
            logits = self._frame_logits(self.laid_out(self.network.frontend(self._to_device(prepared))))
        return None if logits is None else logits.float().cpu().numpy()

    def _frame_logits(self, images: Tensor) -> Tensor | None:
        model = self.network.model
        if self.geometry.context_frames is None:
            return model(images).frame_logits
        means, highest = model.columns(images)
        return model.classify((means + highest).transpose(1, 2))

    @torch.inference_mode()
    def columns(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with self.cast():
            means, highest = self.network.model.columns(self.laid_out(self._to_device(images)))
        return means.cpu().numpy(), highest.cpu().numpy()

    @torch.inference_mode()
    def classify(self, pooled: np.ndarray) -> np.ndarray:
        with self.cast():
            return self.network.model.classify(self._to_device(pooled)).float().cpu().numpy()

    def run(self, waveforms: Tensor) -> Tensor:
        """(batch, samples) -> logits (batch, classes), on the device."""
        with self.cast():
            return self.network.model(self.laid_out(self.network.frontend(waveforms))).clip_logits

    def cast(self) -> AbstractContextManager[object]:
        return torch.autocast(self.network.device.type, DTYPES[self.dtype], enabled=self.dtype != "float32")

    def laid_out(self, images: Tensor) -> Tensor:
        return images

    def _to_device(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.network.device)
