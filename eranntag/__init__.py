"""eranntag: tag sounds with Efficient Residual Audio Neural Networks.

tagger = eranntag.load()                      # or a name, a path, "hf:OWNER/REPO"
for tag in tagger.tag("clip.wav").top(5):
    print(tag.label, tag.score)

Paths, open files, arrays and lists of them: docs/python.md.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eranntag.audio.reader import read
    from eranntag.checkpoints.loading import load
    from eranntag.errors import AudioError, CheckpointError, EranntagError, UsageError
    from eranntag.inference.detector import Detection, Detector, detector
    from eranntag.inference.ensemble import Ensemble
    from eranntag.inference.similarity import cosine
    from eranntag.inference.tagger import Tagger
    from eranntag.types import Clip, Embedding, Event, Prediction, Tag

__version__ = "0.2.0"
__all__ = [
    "AudioError",
    "CheckpointError",
    "Clip",
    "Detection",
    "Detector",
    "Embedding",
    "Ensemble",
    "EranntagError",
    "Event",
    "Prediction",
    "Tag",
    "Tagger",
    "UsageError",
    "__version__",
    "cosine",
    "detector",
    "load",
    "read",
]

_HOMES = {
    "AudioError": "errors",
    "CheckpointError": "errors",
    "Clip": "types",
    "Detection": "inference.detector",
    "Detector": "inference.detector",
    "Embedding": "types",
    "Ensemble": "inference.ensemble",
    "EranntagError": "errors",
    "Event": "types",
    "Prediction": "types",
    "Tag": "types",
    "Tagger": "inference.tagger",
    "UsageError": "errors",
    "cosine": "inference.similarity",
    "detector": "inference.detector",
    "load": "checkpoints.loading",
    "read": "audio.reader",
}


def __getattr__(name: str) -> Any:
    """Resolve the public API on first use (PEP 562), so that `import eranntag` is fast."""
    if name in _HOMES:
        return getattr(import_module(f"eranntag.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'eranntag' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
