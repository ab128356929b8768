"""Real sounds, where they are: ESC-50 and RAVDESS under ERANNTAG_DATA, heard by the embedded checkpoint."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

import eranntag
from eranntag.audio import reader
from eranntag.checkpoints import catalog
from eranntag.errors import UsageError
from eranntag.inference.pipeline import predict
from eranntag.inference.tagger import Tagger
from eranntag.recipes import esc50
from eranntag.types import Clip, Example, Prediction

TELEPHONE_HZ = 8000


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    rows = catalog.load_catalog()
    if rows.default not in rows.rows:
        pytest.skip(f"{rows.default} is not in checkpoints.toml yet")
    return eranntag.load(rows.default, device="cpu")


@pytest.fixture(scope="module")
def clips(data_root: Path) -> list[Example]:
    """Every eighth clip of fold 5, which the default checkpoint has not been trained on."""
    return [example for example in esc50.read(str(data_root)).examples if example.fold == 5][::8]


@pytest.fixture(scope="module")
def predictions(tagger: Tagger, clips: list[Example]) -> list[Prediction]:
    results = list(predict(tagger, (clip.path for clip in clips)))
    return [result for result in results if isinstance(result, Prediction)]


def test_the_recipe_finds_all_of_esc50(data_root: Path) -> None:
    examples = esc50.read(str(data_root)).examples
    assert len({example.path for example in examples}) == 2000
    assert Counter(example.fold for example in examples) == dict.fromkeys(esc50.RECIPE.folds, 400)
    assert Counter(example.targets for example in examples) == {(index,): 40 for index in range(50)}


def test_the_labels_of_esc50_are_the_categories_of_its_csv(data_root: Path) -> None:
    with open(data_root / "esc50" / "meta" / "esc50.csv", newline="") as file:
        names = {Path(row["filename"]).stem: row["category"] for row in csv.DictReader(file)}
    for example in esc50.read(str(data_root)).examples:
        assert esc50.LABELS[example.targets[0]] == names[Path(example.path).stem]


def test_ravdess_decodes(data_root: Path) -> None:
    with open(data_root / "ravdess" / "manifest.csv", newline="") as file:
        rows = list(csv.DictReader(file))[::48]
    assert len(rows) == 30
    for row in rows:
        clip = reader.read(data_root / "ravdess" / row["file"])
        assert (clip.sample_rate, len(clip.waveform)) == (48000, 1)
        assert clip.seconds == pytest.approx(float(row["duration_s"]), abs=0.001)
        assert 0.01 < np.abs(clip.waveform).max() < 1.5


@pytest.mark.slow
def test_the_accuracy_is_the_registrys(predictions: list[Prediction], clips: list[Example]) -> None:
    """On 50 of 400 clips, so within 0.15: 2.6 standard errors at 0.8."""
    assert len(predictions) == len(clips) == 50
    truth = [esc50.LABELS[clip.targets[0]] for clip in clips]
    right = [prediction.top(1)[0].label == label for prediction, label in zip(predictions, truth, strict=True)]
    metrics = catalog.load_catalog().row(catalog.load_catalog().default).metrics
    assert metrics["metric"] == "accuracy"
    assert np.mean(right) == pytest.approx(metrics["value"], abs=0.15)


def test_the_engine_of_choice_says_what_the_reference_says(predictions: list[Prediction], clips: list[Example]) -> None:
    reference = eranntag.load(device="cpu", engine="eager")
    for prediction, clip in zip(predictions, clips, strict=True):
        expected = reference.tag(clip.path)
        difference = np.abs(prediction.scores - expected.scores).max()
        assert difference < 0.03
        for ours, theirs in zip(prediction.top(5), expected.top(5), strict=True):  # the order, but for labels as near as that
            assert expected.scores[expected.labels.index(ours.label)] >= theirs.score - 2 * difference


@pytest.mark.parametrize("engine", ["openvino", "torch"])
@pytest.mark.slow
def test_bfloat16_stays_within_what_is_promised(engine: str, predictions: list[Prediction], clips: list[Example]) -> None:
    try:
        tagger = eranntag.load(device="cpu", engine=engine, dtype="bfloat16")
    except UsageError as error:
        pytest.skip(str(error))
    for prediction, clip in list(zip(predictions, clips, strict=True))[::3]:
        assert np.abs(tagger.tag(clip.path).scores - prediction.scores).max() < 0.03


@pytest.mark.slow
def test_a_long_sound_of_real_clips_is_heard_as_in_one_pass(clips: list[Example], tmp_path: Path) -> None:
    sound = np.concatenate([reader.read(clip.path).waveform[0] for clip in clips[:30]])[:-12345]
    soundfile.write(tmp_path / "long.flac", sound, 44100)
    tagger = eranntag.load(device="cpu", dtype="float32")
    assert tagger.longest_seconds < len(sound) / 44100
    clip = reader.read(tmp_path / "long.flac")
    one_pass = eranntag.load(device="cpu", engine="torch", dtype="float32")
    expected = one_pass.scores(one_pass.prepare(clip)[None])[0]
    (result,) = predict(tagger, [str(tmp_path / "long.flac")])
    np.testing.assert_allclose(result.scores, expected, rtol=0, atol=1e-4)
    assert result.seconds == pytest.approx(clip.seconds, abs=1e-6)


def at_rate(waveform: np.ndarray, rate: int) -> np.ndarray:
    return np.asarray(soxr.resample(waveform, 44100, rate))


@pytest.fixture(scope="module")
def sure(tagger: Tagger, predictions: list[Prediction]) -> tuple[np.ndarray, str]:
    """Of twenty clips the one that the model is surest of even on the telephone, at 44.1 kHz, and its label."""

    def certainty(prediction: Prediction) -> float:
        telephone = Clip(at_rate(reader.to_mono(reader.read(prediction.source), 44100), TELEPHONE_HZ)[None], TELEPHONE_HZ)
        return float(np.minimum(prediction.scores, tagger.tag(telephone).scores).max())

    best = max(predictions[:20], key=certainty)
    return reader.to_mono(reader.read(best.source), 44100), best.top(1)[0].label


@pytest.mark.parametrize(
    ("ending", "options", "rates"),
    [
        ("wav", {"subtype": "PCM_16"}, (8000, 22050, 44100, 96000)),
        ("flac", {"subtype": "PCM_24"}, (8000, 32000, 48000, 96000)),
        ("ogg", {"subtype": "VORBIS"}, (8000, 22050, 44100, 96000)),
        ("opus", {"format": "OGG", "subtype": "OPUS"}, (8000, 16000, 24000, 48000)),
        ("mp3", {"subtype": "MPEG_LAYER_III"}, (8000, 16000, 44100, 48000)),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_clip_has_the_same_tag_in_every_format_at_every_rate(
    tagger: Tagger,
    sure: tuple[np.ndarray, str],
    tmp_path: Path,
    ending: str,
    options: dict[str, str],
    rates: tuple[int, ...],
    channels: int,
) -> None:
    waveform, label = sure
    heard = {}
    for rate in rates:
        mono = at_rate(waveform, rate)
        side = 0.1 * np.roll(mono, rate // 10)
        sound = mono if channels == 1 else np.stack([mono + side, mono - side], 1)
        soundfile.write(tmp_path / f"clip.{ending}", sound, rate, **options)
        heard[rate] = tagger.tag(tmp_path / f"clip.{ending}").top(1)[0].label
    assert heard == dict.fromkeys(rates, label)
