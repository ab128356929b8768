"""Augmentation: `Augment`, and the names that it takes. Help texts need the names alone, so torch waits for `Augment`."""

from typing import TYPE_CHECKING, Any

from eranntag.training.augment.options import MIXUPS, NAMES

if TYPE_CHECKING:
    from eranntag.training.augment.pipeline import Augment

__all__ = ["MIXUPS", "NAMES", "Augment"]


def __getattr__(name: str) -> Any:
    """Resolve `Augment` on first use (PEP 562)."""
    if name != "Augment":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from eranntag.training.augment.pipeline import Augment

    return Augment
