"""Sound event detection with any checkpoint: scores of frames -> events. A Detector is a `pipeline.Scorer`, as a Tagger is."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, overload

import numpy as np

from eranntag import registry
from eranntag.audio import reader
from eranntag.errors import EranntagError, UsageError
from eranntag.inference import arguments, events, streaming
from eranntag.inference.arguments import Source, Sources
from eranntag.inference.events import Postprocessing
from eranntag.inference.prepared import AudioSource, LongAudio, Prepared
from eranntag.inference.tagger import Tagger
from eranntag.types import Checkpoint, Clip, Event, Prediction

THRESHOLDS = {"sigmoid": 0.2, "softmax": 0.5}  # of frames, where nothing was calibrated: see `thresholds`
EXTENT = 0.5  # an event extends while the score is at least this part of its threshold, as 0.1 is of 0.2 in SEDTF
CONTEXT_SECONDS = 2.0  # of a window around each frame of a --resolution
RESOLUTION_SECONDS = 1.0  # between the windows of a network that scores no frames, unless something else is requested
Given = tuple[str | None, float]  # a threshold of one label, or None: of all


@dataclass(frozen=True)
class Detection:
    """The `events` of one clip of `seconds`, in the order of their onsets; they begin and end on frames of `frame_seconds`.

    `nyquist_hz` is the highest frequency of the network's input.
    """

    events: tuple[Event, ...]
    seconds: float
    frame_seconds: float
    nyquist_hz: float
    source: str = ""
    checkpoint: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The record of docs/output.md."""
        about = {"source": self.source, "seconds": round(self.seconds, 6), "checkpoint": self.checkpoint}
        return {
            **about,
            "frame_seconds": round(self.frame_seconds, 6),
            "events": [_event_record(event) for event in self.events],
        }


def _event_record(event: Event) -> dict[str, Any]:
    numbers = {name: round(getattr(event, name), 6) for name in ("onset", "offset", "score")}
    return {"label": event.label, **numbers}


class Detector:
    """Finds the events of a clip in the `frame_scores` of `tagger`, by `postprocessing` or the checkpoint's own thresholds:
    those of `labels`, or of all if that is empty. Thresholds are one for all, or one for each of these labels.

    Raises EranntagError for a tagger without frame scores: a `Windowed` one needs none; `detector` chooses.
    """

    def __init__(self, tagger: Tagger, postprocessing: Postprocessing | None = None, labels: Sequence[str] = ()) -> None:
        self.tagger, self.postprocessing = tagger, postprocessing or defaults(tagger.checkpoint, labels)
        self.labels = tuple(labels) or tagger.labels
        some = [tagger.labels.index(label) for label in labels]
        self.columns = some if self.labels != tagger.labels else slice(None)  # which copies no scores
        self.gate = self._gate()
        self.frame_seconds = self._frame_seconds()
        self.batch, self.parallel = tagger.batch, tagger.parallel

    def _gate(self) -> np.ndarray:
        """(classes,): the score of a clip, or of a window of long audio, up to which its frames do not count: `clip` of the
        post-processing, or less for a class with a lower threshold; 0 for families without `clip_gate`."""
        gate = np.zeros(len(self.tagger.labels))
        if self.tagger.geometry.clip_gate:
            gate[self.columns] = np.minimum(self.postprocessing.clip, self.postprocessing.high)
        return gate

    def _frame_seconds(self) -> float:
        if self.tagger.frame_seconds is None:
            raise EranntagError(f"{self.tagger.checkpoint.name}: {self.tagger.checkpoint.family} scores whole sounds alone")
        return self.tagger.frame_seconds

    @overload
    def detect(self, source: Source, sample_rate: int | None = None, name: str = "") -> Detection: ...
    @overload
    def detect(self, source: Sources, sample_rate: int | None = None, name: str = "") -> list[Detection]: ...
    def detect(self, source: Source | Sources, sample_rate: int | None = None, name: str = "") -> Detection | list[Detection]:
        """The events of a clip of any length, or of each of a list; arguments and errors as of `Tagger.tag`."""
        return arguments.results(self, source, sample_rate, name)

    def prepare_source(self, source: AudioSource, name: str = "") -> Prepared:
        return self.tagger.prepare_source(source, name)

    def scores(self, prepared: np.ndarray) -> Sequence[np.ndarray] | np.ndarray:
        """(batch, ...) of prepared clips -> of each (frames, classes), 0 for a class that the gate excludes."""
        frames = self.tagger.frame_scores(prepared)
        if not self.gate.any():
            return frames
        return [np.where(clip <= self.gate, 0, each) for each, clip in zip(frames, self.tagger.scores(prepared), strict=True)]

    def predict_long(self, audio: LongAudio) -> Detection:
        return self.prediction(self.frame_scores_of(audio), audio.seconds, audio.source)

    def frame_scores_of(self, audio: LongAudio) -> np.ndarray:
        """(frames, classes) of audio of any length; `columns` are those of `labels`."""
        return self.tagger.frame_scores_of(audio, self.scores)

    def prediction(self, scores: np.ndarray, seconds: float, source: str) -> Detection:
        """The events in (frames, classes); frames of the zeros that pad the clip do not count."""
        self.tagger.check_finite(scores, source)
        frames = max(1, math.ceil(seconds / self.frame_seconds - 1e-6))
        found = events.find(scores[:frames, self.columns], self.labels, self.frame_seconds, self.postprocessing)
        inside = tuple(replace(event, offset=min(event.offset, seconds)) for event in found if self._lasts(event, seconds))
        nyquist_hz = self.tagger.sample_rate_hz / 2
        return Detection(inside, seconds, self.frame_seconds, nyquist_hz, source, self.tagger.checkpoint.name)

    def _lasts(self, event: Event, seconds: float) -> bool:
        """False for an event that is nearly all behind the clip's end: the last frame may reach far into the padding."""
        return event.onset == 0 or min(event.offset, seconds) - event.onset > self.postprocessing.min_length_seconds


class Windowed(Detector):
    """The score of a frame, `frame_seconds` long, is that of a window of CONTEXT_SECONDS (or of the frame, if that is longer)
    around its middle, scored as a clip of its own; zeros before the beginning and after the end of the audio.

    For any network and any resolution; but an event is found as soon as a window touches it, so that short ones are up to
    CONTEXT_SECONDS too long, and every window costs as much as a clip of its length.
    """

    def __init__(
        self, tagger: Tagger, postprocessing: Postprocessing | None, frame_seconds: float, labels: Sequence[str] = ()
    ) -> None:
        self._seconds = frame_seconds
        super().__init__(tagger, postprocessing, labels)

    def _frame_seconds(self) -> float:
        return self._seconds

    def prepare_source(self, source: AudioSource, name: str = "") -> LongAudio:
        return LongAudio(reader.open_stream(source, name))

    def frame_scores_of(self, audio: LongAudio) -> np.ndarray:
        windows = self._windows(audio)
        batches = iter(lambda: list(islice(windows, self.batch)), [])
        return np.concatenate([self.tagger.scores(np.stack(batch)) for batch in batches])

    def _windows(self, audio: LongAudio) -> Iterator[np.ndarray]:
        """The window of each frame, prepared."""
        rate = self.tagger.sample_rate_hz
        samples = round(max(CONTEXT_SECONDS, self.frame_seconds) * rate)
        for window in streaming.centered(audio.mono_blocks(rate), samples, self.frame_seconds * rate):
            yield self.tagger.prepare(Clip(window[None], rate, audio.source))


def detector(
    tagger: Tagger,
    postprocessing: Postprocessing | None = None,
    resolution: float | None = None,
    labels: Sequence[str] = (),
) -> Detector:
    """A Detector of the network's frames; with a `resolution` in seconds, or RESOLUTION_SECONDS for a network that scores no
    frames, a Windowed one."""
    if resolution is None and tagger.frame_seconds is not None:
        return Detector(tagger, postprocessing, labels)
    return Windowed(tagger, postprocessing, resolution or RESOLUTION_SECONDS, labels)


def postprocessing(high: np.ndarray, **lengths: float | None) -> Postprocessing:
    """An event begins where a label is above `high` (labels,) and ends where it is below EXTENT of that; `lengths` are
    Postprocessing's own, None for its default."""
    given = {name: value for name, value in lengths.items() if value is not None}
    return Postprocessing(high=tuple(high.tolist()), low=tuple((EXTENT * high).tolist()), **given)


def defaults(checkpoint: Checkpoint, labels: Sequence[str] = ()) -> Postprocessing:
    """The Postprocessing of `eranntag detect` without options: the checkpoint's own `thresholds`."""
    return postprocessing(thresholds(checkpoint, labels=labels))


def thresholds(
    checkpoint: Checkpoint, given: Sequence[Given] = (), default: float | None = None, labels: Sequence[str] = ()
) -> np.ndarray:
    """The thresholds (labels,) float32 of `labels`, or of all if that is empty: `given` for a label, else `given` for all, else
    `default`; without one those that were calibrated for the checkpoint, or THRESHOLDS: SEDTF's where classes are independent
    (a sigmoid), or more than all the others have together (softmax). Raises UsageError for a label that is none of them.
    """
    usual = (checkpoint.thresholds or THRESHOLDS[checkpoint.activation]) if default is None else default
    values = np.broadcast_to(np.asarray(usual, np.float32), len(checkpoint.labels)).copy()
    for label, value in sorted(given, key=lambda each: each[0] is not None):  # what is for all first
        if label is None:
            values[:] = value
        elif label in checkpoint.labels:
            values[checkpoint.labels.index(label)] = value
        else:
            near = registry.did_you_mean(label, checkpoint.labels)
            raise UsageError(f"--threshold {label}={value:g}: {checkpoint.name} has no label {label!r}{near}")
        if label is not None and labels and label not in labels:
            raise UsageError(f"--threshold {label}={value:g}: this label is not among those that --labels keeps")
    return values[[checkpoint.labels.index(label) for label in labels]] if labels else values


def only(prediction: Prediction, labels: tuple[str, ...]) -> Prediction:
    """The prediction of the classes `labels` alone, in this order."""
    if prediction.labels == labels:
        return prediction
    places = {label: index for index, label in enumerate(prediction.labels)}
    return replace(prediction, labels=labels, scores=prediction.scores[[places[label] for label in labels]])


def reaching(prediction: Prediction, least: np.ndarray) -> Prediction:
    """The prediction of those classes alone whose score is at least `least` (classes,)."""
    there = np.flatnonzero(prediction.scores >= least)
    return replace(prediction, labels=tuple(prediction.labels[index] for index in there), scores=prediction.scores[there])
