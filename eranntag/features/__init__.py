"""Front-ends: waveform -> image. One file each; the file name is the front-end's name.

A front-end module has

* `Config`: a frozen dataclass, units in the names, the paper's values as defaults, with `sample_rate_hz`,
  `rows` and `padded_samples(samples, frame_multiple)`; `_framing.Framing` has the last for 128 frames a second;
* `Frontend(config)`: a `torch.nn.Module` from (batch, samples) float32, already padded, to an image
  (batch, 1, rows, frames) float32. Without parameters, it computes in float32 under any autocast; parameters are trained
  and saved with the model's;
* `IN_WORDS`: how to compute it from the Config, for users of an exported network.

Most derive from `_framed.Windowed`: then long sounds are computed block by block. A front-end may have a twin without
torch, `_NAME_numpy.py`, for engines that start at once: the same `Config`, `compute(waveform, config)` from (samples,)
already padded to (rows, frames), and, of a `Windowed` one, `frames(signal, config)` of a signal with its context.
Other files with an underscore are shared by front-ends.
"""

from eranntag.features._numpy_forms import framer, twin

__all__ = ["framer", "twin"]
