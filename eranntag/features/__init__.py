"""Front-ends: waveform -> image. One file each; the file name is the front-end's name.

A front-end module has

* `Config`: a frozen dataclass, units in the names, the paper's values as defaults, with `sample_rate_hz`,
  `rows` and `padded_samples(samples, frame_multiple)`; `_framing.Framing` has the last for 128 frames a second;
* `Frontend(config)`: a `torch.nn.Module` from (batch, samples) float32, already padded, to an image
  (batch, 1, rows, frames) float32. Without parameters, it computes in float32 under any autocast; parameters are trained
  and saved with the model's;
* `IN_WORDS`: how to compute it from the Config, for whoever runs an exported network.

Most derive from `_windowed.Windowed`: then long sounds are computed block by block. A front-end may have a twin without
torch, `_NAME_numpy.py`, for engines that start at once: the same `Config`, `compute(waveform, config)` from (samples,)
already padded to (rows, frames), and, of a `Windowed` one, `frames(signal, config)` of what has its surroundings already. Other
files with an underscore are shared by front-ends.
"""

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
    module = f"{__name__}._{name}_numpy"
    return import_module(module) if find_spec(module) else None


def framer(name: str, config: Any) -> Callable[[np.ndarray], np.ndarray] | None:
    """(samples,) with what the outermost windows need -> (rows, frames), or None where a frame sees more than a window."""
    if not hasattr(config, "window_samples"):
        return None
    if light := twin(name):
        return partial(light.frames, config=config)
    import torch

    frontend = import_module(f"{__name__}.{name}").Frontend(config)
    return lambda signal: frontend.image(torch.from_numpy(signal)[None])[0].contiguous().numpy()
