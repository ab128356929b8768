"""What can be looked at of one sound: its tags, its events, how the best labels go in time, the spectrogram, the sound itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from eranntag.detection import Detection
from eranntag.types import Prediction

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class View:
    """What the network says of one sound.

    `lanes` (its labels, columns) float32 in [0, 1] are scores in time of `labels`, the best first, over all of the sound: each
    column stands for an equal part of its seconds and has the highest score in it.
    """

    prediction: Prediction
    detection: Detection
    labels: tuple[str, ...]
    lanes: np.ndarray


@dataclass(frozen=True)
class Sight:
    """The sound itself: `image` (mel bands, columns) float32 in dB, the lowest band first, each column an equal part of its
    seconds; `mp3`, empty of a sound that is too long to be carried in a page."""

    image: np.ndarray
    mp3: bytes
