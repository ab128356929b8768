"""The log-mel front-end: against the oracles, torchaudio, its numpy form, and physics."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from eranntag.audio import filterbanks
from eranntag.features._logmel_numpy import compute, frames
from eranntag.features.logmel import Config, Frontend
from eranntag.inference.tagger import Tagger
from eranntag.types import Clip

RATE = 44100
CONFIG = Config()
CENTRES = filterbanks.mel_edges(128, 50.0, 14000.0)[1:-1]


def signal(kind: str, seconds: float) -> np.ndarray:
    """A test signal (samples,) float32, zeros appended as a Tagger does."""
    n = np.arange(round(seconds * RATE))
    made = {
        "noise": 0.1 * np.random.default_rng(0).standard_normal(len(n)),
        "tone": 0.5 * np.sin(2 * np.pi * 1000 * n / RATE),
        "click": 0.9 * (n == len(n) // 3),
        "silence": np.zeros(len(n)),
    }[kind]
    return np.pad(made, (0, CONFIG.padded_samples(len(n)) - len(n))).astype(np.float32)


def image(waveform: np.ndarray) -> np.ndarray:
    """(samples,) -> (128, frames) in dB."""
    return Frontend(CONFIG)(torch.from_numpy(waveform)[None])[0, 0].numpy()


def frame_by_hand(padded: np.ndarray, index: int) -> np.ndarray:
    """Frame `index` (128,) of a zero-padded signal, by the formulas of Section 3.1, in float64."""
    reflected = np.concatenate([padded[690:0:-1], padded, padded[-2:-692:-1]]).astype(np.float64)
    window = np.sin(np.pi * np.arange(1380) / 1380) ** 2
    power = np.abs(np.fft.rfft(reflected[345 * index : 345 * index + 1380] * window)) ** 2
    return 10 * np.log10(np.maximum(CONFIG.filters() @ power, 1e-10))


def assert_same_levels(ours: np.ndarray, reference: np.ndarray) -> None:
    """Within 1e-3 dB where a frame has sound; float32 leaves some 0.1 dB in bands 70 dB below its loudest one."""
    assert ours.shape == reference.shape
    quiet = reference < reference.max(0) - 70
    np.testing.assert_allclose(ours[~quiet], reference[~quiet], rtol=0, atol=1e-3)
    np.testing.assert_allclose(ours[quiet], reference[quiet], rtol=0, atol=0.5)


def test_filter_banks_are_the_oracles(oracle: Callable[[str], Any]) -> None:
    banks = oracle("mel_filterbanks")["filterbanks"]
    ours = {name: bank for name, bank in banks.items() if "row_sums (area-normalised)" in bank}
    assert len(ours) == 6
    for name, bank in ours.items():
        bands, scale = (bank["n_mels"], bank["fmin"], bank["fmax"]), name.partition("/")[2]
        edges = filterbanks.mel_edges(*bands, scale)
        np.testing.assert_allclose(edges, bank["edges_hz (n_mels+2; centres are entries 1..n_mels)"], rtol=0, atol=1e-9)
        filters = filterbanks.mel_filterbank(bank["sr"], bank["n_fft"], *bands, scale)
        assert filters.shape == (bank["n_mels"], bank["n_fft"] // 2 + 1)
        np.testing.assert_allclose(filters.sum(1), bank["row_sums (area-normalised)"], rtol=0, atol=1e-9)
        nonzero = (filters > 0).sum(1)
        assert nonzero.tolist() == bank["nonzero_bins_per_filter"], name
        assert (nonzero == 0).sum() == bank["empty_filters"]
        assert (nonzero == 1).sum() == bank["filters_with_one_bin"]


def test_the_front_end_uses_the_recommended_filter_bank(oracle: Callable[[str], Any]) -> None:
    bank = oracle("mel_filterbanks")["filterbanks"]["erann_44100_1380_128/slaney"]
    np.testing.assert_allclose(CONFIG.filters().sum(1), bank["row_sums (area-normalised)"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_hz_and_mel_are_inverse(scale: str) -> None:
    hz = np.array([0.0, 50.0, 999.9, 1000.0, 1000.1, 14000.0])
    np.testing.assert_allclose(filterbanks.mel_to_hz(filterbanks.hz_to_mel(hz, scale), scale), hz, rtol=1e-12, atol=1e-9)


def test_padding_and_frames_follow_the_oracle(oracle: Callable[[str], Any]) -> None:
    geometry, frontend = oracle("erann_geometry"), Frontend(CONFIG)
    assert (CONFIG.sample_rate_hz, CONFIG.hop_samples, CONFIG.window_samples) == (44100, 345, 1380)
    for clip in geometry["clips"]:
        padded = CONFIG.padded_samples(clip["samples"])
        assert padded == clip["samples_after_padding"], clip["samples"]
        assert padded - clip["samples"] == clip["zeros_appended"]
        assert CONFIG.frames(padded) == clip["frames_T0"] == clip["check_frames"]
        assert frontend(torch.zeros(1, padded)).shape == (1, 1, 128, clip["frames_T0"])
    for seconds, count in geometry["unpadded_frames_for_integer_seconds"].items():
        assert int(seconds) * RATE // CONFIG.hop_samples + 1 == count


@pytest.mark.parametrize(("seconds", "padded_seconds"), [(0.1, 2), (1, 2), (2, 2), (2.1, 4), (3, 4), (4, 4), (5, 6), (9.5, 10)])
def test_a_multiple_of_256_frames_pads_to_even_seconds(seconds: float, padded_seconds: int) -> None:
    padded = CONFIG.padded_samples(round(seconds * RATE), frame_multiple=256)
    assert padded == CONFIG.padded_samples(padded_seconds * RATE)
    assert CONFIG.frames(padded) == 128 * padded_seconds


@pytest.mark.parametrize("kind", ["noise", "tone", "click", "silence"])
@pytest.mark.parametrize("seconds", [1, 3, 7, 10])
def test_the_numpy_form_equals_the_torch_form(kind: str, seconds: int) -> None:
    waveform = signal(kind, seconds)
    ours = compute(waveform, CONFIG)
    assert ours.dtype == np.float32 and ours.shape == (128, 128 * seconds)
    assert_same_levels(ours, image(waveform))


def test_the_numpy_form_is_the_same_in_small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    waveform = signal("noise", 2)
    whole = compute(waveform, CONFIG)
    monkeypatch.setattr("eranntag.features._spectrogram_numpy.CACHED_FRAMES", 100)
    np.testing.assert_allclose(compute(waveform, CONFIG), whole, rtol=0, atol=1e-4)


def test_the_torch_form_is_the_same_in_small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    waveform = signal("noise", 3)
    whole = image(waveform)
    monkeypatch.setattr("eranntag.features._framed.BLOCK_FRAMES", 100)
    np.testing.assert_allclose(image(waveform), whole, rtol=0, atol=1e-3)


@pytest.mark.parametrize("kind", ["noise", "tone", "click"])
@pytest.mark.parametrize("border", [1, 3, 128, 129, 300])
def test_frames_of_a_part_are_those_of_the_whole(kind: str, border: int) -> None:
    waveform = signal(kind, 3)
    whole = compute(waveform, CONFIG)
    reflected = np.pad(waveform, 690, mode="reflect")
    parts = [frames(reflected[: 345 * (border - 1) + 1380], CONFIG), frames(reflected[345 * border :], CONFIG)]
    assert parts[0].shape == (128, border)
    np.testing.assert_allclose(np.concatenate(parts, 1), whole, rtol=0, atol=1e-4)


def test_frames_are_as_many_as_whole_windows_fit() -> None:
    for samples, count in [(1380, 1), (1380 + 344, 1), (1380 + 345, 2)]:
        assert frames(np.zeros(samples, np.float32), CONFIG).shape == (128, count)


@pytest.mark.parametrize("kind", ["noise", "tone", "click", "silence"])
@pytest.mark.parametrize("seconds", [1, 7])
def test_torchaudio_computes_the_same(kind: str, seconds: int) -> None:
    transforms = pytest.importorskip("torchaudio.transforms", exc_type=(ImportError, OSError, RuntimeError))
    reference = transforms.MelSpectrogram(
        RATE, n_fft=1380, hop_length=345, f_min=50.0, f_max=14000.0, n_mels=128, power=2.0, norm="slaney",
        mel_scale="slaney", center=True, pad_mode="reflect",
    )  # fmt: skip
    waveform = signal(kind, seconds)
    expected = 10 * torch.log10(reference(torch.from_numpy(waveform)).clamp(min=1e-10))
    assert_same_levels(image(waveform), expected[:, : 128 * seconds].numpy())


def test_frames_by_hand_are_the_same() -> None:
    waveform = signal("noise", 1)
    ours = image(waveform)
    for index in (0, 1, 2, 60, 126, 127):
        np.testing.assert_allclose(ours[:, index], frame_by_hand(waveform, index), rtol=0, atol=1e-3)


def test_autocast_does_not_change_the_image() -> None:
    waveform, frontend = torch.from_numpy(signal("noise", 1))[None], Frontend(CONFIG)
    expected = frontend(waveform)
    with torch.autocast("cpu", torch.bfloat16):
        assert (waveform @ waveform.T).dtype == torch.bfloat16  # autocast is on
        under_autocast = frontend(waveform)
    assert under_autocast.dtype == torch.float32
    assert torch.equal(under_autocast, expected)


def test_the_front_end_has_nothing_to_train_or_save() -> None:
    frontend = Frontend(CONFIG)
    assert not list(frontend.parameters()) and not frontend.state_dict()


def test_silence_is_100_db_below_one_everywhere() -> None:
    np.testing.assert_allclose(image(signal("silence", 2)), -100, rtol=0, atol=1e-4)


@pytest.mark.parametrize("hz", [1000.0, CENTRES[10], CENTRES[70], CENTRES[120]])
def test_a_tone_peaks_in_the_band_whose_centre_is_nearest(hz: float) -> None:
    tone = (0.5 * np.sin(2 * np.pi * hz * np.arange(RATE) / RATE)).astype(np.float32)
    peaks = image(tone)[:, 2:-2].argmax(0)
    assert set(peaks) == {np.abs(CENTRES - hz).argmin()}


def test_twice_the_amplitude_is_6_02_db_more() -> None:
    noise = signal("noise", 1)
    np.testing.assert_allclose(image(2 * noise) - image(noise), 20 * np.log10(2), rtol=0, atol=1e-4)


def test_a_click_excites_only_the_frames_that_contain_it() -> None:
    position = 60 * 345 + 100
    waveform = np.zeros(RATE, np.float32)
    waveform[position] = 0.9
    heard = image(waveform) > -99.9
    containing = [i for i in range(128) if 345 * i - 690 < position < 345 * i + 690]  # the window's first sample is 0
    assert containing == [59, 60, 61, 62]
    assert heard[:, containing].all()
    assert np.flatnonzero(heard.any(0)).tolist() == containing


def test_zeros_are_appended_before_the_ends_are_reflected(tiny_tagger: Tagger) -> None:
    noise = signal("noise", 1)[: RATE - 400]  # its end reflected would be heard in the last frames
    prepared = tiny_tagger.prepare(Clip(noise[None], RATE))
    assert len(prepared) == RATE and not prepared[-400:].any()
    ours = image(prepared)
    np.testing.assert_allclose(ours[:, 127], frame_by_hand(np.pad(noise, (0, 400)), 127), rtol=0, atol=1e-3)
    short = image(tiny_tagger.prepare(Clip(noise[None, :20000], RATE)))
    np.testing.assert_allclose(short[:, 60:], -100, rtol=0, atol=1e-4)  # 60 * 345 - 690 > 20000
    assert (short[:, :59] > -99).all()


@pytest.mark.parametrize("bands", [(0.0, 23000.0), (-1.0, 14000.0), (500.0, 500.0), (9000.0, 50.0)])
def test_bands_that_do_not_fit_the_rate_are_refused(bands: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="do not fit 44100 Hz"):
        Config(fmin_hz=bands[0], fmax_hz=bands[1])
