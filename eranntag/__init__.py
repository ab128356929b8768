"""eranntag: tag sounds with Efficient Residual Audio Neural Networks.

tagger = eranntag.load()                      # or a name, a path, "hf:OWNER/REPO"
for tag in tagger.tag("clip.wav").top(5):
    print(tag.label, tag.score)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eranntag.audio import read
    from eranntag.checkpoints import load
    from eranntag.errors import EranntagError
    from eranntag.tagger import Tagger
    from eranntag.types import Clip, Prediction

__version__ = "0.1.0"
__all__ = ["Clip", "EranntagError", "Prediction", "Tagger", "__version__", "load", "read"]

_HOMES = {
    "Clip": "types",
    "EranntagError": "errors",
    "Prediction": "types",
    "Tagger": "tagger",
    "load": "checkpoints",
    "read": "audio",
}


def __getattr__(name: str) -> Any:
    """Resolve the public API on first use (PEP 562), so that `import eranntag` costs nothing."""
    if name in _HOMES:
        return getattr(import_module(f"eranntag.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'eranntag' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
