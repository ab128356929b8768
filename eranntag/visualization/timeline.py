"""The network's part of a picture: tags, events, and the scores of the best labels in time."""

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eranntag.inference.detector import Detection, Detector, only
from eranntag.inference.pipeline import predict_one
from eranntag.inference.prepared import AudioSource, LongAudio, Prepared
from eranntag.types import Prediction
from eranntag.visualization.spectrogram import COLUMNS

LANES = 8  # labels whose scores are shown in time
COLUMNS_PER_FRAME = 10  # of short sounds: the ends of frames are seldom those of equal parts of the sound


@dataclass(frozen=True)
class View:
    """The network's results for one sound.

    `lanes` (labels, columns) float32 in [0, 1] are the scores in time of `labels`, the best first: each column is an equal part
    of the sound and has the highest score in it.
    """

    prediction: Prediction
    detection: Detection
    labels: tuple[str, ...]
    lanes: np.ndarray


class Viewer:
    """A `pipeline.Scorer` of files whose results are Views: the events of `detector` and the scores of its tagger, both of the
    detector's labels."""

    def __init__(self, detector: Detector) -> None:
        self.detector, self.tagger = detector, detector.tagger
        self.batch, self.parallel = detector.batch, detector.parallel
        self._stop = threading.Event()

    def close(self) -> None:
        """End what is still read in other threads."""
        self._stop.set()

    def prepare_source(self, source: AudioSource, name: str = "") -> Prepared:
        return self.detector.prepare_source(source, name)

    def scores(self, prepared: np.ndarray) -> Sequence[tuple[np.ndarray, np.ndarray]]:
        """Return for each of the prepared clips (batch, ...) its scores (classes,) and frame scores (frames, classes)."""
        return list(zip(self.tagger.scores(prepared), self.detector.scores(prepared), strict=True))

    def prediction(self, scores: tuple[np.ndarray, np.ndarray], seconds: float, source: str) -> View:
        return self._view(self.tagger.prediction(scores[0], seconds, source), scores[1])

    def predict_long(self, audio: LongAudio) -> View:
        """Return the View of audio that is read in blocks; its file is read a second time for the tags."""
        frames = self.detector.frame_scores_of(audio)
        again = self.tagger.prepare_source(audio.source)
        if isinstance(again, LongAudio):
            again.cancelled = self._stop
        return self._view(predict_one(self.tagger, again), frames)

    def _view(self, prediction: Prediction, frames: np.ndarray) -> View:
        detection = self.detector.prediction(frames, prediction.seconds, prediction.source)
        prediction = only(prediction, self.detector.labels)
        frames = frames[: max(1, math.ceil(prediction.seconds / detection.frame_seconds - 1e-6)), self.detector.columns]
        best = _best(prediction, detection, frames.max(0))
        lanes = _lanes(frames[:, best], prediction.seconds / detection.frame_seconds)
        return View(prediction, detection, tuple(prediction.labels[index] for index in best), lanes)


def _best(prediction: Prediction, detection: Detection, highest: np.ndarray) -> list[int]:
    """Return LANES classes: those with events first, then those with the best score of clip or frame.

    Both are in the order of the clip's scores.
    """
    found = {event.label for event in detection.events}
    silent = [label not in found for label in prediction.labels]
    chosen = np.lexsort((-np.maximum(prediction.scores, highest), silent))[:LANES]
    return sorted(chosen.tolist(), key=lambda index: (silent[index], -prediction.scores[index]))


def _lanes(scores: np.ndarray, length: float) -> np.ndarray:
    """Return the highest score (labels, columns) in equal parts of a sound that is `length` frames of `scores` long."""
    columns = min(COLUMNS, COLUMNS_PER_FRAME * len(scores))
    edges = np.linspace(0, length, columns + 1)
    first = np.floor(edges[:-1] + 1e-6).astype(int).clip(0, len(scores) - 1)
    end = np.ceil(edges[1:] - 1e-6).astype(int).clip(first + 1, len(scores))
    ends = np.stack([first, end], 1).ravel()
    padded = np.concatenate([scores, scores[-1:]])  # reduceat takes no index behind the last row
    return np.ascontiguousarray(np.maximum.reduceat(padded, ends)[::2].T, np.float32)
