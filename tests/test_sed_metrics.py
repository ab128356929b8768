"""Segment-based and event-based measures beside sed_eval's numbers, and cases whose answer is known.

GOLDEN is what sed_eval 0.2.1 says of `annotations(seed)`; it wants setuptools < 80 and so no place in the tests. As made:

    import json, sed_eval, test_sed_metrics as t
    def measures(kind, **options):
        metric = kind(event_label_list=list(t.LABELS), **options)
        metric.empty_system_output_handling = "zero_score"
        for number, clip in enumerate(zip(*t.annotations(seed))):
            metric.evaluate(*([{"event_label": e.label, "onset": e.onset, "offset": e.offset, "file": str(number)}
                               for e in events] for events in clip))
        micro, macro = (average["f_measure"] for average in
                        (metric.results_overall_metrics(), metric.results_class_wise_average_metrics()))
        return [micro["precision"], micro["recall"], micro["f_measure"], macro["recall"], macro["f_measure"]]
    for seed in range(3):
        segment, event = (getattr(sed_eval.sound_event, f"{kind}BasedMetrics") for kind in ("Segment", "Event"))
        print(json.dumps([measures(segment, time_resolution=1.0), measures(segment, time_resolution=0.1),
                          measures(event, percentage_of_length=0.2), measures(event, evaluate_offset=False)]))

Its macro precision is left out: it counts a class that is never there, as 0, in the mean of the precision but not of the F1.
"""

import math
from itertools import combinations

import numpy as np
import pytest

from eranntag.evaluation import metrics
from eranntag.types import Event

LABELS = ("bark", "rain", "siren", "never there", "never said")
Clips = list[list[Event]]
GOLDEN = [  # of each seed: segments of 1 s, of 0.1 s; events with offsets, onsets alone
    [
        [0.516129032258, 0.592592592593, 0.551724137931, 0.452582417582, 0.437980433263],
        [0.478048780488, 0.507772020725, 0.492462311558, 0.360175156128, 0.372184999186],
        [0.214285714286, 0.250000000000, 0.230769230769, 0.198611111111, 0.183123249300],
        [0.321428571429, 0.375000000000, 0.346153846154, 0.313888888889, 0.278011204482],
    ],
    [
        [0.462686567164, 0.525423728814, 0.492063492063, 0.403910024155, 0.396621621622],
        [0.411016949153, 0.500000000000, 0.451162790698, 0.392728810828, 0.371611710840],
        [0.324324324324, 0.461538461538, 0.380952380952, 0.346590909091, 0.290409207161],
        [0.378378378378, 0.538461538462, 0.444444444444, 0.419507575758, 0.344820971867],
    ],
    [
        [0.480000000000, 0.800000000000, 0.600000000000, 0.632539682540, 0.506046976512],
        [0.461393596987, 0.714285714286, 0.560640732265, 0.564733652082, 0.467334946538],
        [0.200000000000, 0.368421052632, 0.259259259259, 0.291666666667, 0.219485294118],
        [0.371428571429, 0.684210526316, 0.481481481481, 0.541666666667, 0.403553921569],
    ],
]
KEYS = ("precision_micro", "recall_micro", "f1_micro", "recall_macro", "f1_macro")


def annotations(seed: int) -> tuple[Clips, Clips]:
    """Ten clips: the truth; and the same with jitter, gaps, repetitions and inventions. One clip has nothing at all, one no
    truth and one no estimate."""
    rng = np.random.default_rng(seed)
    reference: Clips = []
    estimated: Clips = []
    for clip in range(10):
        true = [_event(rng, LABELS[index]) for index in rng.integers(0, 3, rng.integers(1, 7))]
        true += [_event(rng, "never said")] * (clip == 4)
        said = [_jittered(rng, event) for event in true * 2 if rng.random() < 0.5 and event.label != "never said"]
        said += [_event(rng, LABELS[index]) for index in rng.integers(0, 4, rng.integers(0, 3))]
        reference.append(true if clip not in (0, 1) else [])
        estimated.append(said if clip not in (0, 2) else [])
    return reference, estimated


def _event(rng: np.random.Generator, label: str) -> Event:
    onset = rng.uniform(0, 8)
    return Event(label, onset, onset + rng.uniform(0.1, 3))


def _jittered(rng: np.random.Generator, event: Event) -> Event:
    onset, offset = event.onset + rng.normal(0, 0.15), event.offset + rng.normal(0, 0.4)
    return Event(event.label, max(0, onset), max(onset, 0, offset) + 0.01)


@pytest.mark.parametrize("seed", range(3))
def test_sed_evals_numbers(seed: int) -> None:
    clips = annotations(seed)
    found = (
        metrics.segment_based(*clips, LABELS),
        metrics.segment_based(*clips, LABELS, segment_seconds=0.1),
        metrics.event_based(*clips, LABELS),
        metrics.event_based(*clips, LABELS, offsets=False),
    )
    np.testing.assert_allclose([[values[key] for key in KEYS] for values in found], GOLDEN[seed], atol=1e-11)


def events(*spans: tuple[float, float], label: str = "bark") -> list[Event]:
    return [Event(label, onset, offset) for onset, offset in spans]


def test_truth_is_right_about_itself() -> None:
    reference, _ = annotations(7)
    for values in (
        metrics.segment_based(reference, reference, LABELS),
        metrics.event_based(reference, reference, LABELS),
    ):
        assert set(values.values()) == {1.0}


@pytest.mark.parametrize(
    ("true", "said", "precision", "recall", "f1"),
    [
        pytest.param([], [], math.nan, math.nan, math.nan, id="nothing there, nothing said"),
        pytest.param([], [(0, 1)], math.nan, math.nan, math.nan, id="nothing there"),
        pytest.param([(0, 1)], [], 0, 0, 0, id="nothing said"),
        pytest.param([(0, 1)], [(0, 1), (0, 1)], 0.5, 1, 2 / 3, id="said twice"),
        pytest.param([(0, 1), (0, 1)], [(0, 1)], 1, 0.5, 2 / 3, id="there twice"),
        pytest.param([(2, 3)], [(2.2, 3.2)], 1, 1, 1, id="at the collar, although 2.2 - 2 is more than 0.2"),
        pytest.param([(2, 3)], [(2.21, 3)], 0, 0, 0, id="onset too late"),
        pytest.param([(2, 3)], [(2, 3.21)], 0, 0, 0, id="offset too late for a short event"),
        pytest.param([(2, 7)], [(2, 8)], 1, 1, 1, id="a fifth of a long event"),
        pytest.param([(2, 7)], [(2, 8.01)], 0, 0, 0, id="more than a fifth"),
    ],
)
def test_events_by_hand(
    true: list[tuple[float, float]], said: list[tuple[float, float]], precision: float, recall: float, f1: float
) -> None:
    values = metrics.event_based([events(*true)], [events(*said)], LABELS)
    for kind in ("micro", "macro"):
        ours = [values[f"{name}_{kind}"] for name in ("precision", "recall", "f1")]
        assert ours == pytest.approx([precision, recall, f1], nan_ok=True)


def test_events_are_of_one_clip_and_one_class() -> None:
    bark, rain = events((0, 1)), events((0, 1), label="rain")
    assert metrics.event_based([bark, []], [[], bark], LABELS)["f1_micro"] == 0
    assert metrics.event_based([bark], [rain], LABELS)["f1_micro"] == 0
    assert metrics.event_based([bark + rain], [rain], LABELS)["f1_macro"] == 0.5  # of the two that are there
    with pytest.raises(ValueError, match="longer"):
        metrics.event_based([bark], [bark, bark], LABELS)


@pytest.mark.parametrize("seed", range(20))
def test_as_many_events_as_possible_are_matched(seed: int) -> None:
    """Beside all subsets of pairs: the first come may not take what only another could have had."""
    rng = np.random.default_rng(seed)
    true, said = (sorted(rng.integers(0, 8, count) / 10) for count in (5, 4))
    pairs = [(i, j) for i, one in enumerate(true) for j, other in enumerate(said) if abs(one - other) <= 0.2 + 1e-9]
    most = next(
        size
        for size in range(4, -1, -1)
        for some in combinations(pairs, size)
        if len({i for i, _ in some}) == len({j for _, j in some}) == size
    )
    reference, estimated = ([events(*((onset, onset + 1) for onset in onsets))] for onsets in (true, said[::-1]))
    values = metrics.event_based(reference, estimated, LABELS)
    assert (values["precision_micro"], values["recall_micro"]) == (most / 4, most / 5)


def test_a_long_row_of_events_that_all_stand_in_each_others_way() -> None:
    onsets = np.arange(1200) * 0.15  # each estimate may be the true event before it or after it
    true, said = events(*((at, at + 0.5) for at in onsets)), events(*((at + 0.1, at + 0.6) for at in (-0.15, *onsets)))
    values = metrics.event_based([true], [said], LABELS)
    assert (values["precision_micro"], values["recall_micro"]) == (1200 / 1201, 1)


def test_segments_by_hand() -> None:
    true, said = events((0.5, 2.0)), events((1.2, 2.0 + 1e-12), (2.5, 2.6))
    values = metrics.segment_based([true], [said], LABELS)  # true: 0, 1; said: 1, 2
    assert (values["precision_micro"], values["recall_micro"], values["f1_macro"]) == (0.5, 0.5, 0.5)
    values = metrics.segment_based([true], [said], LABELS, segment_seconds=0.5)  # true: 1 2 3; said: 2 3, 5
    assert values["precision_micro"] == values["recall_micro"] == pytest.approx(2 / 3)
    twice = metrics.segment_based([true + true], [true], LABELS)
    assert set(twice.values()) == {1.0}  # a segment is there or not


def test_without_any_truth_segments_measure_nothing() -> None:
    assert all(map(math.isnan, metrics.segment_based([[]], [events((0, 1))], LABELS).values()))
    assert metrics.segment_based([events((0, 1))], [[]], LABELS)["f1_micro"] == 0
