"""Views of sounds: lanes and events are those of the network, images and MP3s those of the sound, whatever its length."""

import dataclasses
import io
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile

from eranntag.engines.eager import Eager
from eranntag.errors import AudioError
from eranntag.inference import detector as detection
from eranntag.inference.detector import Detector, Windowed
from eranntag.inference.ensemble import Ensemble
from eranntag.inference.pipeline import predict
from eranntag.types import Failure, Prediction
from eranntag.visualization import preview, spectrogram as spectrograms, timeline
from eranntag.visualization.preview import iter_previews, render_preview
from eranntag.visualization.timeline import View, Viewer

RATE = 44100
EVENTS = detection.postprocessing(np.full(4, 0.5), min_length_seconds=0.0)

mp3 = pytest.mark.skipif("MP3" not in soundfile.available_formats(), reason="libsndfile without MP3")


def noise(seconds: float, rate: int = RATE, seed: int = 0) -> np.ndarray:
    return 1e-3 * np.random.default_rng(seed).standard_normal(round(seconds * rate))


def tone(seconds: float, hz: float, begin: float, end: float, rate: int = RATE) -> np.ndarray:
    """Noise, in which a loud tone sounds from `begin` to `end`."""
    at = np.arange(round(seconds * rate)) / rate
    return noise(seconds, rate) + 0.5 * ((at >= begin) & (at < end)) * np.sin(2 * np.pi * hz * at)


def sounding(image: np.ndarray, seconds: float) -> tuple[float, float]:
    """Seconds at which the image's loudest band begins and ends to be within 20 dB of its loudest."""
    loud = np.flatnonzero(image.max(0) > image.max() - 20)
    return loud[0] * seconds / image.shape[1], (loud[-1] + 1) * seconds / image.shape[1]


# The sound


@pytest.mark.parametrize(
    ("rate", "seconds", "hz"),
    [(44100, 3.0, 3000), (8000, 3.0, 440), (96000, 1.5, 12000), (44100, 62.0, 500), (31250, 61.0, 3000)],
)
def test_a_tone_is_bright_in_its_band_while_it_sounds(rate: int, seconds: float, hz: float, wav: Callable[..., Path]) -> None:
    preview = render_preview(wav("tone.wav", tone(seconds, hz, seconds / 2, seconds * 0.75, rate), rate))
    assert preview.highest_hz == min(rate / 2, 22050) and preview.mel.dtype == np.float32
    assert preview.mel.shape == (64, min(1000, 100 * seconds))
    edges = spectrograms.band_edges_hz(preview.highest_hz)
    loudest = preview.mel[:, int(preview.mel.shape[1] * 0.6)].argmax()
    assert edges[loudest] <= hz <= edges[loudest + 2]
    tolerance = max(0.03, 1.5 * seconds / preview.mel.shape[1])  # half a window, or a column
    assert sounding(preview.mel, seconds) == pytest.approx((seconds / 2, seconds * 0.75), abs=tolerance)
    assert bool(preview.mp3) == (seconds <= 60 and "MP3" in soundfile.available_formats())


def test_the_image_is_librosas_mel_spectrogram(wav: Callable[..., Path]) -> None:
    waveform = tone(1.0, 3000, 0.2, 0.6).astype(np.float32)
    surrounded = np.concatenate([np.zeros(1024 - 220, np.float32), waveform, np.zeros(2048, np.float32)])
    options = {"sr": RATE, "n_fft": 2048, "hop_length": 441, "n_mels": 64, "fmin": 0, "fmax": 22050, "center": False}
    expected = 10 * np.log10(librosa.feature.melspectrogram(y=surrounded, **options)[:, :100])
    image = render_preview(wav("tone.wav", waveform, subtype="FLOAT")).mel
    assert image.shape == (64, 100)
    np.testing.assert_allclose(image, expected, rtol=0, atol=0.02)


def test_columns_are_mean_powers_however_the_sound_comes() -> None:
    """Three minutes of frames are merged twice; energy is neither lost nor doubled on the way."""
    sound, image = tone(181.3, 1000, 120, 121), {}
    for step in (len(sound), 100_003):
        spectrogram = spectrograms.Spectrogram(RATE, 25)
        for at in range(0, len(sound), step):
            spectrogram.add(sound[at : at + step].astype(np.float32))
            power = spectrogram._power
            assert power.sums.shape[1] < 2 * spectrograms.COLUMNS and power.rest.shape[1] <= len(sound) / 1764
        image[step] = spectrogram.image()
    same, whole = image.values()
    np.testing.assert_allclose(same, whole, rtol=0, atol=1e-3)
    assert whole.shape == (64, 1000) and power.merged == 4
    assert sounding(whole, 181.3) == pytest.approx((120, 121), abs=2 * 0.1813)
    everything = spectrograms.Spectrogram(RATE, 25)._log_mel(sound.astype(np.float32), spectrogram.config)
    assert 10 * np.log10((10 ** (whole / 10)).mean()) == pytest.approx(
        10 * np.log10((10 ** (everything / 10)).mean()), abs=0.05
    )


@mp3
def test_the_mp3_is_the_sound(wav: Callable[..., Path]) -> None:
    waveform = np.stack([tone(2.5, 700, 0, 2.5), tone(2.5, 700, 0, 2.5)], 1)
    heard, rate = soundfile.read(io.BytesIO(render_preview(wav("tone.wav", waveform)).mp3))
    assert rate == 32000 and heard.ndim == 1 and len(heard) / rate == pytest.approx(2.5, abs=0.1)
    spectrum = np.abs(np.fft.rfft(heard[8000:40000]))  # a second, so that a bin is 1 Hz
    assert spectrum.argmax() == 700 and np.abs(heard).max() == pytest.approx(0.5, abs=0.05)
    assert len(render_preview(wav("tone.wav", waveform)).mp3) < 2.5 * 9000


@pytest.mark.parametrize("samples", [1, 40, 441, 500])
def test_very_short_sounds_have_a_picture(samples: int, wav: Callable[..., Path]) -> None:
    image = render_preview(wav("short.wav", noise(1)[:samples] + 0.1)).mel
    assert image.shape == (64, -(-samples // 441)) and np.isfinite(image).all()


# The network


def test_a_view_is_what_predict_and_detect_say(tiny_tagger: Eager, wav: Callable[..., Path]) -> None:
    """Of short and of long sounds, in batches; what fails is a failure as it is there."""
    lengths = (1.2, 3.3, 1.2, 9.1)
    tiny_tagger.geometry = dataclasses.replace(tiny_tagger.geometry, block_frames=512)  # the fourth is long
    files = [str(wav(f"{number}.wav", 100 * noise(seconds, seed=number))) for number, seconds in enumerate(lengths)]
    detector = Detector(tiny_tagger, EVENTS)
    for batch in (1, 4):
        results = list(predict(Viewer(detector), [*files[:1], "absent.wav", *files[1:]], batch))
        assert results.pop(1) == Failure("absent.wav", "no such file")
        for view, predicted, detected in zip(
            results, predict(tiny_tagger, files, batch), predict(detector, files, batch), strict=True
        ):
            assert isinstance(view, View) and view.detection == detected
            assert view.prediction.to_dict() == predicted.to_dict()
            assert set(view.labels) == set(tiny_tagger.labels) and view.lanes.dtype == np.float32


@pytest.mark.parametrize("seconds", [1.3, 9.1])
def test_lanes_cover_the_seconds_of_the_sound(seconds: float, tiny_tagger: Eager, wav: Callable[..., Path]) -> None:
    """At each time the highest score of the frames that the column touches, and none of the zeros behind the sound."""
    tiny_tagger.geometry = dataclasses.replace(tiny_tagger.geometry, block_frames=512)
    path = str(wav("sound.wav", 100 * noise(seconds)))
    detector = Detector(tiny_tagger, EVENTS)
    frames, length = detector.frame_scores_of(detector.prepare_source(path)), detector.frame_seconds
    [view] = predict(Viewer(detector), [path])
    columns = view.lanes.shape[1]
    assert columns == 10 * int(np.ceil(seconds / length))
    for label, lane in zip(view.labels, view.lanes, strict=True):
        scores = frames[:, tiny_tagger.labels.index(label)]
        for column in range(columns):
            within = (np.arange(len(scores)) * length < (column + 1) * seconds / columns - 1e-6) & (
                (np.arange(len(scores)) + 1) * length > column * seconds / columns + 1e-6
            )
            assert lane[column] == scores[within].max()


def test_an_hour_has_as_many_lanes_columns_as_a_screen() -> None:
    scores = np.zeros((225_000, 3), np.float32)
    scores[100_000, 1] = 0.9
    lanes = timeline._lanes(scores, 225_000 - 0.3)
    assert lanes.shape == (3, timeline.COLUMNS) and lanes.sum() == pytest.approx(0.9) and lanes[1].argmax() == 444


def test_the_best_labels_are_those_with_events_then_those_with_the_highest_scores() -> None:
    labels = tuple(f"label {index}" for index in range(20))
    scores, highest = np.linspace(0.5, 0, 20, dtype=np.float32), np.zeros(20, np.float32)
    highest[19] = 0.9  # for a moment
    events = tuple(detection.Event(labels[index], 0, 1, 0.5) for index in (15, 12, 15))
    found = timeline._best(Prediction(labels, scores, 5.0), detection.Detection(events, 5.0, 0.5, RATE / 2), highest)
    assert found == [12, 15, 0, 1, 2, 3, 4, 19]


@pytest.mark.slow
def test_windows_and_ensembles_are_viewed_too(tiny_tagger: Eager, wav: Callable[..., Path]) -> None:
    path = str(wav("sound.wav", 100 * noise(2.4)))
    duo = Ensemble("duo", [tiny_tagger, tiny_tagger])
    for tagger in (tiny_tagger, duo):
        for detector in (Detector(tagger, EVENTS), Windowed(tagger, EVENTS, 0.25)):
            [view] = predict(Viewer(detector), [path])
            assert isinstance(view, View), view
            assert view.detection == detector.detect(path) and view.prediction.to_dict() == tagger.tag(path).to_dict()
            assert view.lanes.shape == (4, 10 * int(np.ceil(2.4 / detector.frame_seconds)))


def test_nobody_waits_for_a_long_sound_that_nobody_wants(tiny_tagger: Eager, wav: Callable[..., Path]) -> None:
    tiny_tagger.geometry = dataclasses.replace(tiny_tagger.geometry, block_frames=256)
    path = str(wav("sound.wav", noise(6)))
    viewer, stopped = Viewer(Detector(tiny_tagger, EVENTS)), threading.Event()
    viewer.close()
    with pytest.raises(InterruptedError):
        viewer.predict_long(viewer.prepare_source(path))
    stopped.set()
    with pytest.raises(InterruptedError):
        render_preview(path, stopped)


def test_previews_come_in_order_and_failures_stay(tiny_tagger: Eager, wav: Callable[..., Path]) -> None:
    files = [str(wav(f"{number}.wav", noise(1, seed=number))) for number in range(3)]
    results = list(predict(Viewer(Detector(tiny_tagger, EVENTS)), [*files, "absent.wav"]))
    Path(files[1]).unlink()
    first, second, third, absent = iter_previews(results)
    assert [pair[0].prediction.source for pair in (first, third)] == [files[0], files[2]]
    assert second == Failure(files[1], "no such file") and absent == results[3]
    with pytest.raises(AudioError):
        render_preview(files[1])


def test_what_is_ready_survives_an_interruption(
    tiny_tagger: Eager, wav: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "render_preview", lambda source, stop, with_mp3: source)  # ready at once
    files = [str(wav(f"{number}.wav", noise(1, seed=number))) for number in range(3)]
    ready = list(predict(Viewer(Detector(tiny_tagger, EVENTS)), files))

    def interrupted() -> Iterator[View | Failure]:
        yield from ready
        time.sleep(0.5)
        raise KeyboardInterrupt

    seen = []
    with pytest.raises(KeyboardInterrupt):
        for pair in iter_previews(interrupted()):
            seen.append(pair[0])
    assert seen == ready
