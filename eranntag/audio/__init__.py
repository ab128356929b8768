"""From a sound file to samples.

* `reader`: a file, stream or bytes as a Clip, mono, at a sample rate; in blocks, where it is long.
* `decode`: which decoder reads a file, and what a file says of its length.
* `filterbanks`: the triangles and kernels of the front-ends.
* `noise`: backgrounds to mix with.
"""
