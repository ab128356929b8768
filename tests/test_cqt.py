"""The constant-Q front-end: against its definition in float64, librosa, and physics."""

import librosa
import numpy as np
import pytest
import torch

from eranntag import features
from eranntag.audio import filterbanks
from eranntag.features.cqt import Config, Frontend

RATE = 44100
CONFIG = Config()
FRONTEND = Frontend(CONFIG)
HZ = 50 * 2 ** (np.arange(128) / 16)
LENGTHS = RATE / HZ * (2 ** (1 / 8) + 1) / (2 ** (1 / 8) - 1)  # of the windows, in samples


def image(waveform: np.ndarray) -> np.ndarray:
    """(samples,) -> (128, frames) in dB."""
    return FRONTEND(torch.from_numpy(np.asarray(waveform, np.float32))[None])[0, 0].numpy()


def noise(seconds: int) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal(CONFIG.padded_samples(seconds * RATE))


def tone(hz: float, seconds: int = 1) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(seconds * RATE) / RATE)


def by_hand(waveform: np.ndarray, row: int, frame: int) -> float:
    """One value in dB by Brown's sum, in float64, of the mirrored signal."""
    half = int(LENGTHS[row] // 2)
    n = np.arange(-half, half + 1)
    at = 345 * frame + n
    at = np.where(at < 0, -at, at)
    at = np.where(at >= len(waveform), 2 * (len(waveform) - 1) - at, at)
    window = np.cos(np.pi * n / LENGTHS[row]) ** 2
    window *= np.sqrt(LENGTHS[row]) / window.sum()
    return 20 * np.log10(max(abs(np.sum(waveform[at] * window * np.exp(-2j * np.pi * HZ[row] * n / RATE))), 1e-5))


@pytest.mark.parametrize("frame", [0, 1, 17, 100, 230, 255])
def test_values_are_those_of_the_definition(frame: int) -> None:
    waveform = noise(2).astype(np.float32)
    ours = image(waveform)
    rows = [0, 1, 15, 16, 40, 79, 80, 111, 112, 127]
    expected = [by_hand(waveform.astype(np.float64), row, frame) for row in rows]
    np.testing.assert_allclose(ours[rows, frame], expected, rtol=0, atol=2e-3)


def test_windows_are_as_long_as_librosas() -> None:
    expected, _ = librosa.filters.wavelet_lengths(freqs=librosa.cqt_frequencies(128, fmin=50, bins_per_octave=16), sr=RATE)
    np.testing.assert_allclose(LENGTHS, expected, rtol=1e-9)
    np.testing.assert_allclose(CONFIG.q * RATE / CONFIG.frequencies(), expected, rtol=1e-9)
    assert CONFIG.window_samples % 2 == 0 and LENGTHS.max() < CONFIG.window_samples < LENGTHS.max() + 690


@pytest.mark.parametrize(("sparsity", "tolerance"), [(0.0, 5e-4), (0.01, 0.01)])
def test_librosa_computes_the_same(sparsity: float, tolerance: float) -> None:
    """Root mean square of the difference, relative to the row's: less than 2 %, and in the lowest two octaves `tolerance`.

    librosa rounds windows to whole samples, which is 1 % of the shortest and 0.005 % of the longest; it computes an octave from
    a signal of half the rate of the one above; and by default it leaves out 1 % of a kernel's transform.
    """
    waveform = noise(3)
    magnitude = 10 ** (image(waveform) / 20)
    reference = librosa.cqt(
        waveform, sr=RATE, hop_length=345, fmin=50, n_bins=128, bins_per_octave=16, pad_mode="reflect", sparsity=sparsity
    )
    reference = np.abs(reference[:, :384])
    error = np.sqrt(np.mean((magnitude - reference) ** 2, 1) / np.mean(reference**2, 1))
    assert error.max() < 0.02 and error[:32].max() < tolerance


@pytest.mark.parametrize("row", [0, 5, 31, 64, 100, 127])
def test_a_tone_peaks_in_its_row_with_half_its_amplitude_times_the_root_of_the_window(row: int) -> None:
    heard = image(tone(HZ[row], 2))[:, 40:-40]  # no mirrored end in any window
    assert set(heard.argmax(0)) == {row}
    np.testing.assert_allclose(heard[row], 20 * np.log10(0.25 * np.sqrt(LENGTHS[row])), rtol=0, atol=0.02)
    beside = [other for other in (row - 1, row + 1) if 0 <= other < 128]
    assert (heard[beside].mean(1) > heard[row].mean() - 8).all()  # a window's spectrum reaches its neighbours
    far = np.abs(np.arange(128) - row) > 16
    assert (heard[far] < heard[row].min() - 55).all()


def test_a_chromatic_scale_climbs_four_rows_in_three_semitones() -> None:
    peaks = [int(image(tone(220 * 2 ** (semitone / 12)))[:, 40:-40].mean(1).argmax()) for semitone in range(13)]
    first = 16 * np.log2(220 / 50)
    assert peaks == [round(first + semitone * 16 / 12) for semitone in range(13)]
    assert peaks[12] - peaks[0] == 16


@pytest.mark.parametrize("frame", [40, 63])
def test_a_click_is_heard_by_the_windows_that_contain_it(frame: int) -> None:
    waveform = np.zeros(RATE)
    waveform[345 * frame] = 0.9
    heard = image(waveform) > -99.9
    distance = 345 * np.abs(np.arange(128) - frame)
    assert (image(waveform).argmax(1) == frame).all()
    assert not heard[distance[None] >= LENGTHS[:, None] / 2].any()
    assert heard[distance[None] < 0.48 * LENGTHS[:, None]].all()
    assert heard[127].sum() == 1 and 50 < heard[0].sum() < 60  # 83 and 20364 samples


def test_silence_is_the_floor_everywhere() -> None:
    np.testing.assert_allclose(image(np.zeros(RATE)), -100, rtol=0, atol=1e-4)


def test_white_noise_is_equally_loud_in_every_octave() -> None:
    power = 10 ** (image(noise(10)) / 10)
    octaves = power.reshape(8, 16, -1).mean((1, 2))
    np.testing.assert_allclose(10 * np.log10(octaves), 10 * np.log10(1.5 * 0.1**2), rtol=0, atol=0.7)


def test_twice_the_amplitude_is_6_02_db_more() -> None:
    waveform = noise(1)
    np.testing.assert_allclose(image(2 * waveform) - image(waveform), 20 * np.log10(2), rtol=0, atol=1e-4)


@pytest.mark.parametrize("seconds", range(1, 11))
def test_frames_are_128_a_second(seconds: int) -> None:
    assert image(np.zeros(CONFIG.padded_samples(seconds * RATE - 1))).shape == (128, 128 * seconds)


def test_a_batch_is_its_clips() -> None:
    clips = torch.from_numpy(np.stack([noise(1), noise(1)[::-1], tone(440)]).astype(np.float32))
    batch = FRONTEND(clips)
    assert batch.shape == (3, 1, 128, 128)
    for clip, ours in zip(clips, batch, strict=True):
        quiet = ours < ours.max() - 70  # float32: rounding is heard there
        single = FRONTEND(clip[None])[0]
        torch.testing.assert_close(ours[~quiet], single[~quiet], rtol=0, atol=5e-3)


def test_blocks_are_parts_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    waveform = noise(3)
    whole = image(waveform)
    monkeypatch.setattr("eranntag.features._framed.BLOCK_FRAMES", 100)
    np.testing.assert_allclose(image(waveform), whole, rtol=0, atol=1e-2)
    half = CONFIG.window_samples // 2
    framer = features.framer("cqt", CONFIG)
    assert framer is not None
    part = framer(np.pad(waveform.astype(np.float32), half, mode="reflect")[345 * 50 :])
    np.testing.assert_allclose(part[:, :300], whole[:, 50:350], rtol=0, atol=1e-2)


def test_autocast_changes_nothing() -> None:
    waveform = torch.from_numpy(noise(1).astype(np.float32))[None]
    expected = FRONTEND(waveform)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(FRONTEND(waveform), expected)
    assert expected.dtype == torch.float32


def test_there_is_nothing_to_train_or_save_and_meta_tensors_do_no_harm() -> None:
    with torch.device("meta"):
        frontend = Frontend(CONFIG)
    assert not list(frontend.parameters()) and not frontend.state_dict()
    waveform = torch.from_numpy(noise(1).astype(np.float32))[None]
    assert torch.equal(frontend(waveform), FRONTEND(waveform))


def test_other_rows_and_hops() -> None:
    config = Config(sample_rate_hz=16000, hop_samples=125, n_bins=30, bins_per_octave=12, fmin_hz=220.0)
    waveform = 0.5 * torch.sin(2 * torch.pi * 440 * torch.arange(config.padded_samples(1)) / 16000)
    heard = Frontend(config)(waveform[None])
    assert heard.shape == (1, 1, 30, 128)
    assert set(heard[0, 0, :, 20:-20].argmax(0).tolist()) == {12}


@pytest.mark.parametrize("wrong", [{"n_bins": 0}, {"bins_per_octave": 0}, {"fmin_hz": 0.0}, {"n_bins": 141}, {"fmin_hz": 90.0}])
def test_rows_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"no constant-Q rows|do not fit 44100 Hz"):
        Config(**wrong)


def test_kernels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="does not fit 1000"):
        filterbanks.constant_q_kernels(np.array([50.0]), 23.0, RATE, 1000)
