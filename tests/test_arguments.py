"""What a program may pass as sound: paths, open files, Clips, arrays, and lists of them; and what is refused, with a remedy."""

import dataclasses
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eranntag
from eranntag.engines.eager import Eager
from eranntag.errors import AudioError, EranntagError, UsageError
from eranntag.inference import detector as detection
from eranntag.inference.detector import Detector
from eranntag.types import Clip, Prediction

RATE = 44100
Writer = Callable[..., Path]


@pytest.fixture
def path(wav: Writer) -> Path:
    return wav("noise.wav", noise(1.3), subtype="FLOAT")


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


def same(ours: Any, expected: Any) -> None:
    np.testing.assert_array_equal(ours.scores, expected.scores)
    assert ours.seconds == expected.seconds


def test_every_way_to_pass_a_sound_is_the_same_sound(tiny_tagger: Eager, path: Path) -> None:
    array, expected = eranntag.read(path).waveform, tiny_tagger.tag(path)
    ways: list[Any] = [str(path), Clip(array, RATE), io.BytesIO(path.read_bytes())]
    for way in ways:
        same(tiny_tagger.tag(way), expected)
    for each in (array, array[0], array.astype(np.float64), array[0][::-1][::-1], np.asfortranarray(array)):
        same(tiny_tagger.tag(each, sample_rate=RATE), expected)
    same(tiny_tagger.tag(array, np.int64(RATE)), expected)  # type: ignore[arg-type]
    same(tiny_tagger.tag(array, float(RATE)), expected)  # type: ignore[arg-type]
    named = tiny_tagger.tag(array, RATE, name="microphone")
    assert named.source == "microphone" and tiny_tagger.tag(array, RATE).source == ""
    stereo = np.stack([array[0], -array[0]])
    same(tiny_tagger.tag(stereo, RATE), tiny_tagger.tag(np.zeros(array.shape[1]), RATE))


def test_a_list_has_a_list_of_results(tiny_tagger: Eager, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all ways at once, through the pipeline of `predict`, in order; "-" is the file of that name."""
    monkeypatch.chdir(tmp_path)
    os.link(path, "-")
    array, mono = eranntag.read(path).waveform, noise(2, 1)
    file = io.BytesIO(path.read_bytes())
    everything = [path, mono, str(path), Clip(mono[None], RATE, "second"), file, array[0], "-", Path("-")]
    results = tiny_tagger.tag(everything, sample_rate=RATE)
    assert [len(result.scores) for result in results] == [4] * 8
    first, second = tiny_tagger.tag(path), tiny_tagger.tag(mono, RATE)
    for result, expected in zip(results, (first, second, first, second, first, first, first, first), strict=True):
        np.testing.assert_allclose(result.scores, expected.scores, rtol=0, atol=1e-6)
    assert [result.source for result in results] == [str(path), "", str(path), "second", "-", "", "./-", "-"]
    assert tiny_tagger.tag([]) == [] and tiny_tagger.embed(()) == []
    detector = Detector(tiny_tagger)
    found = detector.detect((path, array), RATE)
    assert [each.events for each in found] == [detector.detect(path).events] * 2
    vectors = tiny_tagger.embed([path, mono], RATE, every=0.5)
    assert [len(each.vectors) for each in vectors] == [3, 4]


@pytest.mark.parametrize(
    ("source", "rate", "error", "words"),
    [
        (np.zeros(9, np.float32), None, UsageError, "array of shape (9,): its sample rate is missing; pass sample_rate="),
        (np.zeros(9, np.int16), RATE, UsageError, "int16 samples; pass floats, where 1 is full scale: divide int16 by 32768"),
        (np.zeros(9, np.int32), RATE, UsageError, "divide int32 by 2147483648"),
        (np.zeros(9, np.uint8), RATE, UsageError, "subtract 128 from uint8, then divide by 128"),
        (np.zeros(9, bool), RATE, UsageError, "bool samples; pass floats"),
        (np.zeros(9, complex), RATE, UsageError, "complex128 samples; pass floats"),
        (np.array(["x"]), RATE, UsageError, "<U1 samples; pass floats"),
        (np.zeros((900, 2), np.float32), RATE, UsageError, "900 channels of 2 samples; channels come first, so pass array.T"),
        (np.zeros((65, 900), np.float32), RATE, UsageError, "65 channels of 900 samples"),
        (np.zeros((1, 2, 9), np.float32), RATE, UsageError, "shape (1, 2, 9): a sound is (samples,) or (channels, samples)"),
        (np.zeros((), np.float32), RATE, UsageError, "a sound is (samples,)"),
        (np.zeros(0, np.float32), RATE, AudioError, "array of shape (0,): holds no samples"),
        (np.zeros((2, 0), np.float32), RATE, AudioError, "array of shape (2, 0): holds no samples"),
        (np.array([0, np.nan]), RATE, AudioError, "has NaN or infinite samples"),
        (np.array([0, -np.inf]), RATE, AudioError, "has NaN or infinite samples"),
        (np.array([0, 1e300]), RATE, AudioError, "has samples of 1e+300, where 1 is full scale; scale it"),
        (np.zeros(9), 44.1, UsageError, "sample_rate 44.1 is no whole number of Hz"),
        (np.zeros(9), 44, UsageError, "sample_rate 44; 100 to 3072000 Hz can be read"),
        (np.zeros(9), 10**400, UsageError, "100 to 3072000 Hz can be read"),
        (np.zeros(9), -44100, UsageError, "sample_rate -44100; 100 to"),
        (np.zeros(9), float("nan"), UsageError, "no whole number"),
        (np.zeros(9), "44100", UsageError, "sample_rate '44100' is no whole number of Hz"),
        (np.zeros(9), True, UsageError, "no whole number"),
        ("x.wav", RATE, UsageError, "sample_rate belongs to an array; a file, or a Clip, has its own"),
        (["x.wav"], RATE, UsageError, "sample_rate belongs to an array"),
        ([], RATE, UsageError, "sample_rate belongs to an array"),
        (Clip(np.zeros((1, 9), np.int16), RATE, "mine"), None, UsageError, "mine: int16 samples"),
        (Clip(np.zeros(9, np.float32), RATE), None, UsageError, "clip: a sound is (samples,) or (channels, samples)"),
        (Clip(np.full((1, 9), np.nan), RATE), None, AudioError, "clip: has NaN"),
        (Clip(np.zeros((1, 0), np.float32), RATE), None, AudioError, "clip: holds no samples"),
        (Clip(np.zeros((1, 9), np.float32), 0), None, UsageError, "clip: sample_rate 0; 100 to"),
        (Clip([[0.0]], RATE), None, UsageError, "clip: a sound is"),  # type: ignore[arg-type]
        (0.5, None, UsageError, "float is no sound; pass a path, a binary file, a Clip, or a NumPy array"),
        (None, None, UsageError, "NoneType is no sound"),
        (b"RIFF", None, UsageError, "bytes is no sound"),
        ([0.1, 0.2], None, UsageError, "item 0: float is no sound"),
        (["x.wav", np.zeros(9, np.int16)], RATE, UsageError, "item 1: array of shape (9,): int16 samples"),
        ([["x.wav"]], None, UsageError, "item 0: list is no sound"),
        ([None], None, UsageError, "item 0: NoneType is no sound"),
        ("absent.wav", None, AudioError, "absent.wav: no such file"),
    ],
)
def test_what_is_no_sound_is_refused_with_a_remedy(
    source: Any, rate: Any, error: type[Exception], words: str, tiny_tagger: Eager
) -> None:
    """The same for all three, before anything is computed."""
    for function in (tiny_tagger.tag, tiny_tagger.embed, Detector(tiny_tagger).detect):
        with pytest.raises(error) as caught:
            function(source, rate)
        assert words in str(caught.value) and "\n" not in str(caught.value)
        assert type(caught.value) is error


def test_a_file_that_is_open_as_text_is_refused(tiny_tagger: Eager, path: Path) -> None:
    with open(path, encoding="latin-1") as file, pytest.raises(UsageError, match="open as text; open it with mode 'rb'"):
        tiny_tagger.tag(file)  # type: ignore[call-overload]


def test_a_clip_may_be_short_and_wide_where_it_says_what_it_is(tiny_tagger: Eager) -> None:
    """An array of that shape is a mistake; what `read` returns of such a file is not."""
    assert tiny_tagger.tag(Clip(np.zeros((100, 3), np.float32), RATE)).seconds == 3 / RATE


def test_the_first_failure_of_a_list_is_raised_as_it_is_alone(tiny_tagger: Eager, path: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no sound")
    for source in (broken, str(broken)):
        with pytest.raises(AudioError) as alone:
            tiny_tagger.tag(source)
        with pytest.raises(AudioError) as among:
            tiny_tagger.tag([path, source, "absent.wav"])
        assert str(among.value) == str(alone.value) and str(broken) in str(alone.value)
    with pytest.raises(AudioError, match=r"^item 1: not a readable audio file"):
        tiny_tagger.tag([path, io.BytesIO(b"no sound")])
    tiny_tagger.network.model.fc2.bias.data[0] = float("nan")
    with pytest.raises(EranntagError, match=r"^item 0: the scores are not finite") as caught:
        tiny_tagger.tag([noise(1), path], RATE)
    assert type(caught.value) is EranntagError


def test_a_detector_without_settings_has_those_of_the_command(tiny_tagger: Eager, path: Path) -> None:
    expected = detection.postprocessing(detection.thresholds(tiny_tagger.checkpoint))
    for detector in (Detector(tiny_tagger), eranntag.detector(tiny_tagger), eranntag.detector(tiny_tagger, resolution=0.5)):
        assert detector.postprocessing == expected
    assert eranntag.detector(tiny_tagger, resolution=0.5).detect(path).frame_seconds == 0.5


def test_a_long_array_is_computed_in_blocks(tiny_tagger: Eager) -> None:
    """With the result of one pass, alone and in a list."""
    tiny_tagger.geometry = dataclasses.replace(tiny_tagger.geometry, block_frames=512)
    long = noise(tiny_tagger.longest_seconds + 3)
    expected = tiny_tagger.scores(tiny_tagger.prepare(Clip(long[None], RATE))[None])[0]
    results: list[Prediction] = [tiny_tagger.tag(long, RATE), *tiny_tagger.tag([long], RATE)]
    for result in results:
        np.testing.assert_allclose(result.scores, expected, rtol=0, atol=1e-4)
        assert result.seconds == len(long) / RATE
