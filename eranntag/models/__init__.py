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
  that `eranntag.streaming` can compute an image in pieces; else perhaps `highest`: whether the highest score of the windows
  of a long sound counts, not the mean; and `gated`: whether its paper looks for events only where the clip has the class;
* perhaps `elsewhere(config)`: the configuration for another front-end than FRONTEND;
* perhaps `load_pretrained()`, which begins with weights of another task and says which;
* perhaps `optimise(dtype)`, in place and for evaluation only: what makes it faster, BatchNorm in convolutions say.
"""

from typing import Any

from eranntag import registry
from eranntag.errors import UsageError


def resolve(name: str) -> tuple[str, Any]:
    """(family, Config) of an architecture's name, such as "erann-1-6". Raises UsageError."""
    for family in registry.names(__name__):
        if (config := registry.get(__name__, family).from_name(name)) is not None:
            return family, config
    modules = [registry.get(__name__, other) for other in registry.names(__name__) if other != "erann"]
    others = [module.to_name(module.Config()) for module in modules]
    known = f"ERANN's are named erann-S-W, such as erann-1-6; others: {', '.join(others)}"
    raise UsageError(f"no architecture is called {name!r}; {known}{registry.did_you_mean(name.lower(), others)}")


def front_end(name: str) -> tuple[str, dict[str, Any]]:
    """The front-end that an architecture's paper uses, and the arguments of its Config. Raises UsageError."""
    found: tuple[str, dict[str, Any]] = registry.get(__name__, resolve(name)[0]).FRONTEND
    return found


def described(name: str, family: str, features: str) -> str:
    """The name of an architecture of `family`, with that of its front-end if it is another than its paper's."""
    return name if features == registry.get(__name__, family).FRONTEND[0] else f"{name}-{features}"


def name_of(family: str, config: Any) -> str:
    """The architecture's name: the inverse of `resolve`."""
    return str(registry.get(__name__, family).to_name(config))
