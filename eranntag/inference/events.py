"""Frame scores -> events: median filter, two thresholds, short gaps closed, short segments dropped. Pure functions of numpy.

The thresholds and lengths are those of the public code of "Sound Event Detection and Time-Frequency Segmentation from Weakly
Labelled Data" (Kong et al., 2019), where they are in frames of 32 ms; here they are in seconds, for any frame rate.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eranntag.errors import UsageError
from eranntag.types import Event

Threshold = float | Sequence[float]  # one for all classes, or one for each


@dataclass(frozen=True)
class Postprocessing:
    """A class is detected in a clip whose own score of it is above `clip`. An event has a frame score above `high`, and extends
    in both directions as far as it is at least `low`; then gaps of `merge_gap_seconds` or less are closed, and then
    events of `min_length_seconds` or less dropped. `median_seconds` (0: none) is the width of a median filter before all that.

    Thresholds are one number, or one for each class. Raises UsageError for impossible values.
    """

    clip: Threshold = 0.1
    high: Threshold = 0.2
    low: Threshold = 0.1
    merge_gap_seconds: float = 0.32
    min_length_seconds: float = 0.32
    median_seconds: float = 0.0

    def __post_init__(self) -> None:
        for name in ("merge_gap_seconds", "min_length_seconds", "median_seconds"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UsageError(f"{name} must be finite and not below 0, as {getattr(self, name)} is")
        for name in ("clip", "high", "low"):
            values = np.asarray(getattr(self, name), float)
            if values.ndim > 1 or not ((values >= 0) & (values <= 1)).all():
                raise UsageError(f"the threshold {name!r} must be one number in [0, 1], or one for each class")
        if (np.asarray(self.low) > np.asarray(self.high)).any():
            raise UsageError(f"the threshold 'low' must not be above 'high', as {self.low} is above {self.high}")


def find(
    scores: np.ndarray,
    labels: Sequence[str],
    seconds_per_frame: float,
    postprocessing: Postprocessing = Postprocessing(),
    clip_scores: np.ndarray | None = None,
    start_seconds: float = 0.0,
) -> tuple[Event, ...]:
    """The events in `scores` (frames, classes) in [0, 1], in the order of their onsets.

    Frame `i` lasts from `start_seconds + i * seconds_per_frame` to where the next one begins. `clip_scores` (classes,), if
    given, select the classes that are detected. An event's score is the highest of its frames', after the median filter: so it
    is above `high`, and stays comparable between short and long events, as a mean would not.
    """
    classes = scores.shape[1]
    clip, high, low = (_per_class(classes, name, getattr(postprocessing, name)) for name in ("clip", "high", "low"))
    gap = int(postprocessing.merge_gap_seconds / seconds_per_frame + 1e-9)  # a frame of 0.5 s is longer than 0.32 s
    least = int(postprocessing.min_length_seconds / seconds_per_frame + 1e-9)
    smooth = median_filter(scores, 1 + 2 * round((postprocessing.median_seconds / seconds_per_frame - 1) / 2))
    wanted = (smooth > high).any(0) & (clip_scores > clip if clip_scores is not None else True)
    events = []
    for index in np.flatnonzero(wanted).tolist():
        for begin, end in segments(smooth[:, index], high[index], low[index], gap, least):
            onset, offset = (start_seconds + frame * seconds_per_frame for frame in (begin, end))
            events.append(Event(labels[index], onset, offset, float(smooth[begin:end, index].max())))
    return tuple(sorted(events, key=lambda event: (event.onset, event.offset, event.label)))


def segments(
    scores: np.ndarray, high: float, low: float, merge_gap_frames: int = 0, min_length_frames: int = 0
) -> list[tuple[int, int]]:
    """(first frame, frame after the last) of each event of one class: `scores` (frames,)."""
    runs = np.flatnonzero(np.diff(scores >= low, prepend=False, append=False)).reshape(-1, 2)
    if len(runs):  # between two runs all is below `low`, so the maximum up to the next one is the run's own
        runs = runs[np.maximum.reduceat(scores, runs[:, 0]) > high]
    if len(runs):
        apart = runs[1:, 0] - runs[:-1, 1] > merge_gap_frames
        runs = np.stack((runs[np.r_[True, apart], 0], runs[np.r_[apart, True], 1]), 1)
    return [(int(begin), int(end)) for begin, end in runs if end - begin > min_length_frames]


def median_filter(scores: np.ndarray, frames: int) -> np.ndarray:
    """Every score (frames, classes) -> the median of the `frames` around it, an odd number; mirrored at both ends."""
    if frames < 0 or frames % 2 == 0:
        raise ValueError(f"a median filter has an odd number of frames, not {frames}")
    if frames == 1:
        return scores
    padded = np.pad(scores, ((frames // 2, frames // 2), (0, 0)), mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, frames, axis=0)  # (frames, classes, window)
    medians = [np.median(windows[:, index], axis=-1) for index in range(scores.shape[1])]  # one by one: each copies them
    return np.stack(medians, 1)


def _per_class(classes: int, name: str, threshold: Threshold) -> np.ndarray:
    """The threshold of each class: (classes,)."""
    values = np.asarray(threshold, float)
    if values.ndim and len(values) != classes:
        raise UsageError(f"the threshold {name!r} must be one number or {classes}, one for each class, not {len(values)}")
    return np.broadcast_to(values, (classes,))
