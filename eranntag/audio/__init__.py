"""From a sound file to samples.

* `reader`: a file, stream or bytes as a Clip, mono, at a sample rate; in blocks, where it is long.
* `decode`: selects the decoder of a file and verifies that the file is complete.
* `filterbanks`: the triangles and kernels of the front-ends.
* `noise`: backgrounds to mix with.
"""
