"""What a model family may offer beyond an Output, as types to test for with `isinstance`. No torch at run time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from eranntag.types import Output


class Model(Protocol):
    """What every family's `Model(config, rows, classes)`, a `torch.nn.Module`, has."""

    config: Any
    embedding_size: int

    @property
    def frame_multiple(self) -> int:
        """A divisor of every accepted number of frames."""

    def __call__(self, image: Tensor, mask: Tensor | None = None) -> Output:
        """Image (batch, 1, rows, frames) -> logits; `mask` of its shape zeroes parts of it where the paper does."""

    def replace_head(self, classes: int, layers: str) -> None:
        """Reinitialize the last layers, one of the module's HEADS, for new classes. ValueError for other layers."""

    def linear_head(self, classes: int) -> torch.nn.Linear:
        """Make the head one linear layer on the embedding, and return it. UsageError for a family that cannot."""


@runtime_checkable
class ColumnModel(Protocol):
    """A family that pools the columns of its last feature map over time by mean plus maximum, so that an image may be cut."""

    @property
    def context_frames(self) -> int:
        """How many frames a column depends on to either side of its own."""

    @property
    def block_frames(self) -> int:
        """How many frames are computed at once in bounded memory."""

    def columns(self, image: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Image -> mean and maximum of each column, twice (batch, channels, columns)."""

    def classify(self, pooled: Tensor) -> Tensor:
        """Pooled columns (batch, channels) -> logits (batch, classes)."""


class WindowedModel:
    """Base of the other families: how the windows of a long clip are scored.

    `highest`: the highest probability of all windows counts, not their mean. `gated`: events are detected only where the
    clip, or window, has the class.
    """

    highest: bool = False
    gated: bool = False
    window_seconds: int = 60


@runtime_checkable
class PretrainedModel(Protocol):
    """A family that can start from weights of another task."""

    def load_pretrained(self) -> str:
        """Load them and return their description. Raises UsageError, FetchError, IntegrityError."""


@runtime_checkable
class StandardizingModel(Protocol):
    """A family that standardizes the rows of its images by the training clips' statistics."""

    def standardize(self, mean: Any, std: Any) -> None:
        """Set the rows' means and standard deviations, each (rows,)."""

    def standardized(self, image: Tensor) -> Tensor:
        """Image (batch, 1, rows, frames) -> the image that the network computes with."""


@runtime_checkable
class OptimizableModel(Protocol):
    """A family that can be made faster in place, for evaluation only."""

    def optimize(self, dtype: torch.dtype) -> None:
        """Fuse BatchNorm into convolutions, which then compute in `dtype`."""


def require_head(layers: str, heads: tuple[str, ...]) -> None:
    """Raise ValueError for a head that a family cannot replace."""
    if layers not in heads:
        raise ValueError(f"the head to be replaced is {' or '.join(heads)}, not {layers!r}")
