"""Front-ends in numpy, without torch, for those that have such a file."""

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
    """Return the front-end's numpy module, or None."""
    module = f"eranntag.features._{name}_numpy"
    return import_module(module) if find_spec(module) else None


def framer(name: str, config: Any) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return a function (samples,), context of the outermost windows included -> (rows, frames); None without windows."""
    if not hasattr(config, "window_samples"):
        return None
    if light := twin(name):
        return partial(light.frames, config=config)
    import torch

    frontend = import_module(f"eranntag.features.{name}").Frontend(config)
    return lambda signal: frontend.image(torch.from_numpy(signal)[None])[0].contiguous().numpy()
