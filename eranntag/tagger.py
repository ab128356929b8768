"""Tagger: front-end + network + labels, the thing that a checkpoint is. Also the only place that applies the activation."""

import os
import re
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor, nn

from eranntag import audio, registry
from eranntag.errors import CheckpointError, EranntagError, UsageError
from eranntag.types import Checkpoint, Clip, Output, Prediction

ACTIVATIONS = {"softmax": lambda logits: logits.softmax(-1), "sigmoid": torch.sigmoid}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Tagger(nn.Module):
    """Composes any front-end and any model family as `checkpoint` says; random weights until some are loaded.

    Raises CheckpointError when the checkpoint's configuration is impossible.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        features = registry.get("eranntag.features", checkpoint.frontend_family)
        family = registry.get("eranntag.models", checkpoint.family)
        if checkpoint.activation not in ACTIVATIONS:
            raise CheckpointError(f"{checkpoint.name}: activation {checkpoint.activation!r} is not {'|'.join(ACTIVATIONS)}")
        try:
            self.frontend = features.Frontend(features.Config(**checkpoint.frontend))
            config = family.Config(**checkpoint.model)
            self.model = family.Model(config, self.frontend.config.rows, len(checkpoint.labels))
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"{checkpoint.name}: impossible configuration: {error}") from None
        self.checkpoint = checkpoint
        self.dtype = torch.float32

    @property
    def labels(self) -> tuple[str, ...]:
        return self.checkpoint.labels

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def forward(self, waveform: Tensor) -> Output:
        """(batch, samples), padded by `prepare`, at the front-end's rate -> Output of logits."""
        image = self.frontend(waveform)
        with torch.autocast(image.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self.model(image)

    def prepare(self, clip: Clip) -> np.ndarray:
        """Mono, resampled, zeros up to whole seconds: (samples,) float32. Depends on nothing but the clip."""
        config = self.frontend.config
        waveform = audio.mono(clip, config.sample_rate_hz)
        padded = config.padded_samples(len(waveform), self.model.frame_multiple)
        return np.pad(waveform, (0, padded - len(waveform)))

    @torch.inference_mode()
    def scores(self, waveforms: np.ndarray) -> np.ndarray:
        """(batch, samples) of prepared clips of one length -> probabilities (batch, classes) float32."""
        logits = self(torch.from_numpy(waveforms).to(self.device)).clip_logits.float()
        return ACTIVATIONS[self.checkpoint.activation](logits).cpu().numpy()

    def tag(self, source: Clip | str | os.PathLike[str] | BinaryIO) -> Prediction:
        """Tag one clip, file or open stream. Raises AudioError when it cannot be read."""
        clip = source if isinstance(source, Clip) else audio.read(source)
        return self.prediction(self.scores(self.prepare(clip)[None])[0], clip.seconds, clip.source)

    def prediction(self, scores: np.ndarray, seconds: float, source: str) -> Prediction:
        """A row of `scores` as a Prediction; EranntagError when the network gave no finite numbers."""
        if not np.isfinite(scores).all():
            raise EranntagError(f"{source}: the scores are not finite in {self.dtype}; try --dtype float32")
        return Prediction(self.labels, scores, seconds, source, self.checkpoint.name)


def pick_device(name: str = "auto") -> torch.device:
    """The torch device for "auto", "cpu", "cuda" or "mps"; UsageError when this machine has none."""
    if re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name) is None:
        raise UsageError(f"device {name!r} is none of auto, cpu, cuda, cuda:1 ..., mps")
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(device for device, there in available.items() if there))
    if not available.get(name.partition(":")[0], False):
        there = ", ".join(device for device, is_there in available.items() if is_there)
        raise UsageError(f"device {name!r} is not available here; there is {there}")
    return torch.device(name)
