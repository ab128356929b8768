"""predict: one result for each source, in order, the same in any batch, whatever is broken around it."""

import dataclasses
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

import eranntag
from eranntag.audio import reader
from eranntag.checkpoints import weights
from eranntag.engines.eager import Eager
from eranntag.inference.network import Network
from eranntag.inference.pipeline import predict, readers
from eranntag.inference.tagger import Tagger
from eranntag.types import Checkpoint, Clip, Failure, Prediction

Writer = Callable[..., Path]
LENGTHS = (0.4, 1.7, 0.9, 1.0, 2.2, 0.1, 1.3)  # seconds


@pytest.fixture
def sounds(wav: Writer) -> list[str]:
    """Noise of one, two and three seconds after padding, in mixed order."""
    rng = np.random.default_rng(0)
    return [str(wav(f"{i}.wav", rng.normal(0, 0.02 * (i + 1), int(44100 * s)))) for i, s in enumerate(LENGTHS)]


@pytest.fixture
def softmax_tagger(tiny_checkpoint: Checkpoint, tiny_tagger: Eager) -> Tagger:
    network = Network(dataclasses.replace(tiny_checkpoint, activation="softmax"))
    network.load_state_dict(tiny_tagger.network.state_dict())
    return Eager(network.eval())


def scores(results: Iterator[Prediction | Failure]) -> np.ndarray:
    return np.stack([result.scores for result in results if isinstance(result, Prediction)])


def test_results_keep_the_order_of_the_sources_failures_among_them(
    tiny_tagger: Eager, sounds: list[str], tmp_path: Path
) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    sources = [*sounds[:2], str(tmp_path / "text.wav"), *sounds[2:], str(tmp_path / "absent.wav"), sounds[0]]
    failures = [Failure("folder", "no sound files in this folder")]
    for batch in (1, 4, 100):
        results = list(predict(tiny_tagger, [*failures, *sources], batch))
        assert [result.source for result in results] == ["folder", *sources]
        broken = [index for index, result in enumerate(results) if isinstance(result, Failure)]
        assert broken == [0, 3, len(sources) - 1]


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_scores_depend_on_the_clip_alone(tiny_tagger: Eager, sounds: list[str], batch: int) -> None:
    alone = np.stack([tiny_tagger.tag(path).scores for path in sounds])
    np.testing.assert_allclose(scores(predict(tiny_tagger, sounds, batch)), alone, atol=1e-5)
    np.testing.assert_allclose(scores(predict(tiny_tagger, sounds[::-1], batch)), alone[::-1], atol=1e-5)
    assert np.ptp(alone, axis=0).min() > 1e-3  # the clips differ, or the comparison would say nothing


@pytest.mark.parametrize("batch", [1, 4])
def test_sources_are_taken_only_as_they_are_needed(tiny_tagger: Eager, sounds: list[str], batch: int) -> None:
    taken = 0

    def names() -> Iterator[str]:
        nonlocal taken
        for _ in range(10_000):
            taken += 1
            yield sounds[3]

    results = predict(tiny_tagger, names(), batch)
    for given, _ in enumerate(islice(results, 9), 1):
        assert taken <= given + (2 * tiny_tagger.parallel + 2) * batch + readers()


def test_every_kind_of_broken_file_is_a_failure_with_a_reason_of_one_line(
    tiny_tagger: Eager, sounds: list[str], wav: Writer, tmp_path: Path
) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.mp3").write_text("no sound\n" * 99)
    (tmp_path / "cut.wav").write_bytes(Path(sounds[0]).read_bytes()[:5000])
    (tmp_path / "link.wav").symlink_to("nowhere.wav")
    wav("nan.wav", np.full(100, np.nan), subtype="FLOAT")
    wav("none.wav", np.zeros(0))
    names = ["empty.wav", "text.mp3", "cut.wav", "link.wav", "nan.wav", "none.wav", "absent.wav", "."]
    results = list(predict(tiny_tagger, [str(tmp_path / name) for name in names] + sounds[:1]))
    assert isinstance(results.pop(), Prediction)
    for result in results:
        assert isinstance(result, Failure)
        assert result.reason and "\n" not in result.reason and result.source not in result.reason


def test_whatever_a_decoder_throws_concerns_its_file_alone(
    tiny_tagger: Eager, sounds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = reader.open_stream
    monkeypatch.setattr(reader, "open_stream", lambda path, name: stream(path) if path != sounds[1] else 1 // 0)
    first, broken, third = predict(tiny_tagger, sounds[:3])
    assert broken == Failure(sounds[1], "integer division or modulo by zero")
    assert isinstance(first, Prediction) and isinstance(third, Prediction)


def test_a_batch_that_is_too_large_is_computed_one_by_one(
    tiny_tagger: Eager, sounds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tiny_tagger.scores

    def small(waveforms: np.ndarray) -> np.ndarray:
        if len(waveforms) > 1 or waveforms.shape[1] > 2 * 44100:
            raise torch.OutOfMemoryError("no memory\nfor that")
        return whole(waveforms)

    monkeypatch.setattr(tiny_tagger, "scores", small)
    results = list(predict(tiny_tagger, sounds, batch=7))
    assert [result for result in results if isinstance(result, Failure)] == [Failure(sounds[4], "no memory")]


def test_scores_that_are_not_finite_are_a_failure(
    tiny_tagger: Eager, sounds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_tagger, "logits", lambda waveforms: np.full((len(waveforms), 4), np.inf, np.float32))
    (result,) = predict(tiny_tagger, sounds[:1])
    assert result == Failure(sounds[0], "the scores are not finite in float32")
    tiny_tagger.dtype = "float16"
    (result,) = predict(tiny_tagger, sounds[:1])
    assert result == Failure(sounds[0], "the scores are not finite in float16; try --dtype float32")


def test_stereo_is_the_mean_of_its_channels(tiny_tagger: Eager, wav: Writer) -> None:
    channels = np.random.default_rng(1).normal(0, [0.3, 0.01], (44100, 2)).astype(np.float32)
    stereo = wav("stereo.wav", channels, subtype="FLOAT")
    mono = wav("mono.wav", channels.mean(1), subtype="FLOAT")
    left = wav("left.wav", channels[:, 0], subtype="FLOAT")
    both, mean, one = scores(predict(tiny_tagger, map(str, (stereo, mono, left))))
    np.testing.assert_allclose(both, mean, atol=1e-6)
    assert np.abs(both - one).max() > 1e-3


@pytest.mark.parametrize("waveform", [np.full(441, 0.1), np.ones(1), np.zeros(44100), np.sign(np.sin(np.arange(44100)))])
def test_a_blink_silence_and_the_loudest_sound_have_probabilities(
    softmax_tagger: Tagger, wav: Writer, waveform: np.ndarray
) -> None:
    (row,) = scores(predict(softmax_tagger, [str(wav("odd.wav", waveform))]))
    assert np.isfinite(row).all() and row.min() >= 0
    assert row.sum() == pytest.approx(1, abs=1e-5)


def test_a_loaded_tagger_tags_paths_clips_and_open_files_alike(tiny_tagger: Eager, sounds: list[str], tmp_path: Path) -> None:
    weights.save(tiny_tagger.network, tmp_path / "tiny.safetensors")
    tagger = eranntag.load(tmp_path / "tiny.safetensors", device="cpu")
    clip = eranntag.read(sounds[1])
    with open(sounds[1], "rb") as file:
        predictions = [tagger.tag(source) for source in (sounds[1], Path(sounds[1]), clip, Clip(clip.waveform, 44100), file)]
    assert [prediction.top(5) for prediction in predictions] == [predictions[0].top(5)] * 5
    assert {tag.label for tag in predictions[0].top(5)} == set(tagger.labels)
    assert [prediction.source for prediction in predictions[:4]] == [sounds[1]] * 3 + [""]
    assert predictions[0].checkpoint == "tiny"
    assert predictions[0].seconds == pytest.approx(1.7)
