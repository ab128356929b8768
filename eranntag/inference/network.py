"""Network: front-end and model in torch, which are trained and saved. `engines` make Taggers of it."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, get_type_hints

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from eranntag import registry
from eranntag.errors import CheckpointError
from eranntag.inference.activations import ACTIVATIONS
from eranntag.types import Checkpoint, Output

OF_FRONTEND = "frontend."  # no module of a model is called so
BOUNDS = {  # of a front-end's whole numbers, by the unit that ends their name; else of rows, bins, frames a second
    "hz": (100, 1_000_000),
    "samples": (1, 1 << 17),
    "fft": (2, 1 << 17),
    "seconds": (0, 600),
    "": (1, 4096),
}
WINDOWS = ("window_samples", "mel_window_samples", "frame_samples", "n_fft")
MAX_FILTERS = 1 << 23  # numbers: 67 MB in float64, where the largest of the papers has 6 million
MAX_IMAGE = 1 << 18  # numbers a second; those of the papers have 16 thousand
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Network(nn.Module):
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
            with np.errstate(all="ignore"):  # a Config that overflows is refused, and need not warn
                self.frontend = features.Frontend(_frontend_config(features.Config, checkpoint.frontend))
            config = _config(family.Config, checkpoint.model)
            self.model = family.Model(config, self.frontend.config.rows, len(checkpoint.labels))
        except (TypeError, ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
            cause = str(error).partition("\n")[0][:200]
            raise CheckpointError(f"{checkpoint.name}: impossible configuration: {cause}") from None
        self.checkpoint = checkpoint

    @property
    def learned(self) -> bool:
        """Whether the front-end has parameters, which are trained and saved with the model's."""
        return any(True for _ in self.frontend.parameters())

    @property
    def trained(self) -> nn.Module:
        """What a run trains: the model, or all of the network where the front-end is learned."""
        return self if self.learned else self.model

    def tensors(self) -> dict[str, Tensor]:
        """What a weight file holds: the model's tensors by their own names, a learned front-end's as `frontend.NAME`."""
        return {**self.model.state_dict(), **{f"{OF_FRONTEND}{name}": t for name, t in self.frontend.state_dict().items()}}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `tensors`; all must be there, in their shapes."""
        learned = {name: tensor for name, tensor in tensors.items() if name.startswith(OF_FRONTEND)}
        self.frontend.load_state_dict({name.removeprefix(OF_FRONTEND): tensor for name, tensor in learned.items()})
        self.model.load_state_dict({name: tensor for name, tensor in tensors.items() if name not in learned})

    @property
    def device(self) -> torch.device:
        device: torch.device = next(self.model.parameters()).device
        return device

    def forward(self, waveform: Tensor, mask: Tensor | None = None) -> Output:
        """(batch, samples), padded as `Tagger.prepare` does, at the front-end's rate -> Output of logits.

        `mask` is the model's: ones and zeros of the image's shape.
        """
        output: Output = self.model(self.frontend(waveform), mask)
        return output


class _SkipInit(TorchFunctionMode):
    """Skips random initialization: on the device "meta" torch would import its compiler for that, which takes 5 s."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given, name = dict(kwargs or {}), getattr(func, "__name__", "")
        if name.endswith("_") and not name.endswith("__"):  # in place
            return (*args, *given.values())[0]
        return func(*args, **given)


def meta_tensors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The `tensors` of a checkpoint's network without memory: names, shapes and dtypes alone. Raises CheckpointError."""
    with torch.device("meta"), _SkipInit():
        return Network(checkpoint).tensors()


def _config(kind: type, arguments: Mapping[str, Any]) -> Any:
    """A Config of `arguments`, each of the type of its field. Raises ValueError or TypeError for others."""
    types = get_type_hints(kind)
    for name, value in arguments.items():
        wanted = types.get(name, object)  # an unknown name is for the Config itself to refuse
        right = (type(value) in (int, float) and math.isfinite(value)) if wanted is float else isinstance(value, wanted)
        if not right or (wanted is int and isinstance(value, bool)):
            raise ValueError(f"{name} must be {getattr(wanted, '__name__', wanted)}, not {repr(value)[:60]}")
    return kind(**arguments)


def _frontend_config(kind: type, arguments: Mapping[str, Any]) -> Any:
    """A front-end's Config whose filters, images and padding take a bounded amount of memory. ValueError for others."""
    for name, value in arguments.items():
        least, most = BOUNDS.get(name.rpartition("_")[2], BOUNDS[""])
        if type(value) is int and not least <= value <= most:
            raise ValueError(f"{name} must be {least} to {most}, not {value}")
    config = _config(kind, arguments)
    numbers = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    rows = max([config.rows, *(value for name, value in numbers.items() if type(value) is int and _counts(name))])
    windows = [getattr(config, name) for name in WINDOWS if hasattr(config, name)]
    longest, per_second = max(windows, default=1), config.sample_rate_hz / config.hop_samples
    if rows * longest > MAX_FILTERS or longest > BOUNDS["samples"][1]:
        raise ValueError(f"a front-end of {rows} rows and windows of {longest} samples is too large")
    if rows * per_second > MAX_IMAGE:
        raise ValueError(f"an image of {rows} rows and {per_second:.6g} frames a second is too large")
    framed = getattr(config, "frames_per_second", per_second) / per_second
    if not 0.5 <= framed <= 2:
        raise ValueError(f"{config.frames_per_second} hops of {config.hop_samples} samples are no second")
    return config


def _counts(name: str) -> bool:
    """Whether a whole number of a Config counts rows, not samples, seconds or what is in one."""
    return name not in WINDOWS and name.rpartition("_")[2] not in BOUNDS and name != "frames_per_second"


def memory_format(model: nn.Module, device: torch.device) -> torch.memory_format:
    """channels_last is 1.5 times as fast, but torch 2.14 corrupts the heap with 8 channels on AVX-512 CPUs."""
    narrowest = min((layer.out_channels for layer in model.modules() if isinstance(layer, nn.Conv2d)), default=16)
    return torch.channels_last if device.type == "cuda" or narrowest >= 16 else torch.contiguous_format
