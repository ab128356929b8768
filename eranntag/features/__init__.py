"""Front-ends: waveform -> image. One file each; the file name is the front-end's name.

A front-end module has

* `Config`: a frozen dataclass, units in the names, the paper's values as defaults, with `sample_rate_hz`,
  `rows` and `padded_samples(samples, frame_multiple)`;
* `Frontend(config)`: a `torch.nn.Module` from (batch, samples) float32, already padded, to an image
  (batch, 1, rows, frames) float32. It computes in float32 under any autocast.

Files with an underscore are shared by front-ends and need no torch.
"""
