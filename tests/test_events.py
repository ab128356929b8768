"""Events beside the oracle's, SciPy's median filter, and cases whose answer is known."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from eranntag.errors import UsageError
from eranntag.inference import events
from eranntag.inference.events import Postprocessing


@pytest.fixture
def case(oracle: Callable[[str], Any]) -> Any:
    return oracle("sed_postprocessing")


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, None]


def spans(found: tuple[events.Event, ...]) -> list[tuple[str, float, float]]:
    return [(event.label, event.onset, event.offset) for event in found]


def test_the_oracles_segments_in_frames(case: Any) -> None:
    scores, limits = np.array(case["framewise_probability"]), case["thresholds"]
    found = events.segments(scores, limits["high"], limits["low"], limits["merge_gap_frames"], limits["min_length_frames"])
    assert [list(segment) for segment in found] == case["segments_frames_begin_end_exclusive"]
    assert [list(segment) for segment in events.segments(scores, 0.2, 0.2)] == case["simple_threshold_0.2_no_merge"]


def test_the_oracles_segments_in_seconds_are_what_the_defaults_give(case: Any) -> None:
    found = events.find(column(*case["framewise_probability"]), ["dog"], case["seconds_per_frame"])
    np.testing.assert_allclose([[event.onset, event.offset] for event in found], case["segments_seconds"], atol=1e-9)
    assert [event.score for event in found] == [0.5, 0.6]


def test_a_finer_clock_gives_the_same_seconds(case: Any) -> None:
    """Lengths and gaps are times: scores held for four frames of a quarter of the length are the same sound."""
    coarse = column(*case["framewise_probability"])
    slow = events.find(coarse, ["dog"], case["seconds_per_frame"])
    fast = events.find(coarse.repeat(4, 0), ["dog"], case["seconds_per_frame"] / 4)
    np.testing.assert_allclose([(e.onset, e.offset) for e in fast], [(e.onset, e.offset) for e in slow])


@pytest.mark.parametrize(
    ("gap", "length", "expected"),
    [
        (0, 0, [(0, 2), (4, 7), (8, 9)]),
        (0, 1, [(0, 2), (4, 7)]),
        (1, 0, [(0, 2), (4, 9)]),
        (1, 2, [(4, 9)]),  # the gap is closed first: else the last frame had been dropped
        (2, 8, [(0, 9)]),
        (2, 9, []),
    ],
)
def test_limits_include_themselves(gap: int, length: int, expected: list[tuple[int, int]]) -> None:
    scores = np.array([1, 1, 0, 0, 1, 1, 1, 0, 1], float)
    assert events.segments(scores, 0.5, 0.5, gap, length) == expected


def test_high_is_above_and_low_at_least() -> None:
    assert events.segments(np.array([0.1, 0.2, 0.1]), 0.2, 0.1) == []
    assert events.segments(np.array([0.1, 0.21, 0.1, 0.09]), 0.2, 0.1) == [(0, 3)]
    assert events.segments(np.zeros(0), 0.2, 0.1) == [] == events.segments(np.zeros(5), 0.2, 0.1)
    assert events.segments(np.ones(5), 0.2, 0.1) == [(0, 5)]


def test_classes_have_their_own_thresholds_and_events_come_by_onset() -> None:
    scores = np.array([[0.0, 0.4, 0.9], [0.4, 0.4, 0.0], [0.4, 0.0, 0.0]])
    each = Postprocessing(clip=0, high=(0.3, 0.5, 0.5), low=(0.3, 0.3, 0.3), merge_gap_seconds=0, min_length_seconds=0)
    found = events.find(scores, ("a", "b", "c"), 0.5, each, start_seconds=10)
    assert spans(found) == [("c", 10.0, 10.5), ("a", 10.5, 11.5)]
    with pytest.raises(UsageError, match=r"'high' must be one number or 2, .* not 3"):
        events.find(scores[:, :2], ("a", "b"), 0.5, each)


def test_a_clip_that_lacks_the_class_has_none_of_its_events() -> None:
    scores = np.full((40, 2), 0.9)
    assert {event.label for event in events.find(scores, "ab", 0.032, clip_scores=np.array([0.1, 0.11]))} == {"b"}
    assert {event.label for event in events.find(scores, "ab", 0.032)} == {"a", "b"}


def test_a_median_filter_removes_a_click_and_keeps_an_edge() -> None:
    scores = np.zeros((50, 1))
    scores[10], scores[30:] = 1, 1
    found = events.find(scores, ["dog"], 0.1, Postprocessing(clip=0, high=0.5, low=0.5, median_seconds=0.3))
    assert spans(found) == [("dog", pytest.approx(3.0), pytest.approx(5.0))]


@pytest.mark.parametrize("frames", [1, 3, 7])
def test_scipys_median_filter_agrees(frames: int) -> None:
    reference = pytest.importorskip("scipy.ndimage")
    scores = np.random.default_rng(frames).random((31, 4))
    np.testing.assert_array_equal(events.median_filter(scores, frames), reference.median_filter(scores, (frames, 1)))


@pytest.mark.parametrize("frames", [0, 2, -1])
def test_a_median_filter_of_an_even_width_is_refused(frames: int) -> None:
    with pytest.raises(ValueError, match=f"odd number of frames, not {frames}"):
        events.median_filter(np.zeros((5, 1)), frames)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"low": 0.3}, "'low' must not be above 'high'"),
        ({"low": (0.1, 0.3)}, "'low' must not be above 'high'"),
        ({"high": 1.5}, "'high' must be one number in"),
        ({"clip": float("nan")}, "'clip' must be one number in"),
        ({"merge_gap_seconds": -1}, "merge_gap_seconds must be finite and not below 0"),
        ({"median_seconds": float("inf")}, "median_seconds must be finite"),
    ],
)
def test_impossible_values_are_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        Postprocessing(**changes)
