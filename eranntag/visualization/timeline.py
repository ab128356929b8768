"""What can be looked at of one sound: its tags, its events, how the best labels go in time, and (`sight`) the sound itself.

A `Viewer` makes Views of what the network says, in one go through many sounds; `sights` reads each sound again for the rest.
"""

import math
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from eranntag.errors import error_reason
from eranntag.inference.detector import Detection, Detector, only
from eranntag.inference.pipeline import predict_one, readers
from eranntag.inference.prepared import AudioSource, LongAudio, Prepared
from eranntag.types import Failure, Prediction
from eranntag.visualization.spectrogram import COLUMNS, Sight, sight

LANES = 8  # labels whose scores are shown in time
COLUMNS_OF_A_FRAME = 10  # where there are few: the ends of frames are seldom those of equal parts of the sound


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


class Viewer:
    """A `predict.Scorer` of files that has Views: what `detector` finds, and its tagger's scores of the whole; both of the
    detector's labels.

    `close` ends what it still reads in other threads.
    """

    def __init__(self, detector: Detector) -> None:
        self.detector, self.tagger = detector, detector.tagger
        self.batch, self.parallel = detector.batch, detector.parallel
        self._stop = threading.Event()

    def close(self) -> None:
        self._stop.set()

    def prepare_source(self, source: AudioSource, name: str = "") -> Prepared:
        return self.detector.prepare_source(source, name)

    def scores(self, prepared: np.ndarray) -> Sequence[tuple[np.ndarray, np.ndarray]]:
        """(batch, ...) of prepared clips -> of each the scores (classes,) and those of its frames (frames, classes)."""
        return list(zip(self.tagger.scores(prepared), self.detector.scores(prepared), strict=True))

    def prediction(self, scores: tuple[np.ndarray, np.ndarray], seconds: float, source: str) -> View:
        return self._view(self.tagger.prediction(scores[0], seconds, source), scores[1])

    def predict_long(self, audio: LongAudio) -> View:
        """Long audio is read a second time for its tags; `audio.source` is its file."""
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
    """LANES classes: those with events, then those with the best score of clip or frame; each in the order of the clip's."""
    found = {event.label for event in detection.events}
    silent = [label not in found for label in prediction.labels]
    wanted = np.lexsort((-np.maximum(prediction.scores, highest), silent))[:LANES]
    return sorted(wanted.tolist(), key=lambda index: (silent[index], -prediction.scores[index]))


def _lanes(scores: np.ndarray, length: float) -> np.ndarray:
    """(frames, labels), of which the sound is `length` frames long -> (labels, columns): the highest score in each."""
    columns = min(COLUMNS, COLUMNS_OF_A_FRAME * len(scores))
    edges = np.linspace(0, length, columns + 1)
    first = np.floor(edges[:-1] + 1e-6).astype(int).clip(0, len(scores) - 1)
    end = np.ceil(edges[1:] - 1e-6).astype(int).clip(first + 1, len(scores))
    ends = np.stack([first, end], 1).ravel()
    behind = np.concatenate([scores, scores[-1:]])  # an `end` must be a row, too
    return np.ascontiguousarray(np.maximum.reduceat(behind, ends)[::2].T, np.float32)


def sights(results: Iterable[View | Failure], carry: bool = True) -> Iterator[tuple[View, Sight] | Failure]:
    """Each with its Sight, in order, a few being read ahead; a file that cannot be read again is a Failure, too.

    After an interruption those that are ready still come before it goes on.
    """
    stop = threading.Event()

    def seen(result: View | Failure) -> tuple[View, Sight] | Failure:
        if isinstance(result, Failure):
            return result
        source = result.prediction.source
        try:
            return result, sight(source, stop, carry)
        except Exception as error:  # as in `predict`: the others go on
            return Failure(source, error_reason(error, source))

    waiting: deque[Future[tuple[View, Sight] | Failure]] = deque()
    pool = ThreadPoolExecutor(readers(), thread_name_prefix="sights")
    interruption: BaseException | None = None
    try:
        try:
            for result in results:  # `ahead` would keep back the first ones until a few more are there
                waiting.append(pool.submit(seen, result))
                while waiting and (waiting[0].done() or len(waiting) > 2 * readers()):
                    yield waiting.popleft().result()
        except (KeyboardInterrupt, SystemExit) as error:
            interruption = error
        while waiting and (interruption is None or waiting[0].done()):
            yield waiting.popleft().result()
        if interruption:
            raise interruption
    finally:
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)
