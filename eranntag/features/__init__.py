"""Front-ends: waveform -> image. One file each; the file name is the front-end's name.

A front-end module has

* `Config`: a frozen dataclass, units in the names, the paper's values as defaults, with `sample_rate_hz`,
  `rows` and `padded_samples(samples, frame_multiple)`;
* `Frontend(config)`: a `torch.nn.Module` from (batch, samples) float32, already padded, to an image
  (batch, 1, rows, frames) float32. It computes in float32 under any autocast;
* `IN_WORDS`: how to compute it from the Config, for whoever runs an exported network.

A front-end may have a twin without torch, `_NAME_numpy.py`, for engines that start at once and for long sounds: the same
`Config`, `compute(waveform, config)` from (samples,) already padded to (rows, frames), and `frames(signal, config)` of what
has its surroundings already; the Config then also has `window_samples`, `hop_samples`, `frames_per_second` and
`frames(padded)`. Other files with an underscore are shared by front-ends and need no torch.
"""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


def twin(name: str) -> ModuleType | None:
    """The front-end's numpy form, if it has one."""
    module = f"{__name__}._{name}_numpy"
    return import_module(module) if find_spec(module) else None
