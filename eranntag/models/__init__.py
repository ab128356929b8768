"""Model families: image -> Output. One file each; the file name is the family's name.

A family module has

* `Config`: a frozen dataclass of hyper-parameters; `from_name(name) -> Config | None` and `to_name(config)`
  turn the paper's model names into configurations and back;
* `FRONTEND`: the name of the front-end that its paper uses, and the arguments of that front-end's `Config`;
* `Model(config, rows, classes)`: a `torch.nn.Module` from an image (batch, 1, rows, frames) to an `Output` of logits;
  `frame_multiple` divides every number of frames it accepts; `replace_head(classes, layers)` gives it new classes, with
  one of the module's `HEADS` (names of last layers, the usual choice first) made anew. `embedding_size` is the length of the
  Output's embedding, and `linear_head(classes)` makes the head one linear layer on it (UsageError for a family that cannot).
  An optional `mask` of the image's shape zeroes parts of it where the family's paper does: after normalisation (ERANN,
  CNN14), before it (PSLA);
* where the family pools plainly over time: `columns(image)` and `classify(pooled)`, `context_frames` and `block_frames`, so
  that `eranntag.inference.streaming` can compute an image in pieces; else perhaps `highest`: whether the highest score of
  the windows of a long sound counts, not the mean; and `gated`: whether its paper looks for events only where the clip has
  the class;
* perhaps `elsewhere(config)`: the configuration for another front-end than FRONTEND;
* perhaps `load_pretrained()`, which begins with weights of another task and says which;
* perhaps `optimise(dtype)`, in place and for evaluation only: what makes it faster, BatchNorm in convolutions say.
"""

from eranntag.models._names import described, front_end, name_of, resolve

__all__ = ["described", "front_end", "name_of", "resolve"]
