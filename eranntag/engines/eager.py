"""The reference: the Network as it is trained and saved, one operation after the other, on any device of torch."""

from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eranntag.engines.selection import VerifiedCheckpoint
from eranntag.inference.network import DTYPES, Network
from eranntag.inference.network_tagger import NetworkTagger
from eranntag.inference.streaming import Geometry
from eranntag.models import ColumnModel

BATCH_ON_GPU = 16


def build(source: VerifiedCheckpoint, device: str, dtype: str, many: bool) -> NetworkTagger:
    dtype = "float32" if dtype == "auto" else dtype
    note = f"eager, torch {torch.__version__}, {dtype} on {device}: as it is trained"
    return Eager(source.network().to(device), dtype, (note,))


def geometry(model: Any) -> Geometry:
    """The Geometry of a model of `eranntag.models`: a ColumnModel, or a WindowedModel."""
    frame_multiple: int = model.frame_multiple
    if isinstance(model, ColumnModel):
        return Geometry(frame_multiple, model.context_frames, model.block_frames)
    return Geometry(
        frame_multiple,
        aggregate="max" if model.highest else "mean",
        clip_gate=model.gated,
        window_seconds=model.window_seconds,
    )


class Eager(NetworkTagger):
    """Executes `network` itself, not a copy; `dtype` is that of torch's autocast, for the model alone."""

    engine = "eager"

    def __init__(self, network: Network, dtype: str = "float32", notes: tuple[str, ...] = ()) -> None:
        self.network = network
        device = network.device
        super().__init__(network.checkpoint, network.frontend.config, geometry(network.model), dtype, str(device), notes=notes)
        self.batch = 1 if device.type == "cpu" else BATCH_ON_GPU

    @torch.inference_mode()
    def logits(self, prepared: np.ndarray) -> np.ndarray:
        return _numpy(self.run(self._to_device(prepared)))

    @torch.inference_mode()
    def pooled(self, prepared: np.ndarray) -> np.ndarray:
        with self.cast():
            return _numpy(self.network.model(self._images(prepared)).embedding)

    @torch.inference_mode()
    def frame_logits(self, prepared: np.ndarray) -> np.ndarray | None:
        model = self.network.model
        with self.cast():
            images = self._images(prepared)
            if isinstance(model, ColumnModel):
                means, highest = model.columns(images)
                return _numpy(model.classify((means + highest).transpose(1, 2)))
            logits = model(images).frame_logits
        return None if logits is None else _numpy(logits)

    @torch.inference_mode()
    def columns(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        model = self.network.model
        assert isinstance(model, ColumnModel), "geometry.context_frames is None"
        with self.cast():
            means, highest = model.columns(self.laid_out(self._to_device(images)))
        return means.cpu().numpy(), highest.cpu().numpy()

    @torch.inference_mode()
    def classify(self, pooled: np.ndarray) -> np.ndarray:
        model = self.network.model
        assert isinstance(model, ColumnModel), "geometry.context_frames is None"
        with self.cast():
            return _numpy(model.classify(self._to_device(pooled)))

    def run(self, waveforms: Tensor) -> Tensor:
        """(batch, samples) -> logits (batch, classes), on the device."""
        with self.cast():
            logits: Tensor = self.network.model(self.laid_out(self.network.frontend(waveforms))).clip_logits
        return logits

    def cast(self) -> AbstractContextManager[object]:
        return torch.autocast(self.network.device.type, DTYPES[self.dtype], enabled=self.dtype != "float32")

    def laid_out(self, images: Tensor) -> Tensor:
        """`images` in the memory format that the model computes fastest."""
        return images

    def _images(self, prepared: np.ndarray) -> Tensor:
        return self.laid_out(self.network.frontend(self._to_device(prepared)))

    def _to_device(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.network.device)


def _numpy(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.float().cpu().numpy()
    return array
