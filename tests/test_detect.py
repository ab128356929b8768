"""What sounds when: scores of frames from every engine, family and length of sound, and the events as documents."""

import csv
import dataclasses
import io
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor, nn

from eranntag.audio import reader
from eranntag.checkpoints import weights
from eranntag.cli import cli
from eranntag.engines import selection
from eranntag.engines.eager import Eager
from eranntag.engines.selection import VerifiedCheckpoint
from eranntag.errors import EranntagError, UsageError
from eranntag.inference import detector as detection, fusion, streaming
from eranntag.inference.detector import Detection, Detector, Windowed
from eranntag.inference.ensemble import Ensemble
from eranntag.inference.events import Postprocessing
from eranntag.inference.network import Network
from eranntag.inference.pipeline import predict
from eranntag.inference.prepared import LongAudio
from eranntag.inference.tagger import Tagger
from eranntag.models import WindowedModel
from eranntag.results import event_formats as documents
from eranntag.types import Checkpoint, Clip, Event, Failure, Output

RATE = 44100
FRAME = 64 * 345 / RATE  # seconds, of a column of ERANN-2-1
LABELS = ("dog", "rain", "siren", "door, slamming")
EVERYTHING = Postprocessing(high=0.0, low=0.0, min_length_seconds=0.0)

openvino = pytest.mark.skipif(selection.find_spec("openvino") is None, reason="no openvino")
ENGINES = [pytest.param(name, marks=[openvino] if name == "openvino" else []) for name in selection.ENGINES]


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERANNTAG_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ERANNTAG_REGISTRY", raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def softened(network: Network) -> Network:
    """Single columns differ more than clips: a random head would be sure of each."""
    with torch.no_grad():
        network.model.fc2.weight *= 0.05
    return network


@pytest.fixture
def tiny_tagger(tiny_tagger: Eager) -> Eager:
    softened(tiny_tagger.network)
    return tiny_tagger


def sound(seconds: float, seed: int = 0, rate: int = RATE) -> Clip:
    """Noise that comes and goes, and a tone that rises."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).standard_normal(len(time))
    tone = 0.2 * np.sin(2 * np.pi * (200 + 300 * time) * time)
    return Clip((0.1 * (1 + np.sin(3 * time)) * noise + tone)[None].astype(np.float32), rate, f"sound{seed}")


def frames(tagger: Tagger, clip: Clip) -> np.ndarray:
    return np.asarray(tagger.frame_scores(tagger.prepare(clip)[None])[0])


def same(ours: np.ndarray, expected: np.ndarray, atol: float = 1e-5) -> None:
    assert ours.shape == expected.shape and ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, rtol=0, atol=atol)


class Framewise(WindowedModel, nn.Module):
    """A family without columns, which says something of every 32 frames itself."""

    frame_multiple = 32

    def __init__(self, rows: int, classes: int) -> None:
        super().__init__()
        self.classes = nn.Linear(rows, classes)
        nn.init.normal_(self.classes.weight, 0, 0.01, generator=torch.Generator().manual_seed(0))

    def forward(self, image: Tensor, mask: Tensor | None = None) -> Output:
        frames = self.classes(image.squeeze(1).unflatten(2, (-1, 32)).mean(3).transpose(1, 2) / 10)
        return Output(clip_logits=frames.mean(1), embedding=image.mean((1, 3)), frame_logits=frames)


class Mute(Framewise):
    def forward(self, image: Tensor, mask: Tensor | None = None) -> Output:
        return Output(super().forward(image, mask).clip_logits, image.mean((1, 3)))


@pytest.fixture
def framewise(tiny_checkpoint: Checkpoint) -> Network:
    network = Network(tiny_checkpoint)
    network.model = Framewise(128, 4)
    return network.eval()


# Scores of frames


def test_a_frame_scores_what_a_clip_of_its_column_alone_would(tiny_tagger: Eager, monkeypatch: pytest.MonkeyPatch) -> None:
    clip, model = sound(2.3), tiny_tagger.network.model
    scores = frames(tiny_tagger, clip)
    assert scores.shape == (6, 4) and scores.dtype == np.float32 and np.ptp(scores, axis=0).min() > 1e-3
    whole = model.feature_map
    for column in range(6):
        monkeypatch.setattr(model, "feature_map", lambda image, mask=None, k=column: whole(image, mask)[..., k : k + 1])
        same(scores[column], tiny_tagger.scores(tiny_tagger.prepare(clip)[None])[0])


def test_a_sound_of_one_column_has_the_clips_score(tiny_tagger: Eager) -> None:
    """Half a second of image, as the layers behind the front-end take it."""
    image = np.random.default_rng(0).normal(-40, 15, (1, 1, 128, 64)).astype(np.float32)
    with torch.inference_mode():
        clip = tiny_tagger.network.model(torch.from_numpy(image)).clip_logits.numpy()
    np.testing.assert_allclose(tiny_tagger.column_logits(*tiny_tagger.columns(image))[:, 0], clip, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("columns", [True, False])
def test_every_engine_has_the_frames_of_the_reference(
    name: str, columns: bool, tiny_tagger: Eager, framewise: Network, tiny_checkpoint: Checkpoint
) -> None:
    reference = tiny_tagger if columns else Eager(framewise)
    clips = [sound(2, seed) for seed in (1, 2)]
    expected = [frames(reference, clip) for clip in clips]  # before an engine changes the network
    tagger = selection.build(VerifiedCheckpoint(tiny_checkpoint, "0" * 64, lambda: reference.network), name, "cpu", "float32")
    assert tagger.engine == name
    assert tagger.frame_seconds == pytest.approx(FRAME if columns else FRAME / 2, rel=1e-12)
    both = tagger.frame_scores(np.stack([tagger.prepare(clip) for clip in clips]))
    assert np.ptp(np.stack(expected), axis=1).min() > 1e-3
    for ours, theirs in zip(both, expected, strict=True):
        same(ours, theirs, 1e-4)
    same(frames(tagger, clips[0]), expected[0], 1e-4)


def test_what_sounds_at_a_time_changes_the_frames_around_it(tiny_tagger: Eager) -> None:
    """Times are those of the hops: frames that are nominally 1/128 s long would be half a minute off in six hours."""
    clip = sound(24)
    changed = clip.waveform.copy()
    changed[0, 12 * RATE : round(12.1 * RATE)] *= 8
    before, after = (frames(tiny_tagger, Clip(waveform, RATE)) for waveform in (clip.waveform, changed))
    touched = np.flatnonzero(np.abs(after - before).max(1) > 1e-4) * tiny_tagger.frame_seconds
    reach = (tiny_tagger.geometry.context_frames + 2) * 345 / RATE
    assert 12 - FRAME - reach <= touched.min() < 12 < touched.max() <= 12.1 + reach
    assert touched.min() + touched.max() + FRAME == pytest.approx(24.1, abs=4 * FRAME)  # as far to both sides


@pytest.mark.parametrize("seconds", [11.3, 12.0, pytest.param(17.71, marks=pytest.mark.slow)])
def test_frames_of_blocks_are_those_of_one_pass(seconds: float, tiny_tagger: Eager) -> None:
    clip = sound(seconds, rate=48000)
    expected = frames(tiny_tagger, clip)
    tiny_tagger.geometry = dataclasses.replace(tiny_tagger.geometry, block_frames=256)
    heard = tiny_tagger.prepare_source(clip)
    assert isinstance(heard, LongAudio)
    same(tiny_tagger.frame_scores_of(heard), expected, 1e-4)  # numpy's spectrogram beside torch's, which no pooling evens out
    tiny_tagger.geometry = dataclasses.replace(tiny_tagger.geometry, context_frames=128)
    assert np.abs(tiny_tagger.frame_scores_of(tiny_tagger.prepare_source(clip)) - expected).max() > 5e-4


def test_frames_of_a_family_without_columns_are_those_of_windows(framewise: Network) -> None:
    """Frames of this one depend on nothing but themselves, so that windows are the whole: but for the edges of each."""
    tagger, clip = Eager(framewise), sound(9.2)
    tagger.geometry = dataclasses.replace(tagger.geometry, window_seconds=4)
    heard = tagger.prepare_source(clip)
    assert isinstance(heard, LongAudio)
    rows, expected = tagger.frame_scores_of(heard), frames(tagger, clip)
    assert len(rows) == math.ceil(clip.waveform.shape[1] / (32 * 345))
    per_window = int(4 / tagger.frame_seconds)
    inner = [row for row in range(len(rows) - 1) if row % per_window not in (0, per_window - 1)]
    assert np.ptp(expected, axis=0).min() > 0.01
    same(rows[inner], expected[inner], 1e-4)


def test_hours_are_read_as_they_are_computed(tiny_tagger: Eager, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_tagger.geometry = dataclasses.replace(tiny_tagger.geometry, block_frames=512)
    read, ahead, most, original = 0, list[float](), 0, tiny_tagger.columns

    def blocks() -> Iterator[np.ndarray]:
        nonlocal read
        for _ in range(400):
            read += RATE // 10
            yield np.full(RATE // 10, 0.1, np.float32)

    def columns(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nonlocal most
        most = max(most, images.shape[3])
        ahead.append(read / RATE - len(ahead) * 512 * 345 / RATE)
        return original(images)

    monkeypatch.setattr(tiny_tagger, "columns", columns)
    heard = LongAudio(reader.AudioStream(RATE, "x", (block[None] for block in blocks())))
    scores = tiny_tagger.frame_scores_of(heard)
    assert len(scores) == 40 * 128 / 64 and read == 40 * RATE
    assert most <= 512 + 2 * 960 and max(ahead) < 25


def test_psla_has_frames_of_32_hops() -> None:
    labels = ("a", "b", "c")
    checkpoint = Checkpoint("psla", "psla", {"heads": 1}, "fbank", {}, labels, "sigmoid")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tagger = Eager(Network(checkpoint).eval())
    assert tagger.frame_seconds == pytest.approx(0.32)
    clip = sound(2, rate=16000)
    scores = frames(tagger, clip)
    with torch.inference_mode():
        output = tagger.network(torch.from_numpy(tagger.prepare(clip)[None]))
    assert scores.shape == (7, 3)  # 224 frames, with those that the paper adds
    same(scores, output.frame_logits[0].sigmoid().numpy())
    found = Detector(tagger, EVERYTHING).detect(clip)
    assert {event.offset for event in found.events} == {2.0}


def test_frames_without_finite_numbers_are_computed_again_or_an_error(
    tiny_tagger: Eager, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, whole = sound(2), tiny_tagger.frame_logits
    expected = frames(tiny_tagger, clip)
    exact = Eager(tiny_tagger.network)

    def broken(prepared: np.ndarray) -> np.ndarray:
        logits = whole(prepared)
        assert logits is not None
        logits[:, 1, 2] = np.inf
        return logits

    monkeypatch.setattr(tiny_tagger, "frame_logits", broken)
    assert np.isnan(frames(tiny_tagger, clip)).any(1).tolist() == [False, True, False, False]
    with pytest.raises(EranntagError, match="sound0: the scores are not finite"):
        Detector(tiny_tagger, EVERYTHING).detect(clip)
    tiny_tagger.exact = lambda: exact
    same(frames(tiny_tagger, clip), expected)


# Windows


@pytest.mark.parametrize(("samples", "step"), [(40, 10.0), (41, 7.3), (10, 10.0), (8, 25.0), (1000, 33.4)])
def test_windows_lie_around_the_middles_of_the_steps(samples: int, step: float) -> None:
    rng = np.random.default_rng(0)
    for length in (1, 9, 100, 333):
        waveform = rng.standard_normal(length).astype(np.float32)
        padded = np.pad(waveform, 2 * samples + 30)
        count = math.ceil(length / step)
        starts = [round((k + 0.5) * step) - samples // 2 + 2 * samples + 30 for k in range(count)]
        for most in (3, 50, 1000):
            edges = np.unique(np.minimum(np.cumsum(rng.integers(1, most + 1, length)), length))
            blocks = [part for part in np.split(waveform, edges) if len(part)]
            windows = list(streaming.centered(blocks, samples, step))
            np.testing.assert_array_equal(np.stack(windows), [padded[start : start + samples] for start in starts])


def test_windows_come_as_the_sound_is_read_and_hold_no_more_than_they_need() -> None:
    read = 0

    def blocks() -> Iterator[np.ndarray]:
        nonlocal read
        for start in range(0, 10_000, 30):
            read += 30
            yield np.arange(start, start + 30, dtype=np.float32)

    for number, window in enumerate(streaming.centered(blocks(), 100, 20)):
        assert read <= number * 20 + 100 + 30
        assert window.base is None or window.base.size <= 2 * 100 + 2 * 30


def test_resolution_tags_a_window_around_every_frame(tiny_tagger: Eager, wav: Callable[..., Path]) -> None:
    clip = sound(2.13)
    windowed = Windowed(tiny_tagger, EVERYTHING, 0.3)
    scores = windowed.frame_scores_of(windowed.prepare_source(clip))
    assert scores.shape == (8, 4)
    padded = np.pad(clip.waveform[0], 2 * RATE)
    for frame in range(8):
        start = 2 * RATE + round((frame + 0.5) * 0.3 * RATE) - RATE  # of 2 s around its middle
        same(scores[frame], tiny_tagger.tag(Clip(padded[None, start : start + 2 * RATE], RATE)).scores)
    tiny_tagger.batch = 3
    same(Windowed(tiny_tagger, EVERYTHING, 0.3).frame_scores_of(windowed.prepare_source(clip)), scores)
    path = wav("x.wav", clip.waveform[0], subtype="FLOAT")
    (found,) = predict(windowed, [str(path)])
    assert isinstance(found, Detection) and found.seconds == pytest.approx(2.13)
    assert {(event.onset, event.offset) for event in found.events} == {(0.0, found.seconds)}


def test_windows_are_the_default_for_a_network_that_scores_no_frames(tiny_checkpoint: Checkpoint, framewise: Network) -> None:
    network = Network(tiny_checkpoint)
    network.model = Mute(128, 4)
    tagger = Eager(network.eval())
    with pytest.raises(EranntagError, match=r"^tiny: erann scores whole sounds alone"):
        Detector(tagger, EVERYTHING)
    usual = detection.detector(tagger, EVERYTHING)
    assert isinstance(usual, Windowed) and usual.frame_seconds == detection.RESOLUTION_SECONDS
    assert len(usual.detect(sound(2)).events) == 4
    assert detection.detector(tagger, EVERYTHING, 0.5).frame_seconds == 0.5
    assert type(detection.detector(Eager(framewise), EVERYTHING)) is Detector


# Ensembles


@pytest.fixture
def members(tiny_checkpoint: Checkpoint, tiny_tagger: Eager) -> list[Eager]:
    """Frames of 64 and of 128 hops, and other orders of the labels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        spec = dataclasses.replace(tiny_checkpoint, name="other", model={"s_m": 3, "width": 1}, labels=LABELS[::-1])
        network = Network(spec).train()
        for _ in range(3):
            network(0.1 * torch.randn(2, RATE))
    return [Eager(softened(network).eval()), tiny_tagger]


def by_hand(members: Sequence[Eager], clip: Clip) -> np.ndarray:
    coarse, fine = (frames(member, clip) for member in members)
    return fusion.fuse(np.stack([coarse.repeat(2, 0)[: len(fine)], fine[:, ::-1]]), fusion.WEIGHTED, "sigmoid", ())


def test_an_ensemble_fuses_frames_on_the_lattice_of_its_finest_member(members: list[Eager]) -> None:
    duo, clips = Ensemble("duo", members), [sound(2.4), sound(1, 1)]
    assert duo.labels == LABELS[::-1] and duo.frame_seconds == FRAME and members[0].frame_seconds == 2 * FRAME
    rows = duo.frame_scores(np.stack([duo.prepare(clip) for clip in clips]))
    for ours, clip in zip(rows, clips, strict=True):
        same(ours, by_hand(members, clip))
    found = Detector(duo, EVERYTHING).detect(clips[0])
    assert {event.label for event in found.events} == set(LABELS) and found.checkpoint == "duo"


@pytest.mark.slow
def test_an_ensemble_hears_a_long_sound_once_for_all_members(members: list[Eager], wav: Callable[..., Path]) -> None:
    clip = sound(13.3)
    path = str(wav("long.wav", clip.waveform[0], subtype="FLOAT"))
    expected = by_hand(members, clip)
    for member, block_frames in zip(members, (2048, 256), strict=True):  # it is long for the second alone
        member.geometry = dataclasses.replace(member.geometry, block_frames=block_frames)
    duo = Ensemble("duo", members)
    heard = duo.prepare_source(path)
    assert isinstance(heard, LongAudio)
    same(duo.frame_scores_of(heard), expected, 1e-4)
    windowed = Windowed(duo, EVERYTHING, 0.7)
    rows = windowed.frame_scores_of(windowed.prepare_source(path))
    middle = Clip(clip.waveform[:, round(6.65 * RATE) - RATE :][:, : 2 * RATE], RATE)
    assert len(rows) == 19
    same(rows[9], duo.tag(middle).scores)


# Thresholds and events


def test_thresholds_are_the_labels_then_the_users_then_the_checkpoints(tiny_checkpoint: Checkpoint) -> None:
    def of(*given: detection.Given, spec: Checkpoint = tiny_checkpoint, default: float | None = None) -> list[float]:
        return detection.thresholds(spec, given, default).round(6).tolist()

    calibrated = dataclasses.replace(tiny_checkpoint, thresholds=(0.1, 0.2, 0.3, 0.4))
    softmax = dataclasses.replace(tiny_checkpoint, activation="softmax")
    assert of() == pytest.approx([0.2] * 4) and of(spec=softmax) == [0.5] * 4
    assert of(spec=calibrated) == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert of(("rain", 0.9), spec=calibrated) == pytest.approx([0.1, 0.9, 0.3, 0.4])
    assert of(("rain", 0.9), (None, 0.7), spec=calibrated) == pytest.approx([0.7, 0.9, 0.7, 0.7])
    assert of(("rain", 0.9), default=0.0) == pytest.approx([0, 0.9, 0, 0])
    with pytest.raises(UsageError, match=r"--threshold rian=0.9: tiny has no label 'rian'; did you mean 'rain'\?"):
        of(("rian", 0.9))


def scripted(tagger: Eager, probabilities: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says these of its frames (frames, classes), whatever sounds."""
    logits = np.log(probabilities / (1 - probabilities)).astype(np.float32)
    monkeypatch.setattr(tagger, "frame_logits", lambda prepared: np.repeat(logits[None], len(prepared), 0))


def test_events_begin_at_their_threshold_and_last_while_half_of_it_is_kept(
    tiny_tagger: Eager, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.full((10, 4), 0.01)
    rows[2:7, 0] = (0.25, 0.45, 0.21, 0.21, 0.05)  # above 0.4 once, above 0.2 four frames
    rows[3:6, 1] = 0.35  # never above 0.4
    rows[9, 2] = 0.9  # in the zeros behind the sound, but for a moment
    scripted(tiny_tagger, rows, monkeypatch)
    how = detection.postprocessing(detection.thresholds(tiny_tagger.checkpoint, [(None, 0.4)]), min_length_seconds=0.0)
    dog, siren = Detector(tiny_tagger, how).detect(sound(9 * FRAME + 0.2)).events
    assert (dog.label, siren.label) == ("dog", "siren")
    assert (dog.onset, dog.offset) == (pytest.approx(2 * FRAME), pytest.approx(6 * FRAME))
    assert dog.score == pytest.approx(0.45)
    assert (siren.onset, siren.offset) == (pytest.approx(9 * FRAME), pytest.approx(9 * FRAME + 0.2, abs=1e-4))
    assert [event.label for event in Detector(tiny_tagger, how).detect(sound(9 * FRAME - 0.001)).events] == ["dog"]
    one = detection.postprocessing(detection.thresholds(tiny_tagger.checkpoint, [(None, 0.4), ("rain", 0.3)]))
    assert {event.label for event in Detector(tiny_tagger, one).detect(sound(4)).events} == {"dog", "rain"}


def test_a_gate_keeps_out_what_a_window_as_a_whole_has_not(framewise: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """2APAE's: no frame counts of a class whose own score is not above it, in each window of a long sound by itself."""
    tagger, clip = Eager(framewise), sound(9.2)
    tagger.geometry = dataclasses.replace(tagger.geometry, window_seconds=4)
    never = Postprocessing(clip=0.0)
    clip.waveform[:, : 4 * RATE] *= 1e-3  # so that the first window is another than those behind it
    free = Detector(tagger, never).frame_scores_of(tagger.prepare_source(clip))
    first, second = (tagger.tag(Clip(clip.waveform[:, i * 4 * RATE : (i + 1) * 4 * RATE], RATE)).scores for i in range(2))
    high = int(np.abs(first - second).argmax())
    least = Postprocessing(clip=float((first[high] + second[high]) / 2), high=1.0)
    same(Detector(tagger, least).frame_scores_of(tagger.prepare_source(clip)), free, 0)  # this family does not ask for it
    tagger.geometry = dataclasses.replace(tagger.geometry, clip_gate=True)
    gated = Detector(tagger, least).frame_scores_of(tagger.prepare_source(clip))
    rows, (shut, heard) = int(4 / tagger.frame_seconds), (first, second) if first[high] < second[high] else (second, first)
    closed, opened = (slice(0, rows), slice(rows, 2 * rows)) if shut is first else (slice(rows, 2 * rows), slice(0, rows))
    assert heard[high] > shut[high] and free[closed, high].min() > 0
    assert (gated[closed, high] == 0).all()
    np.testing.assert_array_equal(gated[opened, high], free[opened, high])
    short = Clip(clip.waveform[:, : 3 * RATE], RATE)
    scores = Detector(tagger, least).scores(tagger.prepare(short)[None])[0]
    assert ((scores == 0).all(0) == (tagger.tag(short).scores <= least.clip)).all()
    asked = dataclasses.replace(least, high=tuple(np.where(np.arange(4) == high, 0.01, 1.0)), low=0.0)
    assert (
        Detector(tagger, asked).frame_scores_of(tagger.prepare_source(clip))[:, high] > 0
    ).all()  # a lower threshold opens it
    monkeypatch.setattr(tagger, "logits", lambda prepared: np.full((len(prepared), 4), np.nan, np.float32))
    monkeypatch.setattr(tagger, "frame_logits", lambda prepared: np.full((len(prepared), 3, 4), np.nan, np.float32))
    with pytest.raises(EranntagError, match="not finite"):
        Detector(tagger, least).detect(short)


def test_lengths_that_are_not_given_are_the_defaults() -> None:
    high = np.array([0.4, 0.2], np.float32)
    how = detection.postprocessing(high, median_seconds=None, merge_gap_seconds=2.0)
    assert how == Postprocessing(high=tuple(high.tolist()), low=tuple((high / 2).tolist()), merge_gap_seconds=2.0)


def test_results_keep_the_order_of_the_sources_failures_among_them(
    tiny_tagger: Eager, wav: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    lengths = (0.4, 1.7, 0.9, 12.2, 1.3)
    tiny_tagger.geometry = dataclasses.replace(tiny_tagger.geometry, block_frames=512)  # the fourth is long
    sounds = [str(wav(f"{number}.wav", sound(seconds, number).waveform[0])) for number, seconds in enumerate(lengths)]
    sources = [*sounds[:2], str(tmp_path / "text.wav"), *sounds[2:], "absent.wav"]
    detector = Detector(tiny_tagger, detection.postprocessing(np.full(4, 0.3), min_length_seconds=0.0))
    alone = [detector.detect(path) for path in sounds]
    for batch in (1, 3, 10):
        results = list(predict(detector, sources, batch))
        assert [result.source for result in results] == sources
        assert [index for index, result in enumerate(results) if isinstance(result, Failure)] == [2, 6]
        for ours, expected in zip((result for result in results if isinstance(result, Detection)), alone, strict=True):
            assert [event.label for event in ours.events] == [event.label for event in expected.events] != []
            assert ours.seconds == expected.seconds and ours.frame_seconds == FRAME


# Documents

HOSTILE = '<b>a\tb\n& --> c</b>, "d" \u202e'
SHOWN = '<b>a\\x09b\\x0a& --> c</b>, "d" \\u202e'
FOUND = Detection(
    (Event("dog", 0.0, 1.25, 0.75), Event(HOSTILE, 3661.5, 3661.50001, 0.5)), 3700.25, 0.25, 22050.0, "a, b.wav", "tiny"
)
NOTHING = Detection((), 1.0, 0.25, 22050.0, "none.wav", "tiny")


def document(form: str, found: Sequence[Detection], complete: bool = True) -> str:
    style = documents.FORMATS[form]()
    return str(style.start() + "".join(map(style.record, found)) + style.finish(complete))


def test_json_and_jsonl_have_all_that_is_known() -> None:
    expected = {"source": "a, b.wav", "seconds": 3700.25, "checkpoint": "tiny", "frame_seconds": 0.25, "events": [
        {"label": "dog", "onset": 0.0, "offset": 1.25, "score": 0.75},
        {"label": HOSTILE, "onset": 3661.5, "offset": 3661.50001, "score": 0.5},
    ]}  # fmt: skip
    whole = json.loads(document("json", [FOUND, NOTHING], complete=False))
    assert (whole["schema"], whole["complete"]) == (1, False)
    assert whole["results"] == [expected, {**expected, "source": "none.wav", "seconds": 1.0, "events": []}]
    assert [json.loads(line) for line in document("jsonl", [FOUND]).splitlines()] == [{"schema": 1, **expected}]


def test_csv_has_a_row_for_each_event() -> None:
    rows = list(csv.DictReader(io.StringIO(document("csv", [NOTHING, FOUND]), newline=""), strict=True))
    assert [(row["source"], row["label"], row["checkpoint"]) for row in rows] == [
        ("a, b.wav", label, "tiny") for label in ("dog", HOSTILE)
    ]
    assert [(float(row["onset"]), float(row["offset"]), float(row["score"])) for row in rows] == [
        (event.onset, event.offset, event.score) for event in FOUND.events
    ]


def test_audacity_reads_three_columns_between_tabs() -> None:
    lines = [line.split("\t") for line in document("audacity", [FOUND]).splitlines()]
    assert [(float(onset), float(offset), label) for onset, offset, label in lines] == [
        (0.0, 1.25, "dog"), (3661.5, 3661.50001, SHOWN),
    ]  # fmt: skip


def test_raven_reads_a_selection_table() -> None:
    rows = list(csv.DictReader(io.StringIO(document("raven", [FOUND])), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [row["Selection"] for row in rows] == ["1", "2"] and [row["Annotation"] for row in rows] == ["dog", SHOWN]
    assert {(row["Low Freq (Hz)"], row["High Freq (Hz)"], row["View"], row["Channel"]) for row in rows} == {
        ("0", "22050", "Spectrogram 1", "1")
    }
    assert [(float(r["Begin Time (s)"]), float(r["End Time (s)"]), float(r["Score"])) for r in rows] == [
        (event.onset, event.offset, event.score) for event in FOUND.events
    ]
    assert document("raven", [NOTHING]).count("\n") == 1


def test_vtt_has_a_cue_for_each_event() -> None:
    """A cue that ends where it begins is none, and `-->` or a tag in a label would break it."""
    head, *cues = document("vtt", [FOUND]).rstrip("\n").split("\n\n")
    assert head == "WEBVTT"
    assert cues[0] == "00:00:00.000 --> 00:00:01.250\ndog"
    assert cues[1].splitlines()[0] == "01:01:01.500 --> 01:01:01.501"
    assert cues[1].splitlines()[1:] == [SHOWN.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")]
    assert documents._clock(59.9999) == "00:01:00.000"


# The command


@pytest.fixture
def model(tiny_tagger: Eager, tmp_path: Path) -> str:
    weights.save(tiny_tagger.network, tmp_path / "tiny.safetensors")
    return str(tmp_path / "tiny.safetensors")


@pytest.fixture
def clip(wav: Callable[..., Path]) -> str:
    return str(wav("clip.wav", sound(3.2).waveform[0]))


def run(name: str, model: str, *args: str | Path, **options: Any) -> Result:
    return CliRunner().invoke(cli, [name, "-c", model, "--engine", "eager", *map(str, args)], **options)


def test_a_table_says_what_sounds_when(model: str, clip: str) -> None:
    """A threshold of 0 finds everything everywhere."""
    result = run("detect", model, clip, "--threshold", "0")
    assert (result.exit_code, result.stderr) == (0, "")
    head, *lines = result.stdout.splitlines()
    assert head == f"{clip}  3.2 s" and len(lines) == 4
    assert {tuple(line.split()[:2]) for line in lines} == {("0.00", "3.20")}
    assert {line.split("  ")[-1] for line in lines} == set(LABELS)
    assert run("detect", model, clip, "--threshold", "1").stdout == f"{clip}  3.2 s\n  no event\n"


def test_options_of_events_reach_them(model: str, clip: str) -> None:
    def found(*options: str) -> list[dict[str, Any]]:
        result = run("detect", model, clip, "--format", "jsonl", *options)
        assert (result.exit_code, result.stderr) == (0, "")
        record = json.loads(result.stdout)
        assert record["frame_seconds"] == pytest.approx(FRAME if "--resolution" not in options else 0.2, abs=1e-6)
        return list(record["events"])

    assert len(found("--threshold", "0")) == 4
    assert len(found("--threshold", "0", "--resolution", "0.2", "--median", "0.6")) == 4
    assert found("--threshold", "0", "--min-seconds", "3.6") == []
    only = found("--threshold", "1", "--threshold", "door, slamming=0")
    assert [event["label"] for event in only] == ["door, slamming"]


def test_exit_codes_say_how_much_failed(model: str, clip: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_text("no sound")
    assert run("detect", model, clip).exit_code == 0
    some = run("detect", model, clip, broken, clip, "--format", "jsonl")
    assert some.exit_code == 3 and len(some.stdout.splitlines()) == 2
    assert some.stderr.startswith(f"eranntag: {broken}: ") and some.stderr.count("\n") == 1
    assert run("detect", model, broken, "nowhere.wav").exit_code == 1
    assert run("detect", model).exit_code == 2


@pytest.mark.parametrize("form", documents.ALONE)
def test_formats_of_one_sound_refuse_two(form: str, model: str, clip: str) -> None:
    assert run("detect", model, clip, "--format", form, "--threshold", "0").exit_code == 0
    for several in ((clip, clip), (Path(clip).parent,)):
        result = run("detect", model, *several, "--format", form)
        assert result.exit_code == 2 and "--output-dir" in result.stderr and result.stdout == ""


def test_a_folder_gets_a_file_for_each_sound(model: str, clip: str, wav: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    other, twin = wav("other.sound.wav", sound(1).waveform[0]), wav("sub/clip.flac", sound(1).waveform[0])
    args = (clip, other, twin, "nowhere.wav", "--threshold", "0", "--output-dir", "new/labels")
    result = run("detect", model, *args, "--format", "audacity")
    assert result.exit_code == 3 and result.stdout == ""
    assert sorted(os.listdir("new/labels")) == [".eranntag.journal", "clip.txt", "other.sound.txt"]
    assert Path("new/labels/clip.txt").read_text() == run("detect", model, clip, *args[4:6], "--format", "audacity").stdout
    assert f"{twin}: new/labels/clip.txt holds the result of {clip}" in result.stderr and "nowhere.wav" in result.stderr
    assert run("detect", model, *args, "--format", "vtt").exit_code == 3
    assert Path("new/labels/other.sound.vtt").read_text().startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n")


def test_output_holds_what_would_go_to_stdout(model: str, clip: str) -> None:
    for form in documents.FORMATS:
        result = run("detect", model, clip, "--format", form, "-o", "out", "--overwrite")
        assert (result.exit_code, result.output) == (0, "")
        assert Path("out").read_text() == run("detect", model, clip, "--format", form).stdout
    assert os.listdir() == ["out"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("--threshold 1.5", "'1.5' is not a number from 0 to 1, or LABEL=NUMBER"),
        ("--threshold rain=x", "'rain=x' is not"),
        ("--threshold nan", "'nan' is not"),
        ("--threshold rian=0.5", "did you mean 'rain'?"),
        ("--resolution 0", "--resolution"),
        ("--min-seconds -1", "--min-seconds"),
        ("--format vtt --output-dir x -o y", "not to both"),
    ],
)
def test_wrong_options_are_one_line(args: str, words: str, model: str, clip: str) -> None:
    result = run("detect", model, clip, *args.split())
    assert result.exit_code == 2 and words in result.stderr
    assert result.stderr.count("\n") == 1 and result.stdout == ""


def test_the_command_takes_windows_of_a_family_without_frames(
    model: str, clip: str, monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: Checkpoint
) -> None:
    @cache
    def mute(*_: Any, **__: Any) -> Tagger:
        network = Network(tiny_checkpoint)
        network.model = Mute(128, 4)
        return Eager(network.eval())

    monkeypatch.setattr("eranntag.checkpoints.loading.load", lambda *_, **__: mute())
    for options, seconds in (((), 1.0), (("--resolution", "0.5"), 0.5)):
        result = run("detect", model, clip, "--format", "jsonl", *options)
        assert result.exit_code == 0 and json.loads(result.stdout)["frame_seconds"] == seconds


def test_predict_takes_thresholds_of_labels(model: str, clip: str) -> None:
    def tags(*options: str) -> list[str]:
        result = run("predict", model, clip, "--format", "jsonl", *options)
        assert (result.exit_code, result.stderr) == (0, "")
        return [tag["label"] for tag in json.loads(result.stdout)["tags"]]

    everything = tags()
    assert sorted(everything) == sorted(LABELS)
    assert tags("--threshold", f"{everything[0]}=1") == everything[1:]
    assert tags("--threshold", "1", "--threshold", f"{everything[2]}=0") == [everything[2]]
    assert "did you mean 'rain'" in run("predict", model, clip, "--threshold", "rian=0.5").stderr


def test_what_is_nearly_all_behind_the_end_is_no_event(tiny_tagger: Eager, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last frame of a sound of nine frames and 5 ms is half a second long; but a sound may be as short as that itself."""
    rows = np.full((10, 4), 0.01)
    rows[9, 2] = 0.9
    scripted(tiny_tagger, rows, monkeypatch)
    how = detection.postprocessing(np.full(4, 0.5, np.float32))
    assert not Detector(tiny_tagger, how).detect(sound(9 * FRAME + 0.005)).events
    assert Detector(tiny_tagger, how).detect(sound(9 * FRAME + 0.4)).events
    scripted(tiny_tagger, rows[9:], monkeypatch)
    assert [event.offset for event in Detector(tiny_tagger, how).detect(sound(0.005)).events] == [
        pytest.approx(0.005, abs=1e-4)
    ]
