"""Front-ends without torch: the numpy form of one, where it has such a file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def twin(name: str) -> ModuleType | None:
    """The front-end's numpy form, if it has one."""
    module = f"eranntag.features._{name}_numpy"
    return import_module(module) if find_spec(module) else None


def framer(name: str, config: Any) -> Callable[[np.ndarray], np.ndarray] | None:
    """(samples,) with what the outermost windows need -> (rows, frames), or None where a frame sees more than a window."""
    if not hasattr(config, "window_samples"):
        return None
    if light := twin(name):
        return partial(light.frames, config=config)
    import torch

    frontend = import_module(f"eranntag.features.{name}").Frontend(config)
    return lambda signal: frontend.image(torch.from_numpy(signal)[None])[0].contiguous().numpy()
