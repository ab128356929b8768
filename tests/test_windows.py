"""A long sound of a network that cannot take it in blocks: windows, one at a time, and the mean of what they say."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from functools import partialmethod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runs
import torch

from eranntag.audio import reader
from eranntag.checkpoints import weights
from eranntag.engines.eager import Eager
from eranntag.errors import EranntagError
from eranntag.features._logmel_numpy import Config
from eranntag.inference import streaming
from eranntag.inference.network import Network
from eranntag.inference.network_tagger import NetworkTagger
from eranntag.inference.prepared import LongAudio
from eranntag.inference.streaming import Geometry
from eranntag.types import Checkpoint, Clip

RATE = 44100


class Loudness(NetworkTagger):
    """Its logits are the mean and the largest amplitude of what it gets, and it notes how much that is."""

    def __init__(self, checkpoint: Checkpoint, config: Any) -> None:
        super().__init__(checkpoint, config, Geometry(frame_multiple=1))
        self.heard: list[int] = []

    def pooled(self, prepared: np.ndarray) -> np.ndarray:
        return np.stack([np.abs(prepared).mean(1), np.abs(prepared).max(1)], 1)

    def frame_logits(self, prepared: np.ndarray) -> None:
        return None

    def columns(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raise AssertionError("it has no columns")

    def classify(self, pooled: np.ndarray) -> np.ndarray:
        raise AssertionError("it has no columns")

    def logits(self, prepared: np.ndarray) -> np.ndarray:
        self.heard.append(prepared.shape[1])
        loud = np.abs(prepared)
        return np.stack([loud.mean(1), loud.max(1), loud.mean(1) - 1, -loud.max(1)], 1)


@pytest.fixture
def loudness(tiny_checkpoint: Checkpoint) -> Loudness:
    """1600 samples a second, so that minutes cost nothing."""
    return Loudness(tiny_checkpoint, Config(sample_rate_hz=1600, window_samples=48, hop_samples=12, n_mels=3, fmax_hz=700.0))


def noise(samples: int, rate: int = 1600, channels: int = 1) -> Clip:
    """It grows, so that no two parts are alike."""
    waveform = np.random.default_rng(0).standard_normal((channels, samples)) * np.linspace(0, 1, samples)
    return Clip(waveform.astype(np.float32), rate, "noise")


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


# The cut


@pytest.mark.parametrize("most", [1, 7, 100, 1000])
@pytest.mark.parametrize("length", [1, 99, 100, 101, 200, 250, 301])
def test_windows_are_the_sound_in_order(length: int, most: int) -> None:
    sound, rng = np.arange(length), np.random.default_rng(length)
    edges = np.cumsum(rng.integers(1, most + 1, length))
    parts = list(streaming.windows((part for part in np.split(sound, edges[edges < length])), 100))
    assert np.array_equal(np.concatenate(parts), sound)
    assert [len(part) for part in parts[:-1]] == [100] * (-(-length // 100) - 1) and 1 <= len(parts[-1]) <= 100


def test_a_window_is_given_as_soon_as_it_is_read() -> None:
    """When it comes, at most one block more than it has been read, and no earlier one is held."""
    read = 0

    def blocks() -> Iterator[np.ndarray]:
        nonlocal read
        for start in range(0, 1000, 30):
            read += 30
            yield np.arange(start, start + 30)

    for number, window in enumerate(streaming.windows(blocks(), 100), 1):
        assert len(window) <= 100 and read <= 100 * number + 30
        base = window if window.base is None else window.base
        assert base.size <= 100 + 2 * 30


# The mean


@pytest.mark.parametrize("seconds", [61, 120, 120.5, 185.3])
def test_long_sound_is_the_mean_of_its_windows_by_their_length(seconds: float, loudness: Loudness) -> None:
    clip = noise(round(seconds * 1600))
    prediction = loudness.tag(clip)
    windows = np.split(clip.waveform[0], range(60 * 1600, clip.waveform.shape[1], 60 * 1600))
    expected, total = np.zeros(4), 0
    for window in windows:
        padded = np.pad(window, (0, loudness.frontend.padded_samples(len(window)) - len(window)))
        loud = np.abs(padded)
        expected += len(window) * sigmoid(np.array([loud.mean(), loud.max(), loud.mean() - 1, -loud.max()]))
        total += len(window)
    np.testing.assert_allclose(prediction.scores, expected / total, rtol=1e-5)
    assert prediction.scores.dtype == np.float32 and prediction.seconds == clip.seconds
    assert len(loudness.heard) == len(windows) and max(loudness.heard) == loudness.frontend.padded_samples(60 * 1600)


def test_for_a_family_that_says_so_the_highest_window_counts(loudness: Loudness) -> None:
    """2APAE: one window that has a class is enough."""
    loudness.geometry = dataclasses.replace(loudness.geometry, aggregate="max")
    clip = noise(round(130.5 * 1600))
    windows = [
        loudness.scores(loudness.prepare(Clip(part, 1600))[None])[0] for part in np.split(clip.waveform, [96000, 192000], 1)
    ]
    np.testing.assert_allclose(loudness.tag(clip).scores, np.max(windows, 0), rtol=1e-6)
    assert (windows[0] != windows[1]).all()


def test_a_minute_is_one_piece_and_a_sample_more_is_not(loudness: Loudness) -> None:
    assert loudness.longest_seconds == 60
    clip = noise(60 * 1600)
    whole = loudness.tag(clip)
    assert len(loudness.heard) == 1
    np.testing.assert_array_equal(whole.scores, loudness.scores(loudness.prepare(clip)[None])[0])
    more = loudness.tag(noise(60 * 1600 + 1))
    assert len(loudness.heard) == 4  # two windows, of which the last weighs next to nothing
    np.testing.assert_allclose(more.scores, whole.scores, atol=1e-4)


def test_sounds_of_other_rates_and_channels(loudness: Loudness, wav: Callable[..., Path]) -> None:
    clip = noise(round(150.5 * 4000), 4000, 2)
    path = wav("x.wav", clip.waveform.T, 4000, subtype="FLOAT")
    ours, expected = loudness.tag(path), loudness.tag(Clip(loudness.waveform(clip)[None, : round(150.5 * 1600)], 1600, "x"))
    np.testing.assert_allclose(ours.scores, expected.scores, atol=1e-4)
    assert ours.seconds == 150.5 and len(loudness.heard) == 6


def test_one_window_is_computed_at_a_time(
    loudness: Loudness, wav: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an hour no more than a window and a block are read ahead of the network."""
    given, ahead, original = 0, list[float](), loudness.logits
    clip = noise(3600 * 1600)

    def blocks() -> Iterator[np.ndarray]:
        nonlocal given
        for start in range(0, 3600 * 1600, 4096):
            part = clip.waveform[0, start : start + 4096]
            given += len(part)
            yield part

    def logits(prepared: np.ndarray) -> np.ndarray:
        ahead.append(given - 60 * 1600 * len(ahead))
        return original(prepared)

    monkeypatch.setattr(loudness, "logits", logits)
    prediction = loudness.predict_long(LongAudio(reader.AudioStream(1600, "x", (block[None] for block in blocks()))))
    assert len(ahead) == 60 and max(ahead) <= 60 * 1600 + 4096 and prediction.seconds == 3600


def test_a_window_without_finite_numbers_is_an_error(loudness: Loudness, monkeypatch: pytest.MonkeyPatch) -> None:
    original = loudness.logits
    monkeypatch.setattr(
        loudness, "logits", lambda x: np.full((1, 4), np.nan, np.float32) if len(loudness.heard) == 1 else original(x)
    )
    with pytest.raises(EranntagError, match="noise: the scores are not finite"):
        loudness.tag(noise(130 * 1600))


# Real networks


def network(model: dict[str, Any], family: str, frontend: str, **config: Any) -> Network:
    """It has heard noise, so that its scores are not saturated."""
    spec = Checkpoint(name="x", family=family, model=model, frontend_family=frontend, frontend=config,
                      labels=("dog", "rain", "siren"), activation="sigmoid")  # fmt: skip
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        built = Network(spec).train()
        rate = built.frontend.config.sample_rate_hz
        for seconds in (1, 1, 2, 1, 1) * 4:
            built(0.1 * torch.randn(2, built.frontend.config.padded_samples(seconds * rate, built.model.frame_multiple)))
    return built.eval()


ERANN = {"s_m": 0, "width": 1}


@pytest.fixture(scope="module")
def learned() -> Network:
    return network(ERANN, "erann", "wavegram", n_channels=32)


def test_who_needs_windows(learned: Network, tiny_checkpoint: Checkpoint) -> None:
    """Families that attend to the whole sound, front-ends that are learned or have other frames; the rest is exact."""
    exact = Eager(Network(dataclasses.replace(tiny_checkpoint, frontend_family="mfcc", frontend={})))
    assert exact._frames is not None and exact.longest_seconds == exact.geometry.block_frames / 128
    for other in (learned, Network(dataclasses.replace(tiny_checkpoint, frontend_family="fbank", frontend={}))):
        assert Eager(other)._frames is None and Eager(other).longest_seconds == 60
    with torch.device("meta"):
        psla = Network(dataclasses.replace(tiny_checkpoint, family="psla", model={}))
    assert Eager(psla)._frames is None  # squeeze-and-excitation


@pytest.mark.parametrize("made", ["learned", "cnn14", "fbank"])
def test_real_networks_give_the_mean_of_their_windows(made: str, learned: Network) -> None:
    if made == "learned":
        ours = Eager(learned)
    elif made == "cnn14":
        ours = Eager(network({"channels": 2}, "cnn14", "logmel"))
    else:
        ours = Eager(network(ERANN, "erann", "fbank"))
    ours.geometry = dataclasses.replace(ours.geometry, window_seconds=2)
    rate = ours.frontend.sample_rate_hz
    clip = noise(round(5.3 * rate), rate)
    parts = [Clip(clip.waveform[:, start : start + 2 * rate], rate, "part") for start in (0, 2 * rate, 4 * rate)]
    scores = np.array([ours.tag(part).scores for part in parts])
    assert np.ptp(scores, 0).max() > 1e-3
    shares = np.array([2, 2, 1.3]) / 5.3
    np.testing.assert_allclose(ours.tag(clip).scores, shares @ scores, rtol=1e-5, atol=1e-6)
    vectors = np.array([ours.embeddings(ours.prepare(part)[None])[0] for part in parts])
    assert vectors.shape == (3, ours.network.model.embedding_size) and np.ptp(vectors, 0).max() > 1e-3
    np.testing.assert_allclose(ours.embed_long(ours.prepare_source(clip)), shares @ vectors, rtol=1e-5, atol=1e-6)


def test_predict_takes_long_files(
    learned: Network, tmp_path: Path, wav: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside short ones, in any engine."""
    monkeypatch.setenv("ERANNTAG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Geometry, "__init__", partialmethod(Geometry.__init__, window_seconds=2))
    weights.save(learned, tmp_path / "x.safetensors", half=False)
    clip = noise(5 * RATE, RATE)
    files = [
        wav(f"{name}.wav", clip.waveform[0, :samples], subtype="FLOAT") for name, samples in (("a", RATE), ("b", 5 * RATE))
    ]
    expected = [Eager(learned).tag(path) for path in files]
    for engine in ("eager", "torch", "openvino"):
        if engine == "openvino":
            pytest.importorskip("openvino")
        options = ("--device", "cpu", "--engine", engine, "--dtype", "float32", "--format", "jsonl", "--top", 3)
        result = runs.command("predict", "-c", tmp_path / "x.safetensors", *files, *options)
        assert result.exit_code == 0, result.stderr
        for line, prediction in zip(map(json.loads, result.stdout.splitlines()), expected, strict=True):
            scores = {tag["label"]: tag["score"] for tag in line["tags"]}
            assert scores == pytest.approx(dict(zip(prediction.labels, prediction.scores, strict=True)), abs=2e-4)
