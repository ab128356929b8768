"""Augmentation: mixup against the oracles, and tones, noise, clicks and silence of which the outcome is known."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import soxr
import torch
import torchaudio
from torch import Tensor, nn

from eranntag.errors import UsageError
from eranntag.features.logmel import Config, Frontend
from eranntag.training.augment import MIXUPS, NAMES, Augment
from eranntag.training.augment.loudness import a_weighting, sound_level
from eranntag.training.augment.mixup import blend, loudness_share, mix_coefficient, modified_mixup
from eranntag.training.augment.options import parse
from eranntag.training.augment.specaugment import STRIPES, spec_augment, stripes
from eranntag.training.augment.waveform import (
    PERTURBATIONS,
    band_limit,
    low_pass,
    noise,
    pitch_shift,
    resample_linearly,
    shift_pitch,
    speed,
)
from eranntag.types import Batch

RATE = 44100
N_FFT = 2048


def generators(count: int, seed: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, index]) for index in range(count)]


def white(clips: int, samples: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(clips, samples, generator=torch.Generator().manual_seed(seed))


def tone(hz: float, seconds: float = 2.0, amplitude: float = 0.3) -> Tensor:
    """(samples,) at 44.1 kHz."""
    return (amplitude * torch.sin(2 * torch.pi * hz * torch.arange(round(seconds * RATE)).double() / RATE)).float()


def db(power: Tensor | float) -> float:
    return 10 * np.log10(float(power))


def spectrum(waveform: Tensor) -> tuple[Tensor, Tensor]:
    """The power spectrum of the middle half of a clip (samples,), and its bins in Hz."""
    middle = waveform[len(waveform) // 4 : -len(waveform) // 4].double()
    power = torch.fft.rfft(middle * torch.hann_window(len(middle), dtype=torch.float64)).abs() ** 2
    return power, torch.arange(len(power)) * RATE / len(middle)


# Names and values


def test_every_name_and_kind_of_mixup_is_taken() -> None:
    assert list(NAMES) == [*PERTURBATIONS, *STRIPES]
    for mixup in MIXUPS:
        augment = Augment(tuple(NAMES), mixup, 1.0, RATE)
        assert augment.clips_per_example == (1 if mixup == "none" else 2)
    assert parse(["band-limit", "spec-augment=100x20", "speed", "noise=0-7.5"]) == {
        "speed": (1.25,),
        "noise": (0.0, 7.5),
        "band-limit": (4000.0, 16000.0),
        "spec-augment": (100.0, 20.0),
    }
    for name, augmentation in NAMES.items():
        assert parse([name]) == parse([f"{name}={augmentation.default}"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("spec-augmnt", "no 'spec-augmnt' among the augmentations .*; did you mean 'spec-augment'"),
        ("", "no '' among"),
        ("noise=", "noise=: its value has a form like noise=15-40: white noise"),
        ("noise=20", "a form like noise=15-40"),
        ("noise=40-15", "the lower value comes first"),
        ("speed=1", "values go from 1.01 to 4"),
        ("speed=fast", "a form like speed=1.25"),
        ("speed=nan", "a form like speed=1.25"),
        ("pitch-shift=0", "values go from 0.01 to 12"),
        ("pitch-shift=-2", "a form like pitch-shift=2"),
        ("pitch-shift=13", "values go"),
        ("spec-augment=64", "a form like spec-augment=64x16"),
        ("spec-augment=0x16", "values go from 1"),
        ("spec-augment=6.5x16", "a form like spec-augment=64x16"),
        ("band-limit=4000-16000Hz", "a form like band-limit=4000-16000"),
        ("band-limit=30000-40000", "44100 Hz has nothing above 30000 Hz"),
    ],
)
def test_bad_names_and_values_are_refused(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Augment([name], "modified", 1.0, RATE)


def test_nothing_is_named_twice() -> None:
    with pytest.raises(UsageError, match="noise is named twice"):
        Augment(["noise", "noise=10-20"], "none", 1.0, RATE)


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_mixup_is_refused(alpha: float) -> None:
    with pytest.raises(UsageError, match="alpha must be above 0"):
        Augment([], "modified", alpha, RATE)
    with pytest.raises(UsageError, match=r"kinds of mixup .*; did you mean 'log-mel'"):
        Augment([], "logmel", 1.0, RATE)


# Mixup


def sine(n: int, freq: float, amp: float, sr: int) -> np.ndarray:
    return amp * np.sin(2 * np.pi * freq * np.arange(n) / sr)


def made(signal: dict[str, Any]) -> Tensor:
    """A signal of the oracle (samples,) float64, by the conventions of its README."""
    n, sr = signal["n"], signal["sr"]
    waveform = np.zeros(n)
    if signal["kind"] == "sine":
        waveform = sine(n, signal["freq"], signal["amp"], sr)
    elif signal["kind"] == "burst":
        part = slice(signal["start"], signal["start"] + signal["length"])
        waveform[part] = sine(signal["length"], signal["freq"], signal["amp"], sr)
    elif signal["kind"] == "lcg":
        state = signal["seed"]
        for i in range(n):
            state = (1664525 * state + 1013904223) % 2**32
            waveform[i] = signal["amp"] * (2 * state / 2**32 - 1)
    np.testing.assert_allclose(waveform[:5], signal["first_samples"], rtol=0, atol=1e-12)
    np.testing.assert_allclose((waveform**2).sum(), signal["sum_squares"], rtol=1e-9)
    return torch.from_numpy(waveform)


def test_a_weighting_is_the_oracles(oracle: Callable[[str], Any]) -> None:
    for curve in oracle("modified_mixup")["a_weighting_db"].values():
        ours = a_weighting(torch.tensor(curve["freq_hz"], dtype=torch.float64))
        np.testing.assert_allclose(ours, curve["weight_db"], rtol=0, atol=1e-9)


def test_sound_levels_are_the_oracles(oracle: Callable[[str], Any]) -> None:
    for name, signal in oracle("modified_mixup")["signals"].items():
        waveform, n_fft = made(signal), signal["n_fft"]
        np.testing.assert_allclose(sound_level(waveform[None], signal["sr"]), signal["gain_db"], rtol=0, atol=1e-9)
        padded = nn.functional.pad(waveform, (0, max(0, n_fft - len(waveform))))
        frames = padded.unfold(0, n_fft, signal["hop"])
        levels = sound_level(frames, signal["sr"])
        np.testing.assert_allclose(levels, signal["frame_gain_db"], rtol=0, atol=1e-9, err_msg=name)


def test_mixtures_coefficients_and_labels_are_the_oracles(oracle: Callable[[str], Any]) -> None:
    """The oracle's mixtures lack the guard for silence, so where it acts the formula is applied here."""
    numbers = oracle("modified_mixup")
    signals = {name: made(signal) for name, signal in numbers["signals"].items()}
    guarded = 0
    for pair in numbers["pairs"]:
        x1, x2 = signals[pair["x1"]], signals[pair["x2"]]
        level1, level2, r = torch.tensor([[pair["G1"]], [pair["G2"]], [pair["r"]]], dtype=torch.float64)
        p = mix_coefficient(level1, level2, r)
        np.testing.assert_allclose(p, pair["coefficient_with_silence_guard"], rtol=0, atol=1e-9)
        targets = torch.tensor([pair["y1"], pair["y2"]], dtype=torch.float64)
        rate = numbers["signals"][pair["x1"]]["sr"]
        waveform = torch.stack([x1, x2])
        mixed = modified_mixup(waveform, r[0], rate)
        assert mixed.shape == (1, len(x1))
        np.testing.assert_allclose(loudness_share(waveform, r[0], rate), p[0], rtol=0, atol=1e-9)
        np.testing.assert_allclose(blend(targets, r[0])[0], pair["y"], rtol=0, atol=1e-9)
        if pair["coefficient"] != pytest.approx(pair["coefficient_with_silence_guard"], abs=1e-9):
            guarded += 1
            share = pair["coefficient_with_silence_guard"]
            expected = (share * x1 + (1 - share) * x2) / np.hypot(share, 1 - share)
            np.testing.assert_allclose(mixed[0], expected, rtol=0, atol=1e-9)
            continue
        denominator = torch.sqrt(p**2 + (1 - p) ** 2)
        np.testing.assert_allclose(denominator, pair["denominator"], rtol=0, atol=1e-9)
        for index, value in pair["mixed_at"].items():
            assert mixed[0, int(index)].item() == pytest.approx(value, abs=1e-9)
        assert mixed.square().sum().item() == pytest.approx(pair["mixed_sum_squares"], rel=1e-9, abs=1e-12)
    assert guarded == 2


def test_standard_mixtures_are_the_oracles(oracle: Callable[[str], Any]) -> None:
    numbers = oracle("modified_mixup")
    pair = numbers["standard_mixup_check"]
    waveform = torch.stack([made(numbers["signals"][pair[name]]) for name in ("x1", "x2")])
    mixed = blend(waveform, torch.tensor([pair["lambda"]], dtype=torch.float64))[0]
    for index, value in pair["mixed_at"].items():
        assert mixed[int(index)].item() == pytest.approx(value, abs=1e-9)


def test_single_precision_mixes_as_double_does(oracle: Callable[[str], Any]) -> None:
    """Training runs in float32: the guard for silence must hold there too."""
    signals = {name: made(signal) for name, signal in oracle("modified_mixup")["signals"].items()}
    names = ["s1k", "noise", "silence", "s1k", "noise", "silence", "silence", "silence"]
    waveform, ratio = torch.stack([signals[name] for name in names]), torch.tensor([0.3, 0.5, 0.6, 0.9])
    double = modified_mixup(waveform, ratio.double(), 44100)
    single = modified_mixup(waveform.float(), ratio, 44100)
    assert sound_level(waveform.float(), 44100)[2].item() == -80.0
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single, double, rtol=0, atol=1e-5)
    assert single[1].abs().max() > 0.1  # the audible clip of a pair with silence stays audible


def test_neighbours_are_mixed() -> None:
    waveform, ratio = white(6, 8192), torch.tensor([1.0, 0.0, 1.0])
    torch.testing.assert_close(modified_mixup(waveform, ratio, 44100), waveform[[0, 3, 4]])
    assert torch.equal(blend(torch.eye(6), ratio), torch.eye(6)[[0, 3, 4]])


def test_a_class_of_both_clips_stays_certain() -> None:
    target = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    torch.testing.assert_close(blend(target, torch.tensor([0.25])), torch.tensor([[1.0, 0.25, 0.0]]))


def test_images_are_mixed_by_loudness() -> None:
    """The log-mel variant: S = p S1 + (1 - p) S2, with the p that the waveforms have in modified mixup."""
    waveform = white(4, RATE) * torch.tensor([1.0, 0.1, 0.5, 0.0])[:, None]
    frontend = Frontend(Config())
    image, target = Augment([], "log-mel", 1.0, RATE).images(
        Batch(waveform, torch.eye(4)), frontend, generators(4), generators(2)
    )
    ratio = target[[0, 1], [0, 2]]
    p = loudness_share(waveform, ratio, RATE)
    assert p[0] < ratio[0] and p[1] == ratio[1]  # the louder clip takes less; silence has no loudness to go by
    apart = frontend(waveform)
    for example, share in enumerate(p):
        expected = share * apart[2 * example] + (1 - share) * apart[2 * example + 1]
        torch.testing.assert_close(image[example], expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("mixup", MIXUPS)
def test_each_kind_of_mixup_is_its_own(mixup: str) -> None:
    waveform, target = white(6, 8192), torch.eye(6)
    clips = 6 if mixup == "none" else 3
    image, mixed = Augment([], mixup, 1.0, RATE).images(Batch(waveform, target), plain, generators(6), generators(clips, 1))
    ratio = mixed[range(3), [0, 2, 4]]
    expected = {
        "none": waveform,
        "standard": blend(waveform, ratio),
        "modified": modified_mixup(waveform, ratio, RATE),
        "log-mel": blend(waveform, loudness_share(waveform, ratio, RATE)),
    }
    torch.testing.assert_close(image[:, 0, 0], expected[mixup])
    torch.testing.assert_close(mixed, target if mixup == "none" else blend(target, ratio))


def test_ratios_follow_beta() -> None:
    waveform, target = torch.zeros(4000, 8), torch.eye(2).repeat(2000, 1)
    for alpha in (1.0, 10.0):
        augment = Augment([], "standard", alpha, RATE)
        _, mixed = augment.images(Batch(waveform, target), plain, generators(4000), generators(2000, 1))
        assert mixed[:, 0].mean().item() == pytest.approx(0.5, abs=0.02)
        assert mixed[:, 0].var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


# Speed


def test_reading_is_linear_interpolation_with_zeros_beyond() -> None:
    ramp = torch.arange(1.0, 11)[None].repeat(3, 1)
    found = resample_linearly(ramp, [1.0, 0.5, 3.0], 10)
    assert torch.equal(found[0], ramp[0])
    torch.testing.assert_close(found[1], torch.linspace(1, 5.5, 10))
    torch.testing.assert_close(found[2], torch.tensor([1.0, 4, 7, 10, 0, 0, 0, 0, 0, 0]))


def test_positions_are_exact_far_into_a_clip() -> None:
    """float32 knows the position of a sample in the last of 60 seconds to a quarter of a sample only."""
    samples, step = 60 * RATE, 0.8
    slow = torch.sin(2 * torch.pi * 0.05 * torch.arange(samples).double()).float()[None]
    positions = torch.arange(samples).double() * step
    expected = torch.sin(2 * torch.pi * 0.05 * positions)
    found = resample_linearly(slow, [step], samples)[0]
    assert (found - expected).abs().max() < 0.02  # linear interpolation's own: (2 pi 0.05)^2 / 8


def test_speed_moves_tones_and_ends_clips_early() -> None:
    waveform = tone(1000).repeat(32, 1)
    changed = speed(waveform, generators(32), RATE, 1.25)
    assert changed.shape == waveform.shape
    factors = []
    for clip in changed:
        power, hz = spectrum(clip[: round(len(clip) / 1.25)])
        factors.append(float(hz[power.argmax()]) / 1000)
        heard = clip.nonzero().max().item() + 1
        assert heard == pytest.approx(min(1, 1 / factors[-1]) * len(clip), rel=0.002)
    assert 0.8 - 0.002 <= min(factors) < 0.85 and 1.2 < max(factors) <= 1.25 + 0.002
    assert np.log(factors).mean() == pytest.approx(0, abs=0.05)


# Pitch


@pytest.mark.parametrize("semitones", [-5, -2, -0.3, 0, 1, 2, 7])
def test_a_tone_moves_and_stays_a_tone(semitones: float) -> None:
    rate = 2 ** (semitones / 12)
    for hz in (110.0, 1000.0, 4000.0):
        clip = tone(hz)
        shifted = shift_pitch(clip[None], [rate], N_FFT)[0]
        assert shifted.shape == clip.shape
        power, bins = spectrum(shifted)
        assert float(bins[power.argmax()]) == pytest.approx(hz * rate, abs=1.0)
        own = (bins - hz * rate).abs() < 12
        assert db(power[~own].sum() / power[own].sum()) < -45
        assert abs(db(shifted.square().mean() / clip.square().mean())) < 0.3
        loudness = shifted[RATE // 2 : -RATE // 2].unfold(0, 2048, 512).square().mean(1)
        assert db(loudness.max() / loudness.min()) < 0.5  # steady


def test_no_shift_is_no_change() -> None:
    """From the first sample to the last, but for half the sample rate itself."""
    clip = low_pass(white(2, 30000), [0.48, 0.4])
    torch.testing.assert_close(shift_pitch(clip, [1.0, 1.0], N_FFT), clip, rtol=0, atol=2e-4)


def test_harmonics_move_together() -> None:
    clip = sum(tone(200 * k, amplitude=0.02) for k in range(1, 20))
    power, bins = spectrum(shift_pitch(clip[None], [2 ** (3 / 12)], N_FFT)[0])
    own = torch.zeros_like(bins, dtype=torch.bool)
    for k in range(1, 20):
        near = (bins - 200 * k * 2 ** (3 / 12)).abs() < 12
        assert abs(db(power[near].sum() / power.sum() * 19)) < 0.6
        own |= near
    assert db(power[~own].sum() / power[own].sum()) < -45


def test_a_gliding_tone_stays_steady() -> None:
    """Its energy wanders from bin to bin: without phase locking it loses 3 dB and flutters by 12."""
    seconds = torch.arange(3 * RATE).double() / RATE
    clip = (0.3 * torch.sin(2 * torch.pi * (300 * seconds + 1000 * seconds**2))).float()
    shifted = shift_pitch(clip[None], [2 ** (1.3 / 12)], N_FFT)[0, RATE // 4 : -RATE // 4]
    loudness = shifted.unfold(0, 2048, 512).square().mean(1)
    assert abs(db(loudness.mean() / 0.045)) < 0.3 and db(loudness.max() / loudness.min()) < 0.5


def test_events_stay_in_their_place() -> None:
    clip = torch.zeros(3 * RATE)
    at = [20000, 60000, 100000]
    for start in at:
        clip[start : start + 3000] = tone(2000)[:3000]
    for semitones in (-2, 2):
        shifted = shift_pitch(clip[None], [2 ** (semitones / 12)], N_FFT)[0]
        assert shifted.square().sum().item() == pytest.approx(clip.square().sum().item(), rel=0.1)
        for start in at:
            near = shifted[start - 500 : start + 3500].square().sum() * 3
            assert near.item() == pytest.approx(shifted.square().sum().item(), rel=0.1)


def test_nothing_is_folded_back() -> None:
    power, bins = spectrum(shift_pitch(white(1, 2 * RATE), [2 ** (-1)], N_FFT)[0])
    assert db(power[bins > 11500].mean() / power[bins < 10500].mean()) < -20
    shifted = shift_pitch(tone(15000)[None], [2.0], N_FFT)[0]
    assert db(shifted.square().mean() / 0.045) < -40  # 30 kHz cannot be; it must not appear at 14.1


def test_white_noise_keeps_its_level() -> None:
    clip = white(1, 2 * RATE)
    for semitones in (-2, 2):
        level = db(shift_pitch(clip, [2 ** (semitones / 12)], N_FFT).square().mean() / clip.square().mean())
        assert -2 < level < 0.5


def test_pitch_agrees_with_torchaudio() -> None:
    """Downwards, where torchaudio 2.11 keeps the level (upwards it loses 12 dB)."""
    clip = tone(440) + tone(1320, amplitude=0.1)
    theirs = torchaudio.functional.pitch_shift(clip[None], RATE, -2, n_fft=N_FFT)[0].detach()
    ours = shift_pitch(clip[None], [2 ** (-2 / 12)], N_FFT)[0]
    (power, bins), (expected, _) = spectrum(ours), spectrum(theirs)
    for hz in (440 * 2 ** (-2 / 12), 1320 * 2 ** (-2 / 12)):
        near = (bins - hz).abs() < 12
        assert abs(db(power[near].sum() / expected[near].sum())) < 0.3


def test_pitch_is_shifted_in_half_of_the_clips() -> None:
    waveform = torch.stack([tone(1000, 0.5) for _ in range(100)])
    shifted = pitch_shift(waveform, generators(100), RATE, 2)
    same = [torch.equal(*pair) for pair in zip(waveform, shifted, strict=True)]
    assert 35 <= sum(same) <= 65
    moved = []
    for clip, unchanged in zip(shifted, same, strict=True):
        if not unchanged:
            power, hz = spectrum(nn.functional.pad(clip, (RATE, RATE)))
            moved.append(12 * np.log2(float(hz[power.argmax()]) / 1000))
    assert -2.05 < min(moved) < -1.5 and 1.5 < max(moved) < 2.05
    assert np.std(moved) == pytest.approx(4 / 12**0.5, rel=0.2)


# Noise


def test_noise_has_the_ratio_that_was_drawn() -> None:
    waveform = torch.stack([tone(1000, 1, amplitude) for amplitude in (0.01, 0.1, 0.3, 0.9)] * 50)
    noisy = noise(waveform, generators(200), RATE, 15, 40)
    ratios = []
    for before, after in zip(waveform, noisy, strict=True):
        if torch.equal(before, after):
            continue
        added = (after - before).double()
        ratios.append(db(before.square().mean() / added.square().mean()))
        halves = torch.fft.rfft(added).abs().square()[1:].chunk(2)
        assert abs(db(halves[0].sum() / halves[1].sum())) < 0.5  # white
    assert 80 <= len(ratios) <= 120
    assert 14.9 < min(ratios) < 18 and 37 < max(ratios) < 40.1
    assert np.mean(ratios) == pytest.approx(27.5, abs=2)


# Bandwidth


def test_nothing_is_left_above_the_cut_off() -> None:
    clip = white(2, RATE)
    limited = low_pass(clip, [4000 / RATE, 8000 / RATE])
    for before, after, hz in zip(clip, limited, (4000, 8000), strict=True):
        power, original = torch.fft.rfft(after.double()).abs() ** 2, torch.fft.rfft(before.double()).abs() ** 2
        assert db(power[hz + 1 :].mean() / power[:hz].mean()) < -120
        torch.testing.assert_close(power[:hz], original[:hz], rtol=1e-3, atol=1e-3)


def test_narrow_sound_looks_as_resampled_sound_does() -> None:
    """The rows above 8 kHz are as low in a limited clip as in one that was recorded at 16 kHz."""
    clip = white(1, RATE)
    recorded = torch.from_numpy(soxr.resample(soxr.resample(clip[0].numpy(), RATE, 16000), 16000, RATE))[None]
    frontend = Frontend(Config())
    sounds = (low_pass(clip, [8000 / RATE]), recorded, clip)
    ours, theirs, full = (frontend(sound)[0, 0, :, 4:-4] for sound in sounds)  # without the clip's edges
    print((full - ours)[100:].min(1).values, (full - theirs)[100:].min(1).values, (full - ours).abs()[90:].max(1).values)
    assert (full[112:] - ours[112:]).min() > 40 and (full[112:] - theirs[112:]).min() > 30
    assert (ours[:95] - full[:95]).abs().max() < 1


def test_cut_offs_are_log_uniform_in_half_of_the_clips() -> None:
    limited = band_limit(white(200, RATE // 2), generators(200), RATE, 4000, 16000)
    power = torch.fft.rfft(limited).abs() ** 2
    last = (power > power.mean(1, keepdim=True) * 1e-6).float().cumsum(1).argmax(1) * 2.0  # Hz
    cutoffs = last[last < 21000]
    assert 80 <= len(cutoffs) <= 120
    assert 3990 <= cutoffs.min() < 4200 and 15000 < cutoffs.max() <= 16000
    assert cutoffs.log2().mean().item() == pytest.approx(np.log2(8000), abs=0.15)


# All of them


@pytest.mark.parametrize("name", PERTURBATIONS)
@pytest.mark.parametrize("samples", [1, 3, 1000, 44101])
def test_silence_stays_silent_and_lengths_stay(name: str, samples: int) -> None:
    silence = torch.zeros(8, samples)
    assert torch.equal(PERTURBATIONS[name](silence, generators(8), RATE, *parse([name])[name]), silence)
    for rate in (RATE, 16000):
        loud = PERTURBATIONS[name](torch.ones(8, samples), generators(8), rate, *parse([name])[name])
        assert loud.shape == silence.shape and torch.isfinite(loud).all()


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_the_input_is_left_alone(name: str) -> None:
    waveform = white(4, 20000)
    before = waveform.clone()
    PERTURBATIONS[name](waveform, generators(4), RATE, *parse([name])[name])
    assert torch.equal(waveform, before)


EVERYTHING = ("speed", "pitch-shift", "noise", "band-limit", "spec-augment")


def plain(waveform: Tensor) -> Tensor:
    """An image of one row: the waveform itself."""
    return waveform[:, None, None]


def made_by(names: Sequence[str], mixup: str, batch: Batch, examples: Sequence[int]) -> tuple[Tensor, Tensor, Tensor | None]:
    """Image, target and mask of some examples of a batch, each from generators of its own."""
    augment = Augment(names, mixup, 1.0, RATE)
    clips = [example * augment.clips_per_example + k for example in examples for k in range(augment.clips_per_example)]
    part = Batch(batch.waveform[clips], batch.target[clips])
    rngs = [np.random.default_rng([6, example]) for example in examples]
    image, target = augment.images(part, plain, [np.random.default_rng([5, clip]) for clip in clips], rngs)
    return image, target, augment.mask(128, image.shape[-1], rngs)


@pytest.mark.parametrize("mixup", MIXUPS)
def test_an_example_is_the_same_in_any_company(mixup: str) -> None:
    """Not to the bit: matrix products and Fourier transforms may add in another order in another batch."""
    batch = Batch(white(12, 30000), torch.eye(12))
    together = made_by(EVERYTHING, mixup, batch, range(6))
    for examples in ([0], [3], [5, 1], [2, 4, 0]):
        for found, expected in zip(made_by(EVERYTHING, mixup, batch, examples), together, strict=True):
            torch.testing.assert_close(found, expected[examples], rtol=0, atol=2e-6)


def test_an_augmentation_changes_no_numbers_of_another() -> None:
    batch = Batch(white(12, 30000), torch.eye(12))
    everything = made_by(EVERYTHING, "standard", batch, range(6))
    for left_out in EVERYTHING:
        names = [name for name in EVERYTHING if name != left_out]
        image, target, mask = made_by(names, "standard", batch, range(6))
        assert torch.equal(target, everything[1])
        assert (mask is None) if left_out == "spec-augment" else torch.equal(mask, everything[2])
        assert torch.equal(image, everything[0]) == (left_out == "spec-augment")
    unmixed = made_by(EVERYTHING, "none", batch, range(6))
    assert torch.equal(unmixed[2], everything[2])
    assert torch.equal(
        made_by(["noise"], "none", batch, range(12))[0], made_by(["spec-augment", "noise"], "none", batch, range(12))[0]
    )
    for names in (["speed"], ["pitch-shift"], ["noise"]):  # mixed, the clips have the numbers that they have unmixed
        apart, (mixed, ratios, _) = made_by(names, "none", batch, range(12))[0], made_by(names, "standard", batch, range(6))
        torch.testing.assert_close(mixed, blend(apart, ratios[range(6), range(0, 12, 2)]), rtol=0, atol=2e-6)


def test_the_order_of_names_says_nothing() -> None:
    batch = Batch(white(4, 20000), torch.eye(4))
    there, back = (made_by(names, "none", batch, range(4)) for names in (EVERYTHING, EVERYTHING[::-1]))
    assert all(torch.equal(*pair) for pair in zip(there, back, strict=True))


def test_both_clips_of_an_example_share_their_bandwidth() -> None:
    batch = Batch(white(80, 30000), torch.eye(80))
    image = made_by(["band-limit"], "modified", batch, range(40))[0][:, 0, 0]
    power = torch.fft.rfft(image).abs() ** 2
    narrow = power[:, 16000 * 30000 // RATE + 1 :].mean(1) < 1e-6 * power.mean(1)
    assert 10 <= narrow.sum() <= 30


def test_without_augmentation_nothing_changes() -> None:
    batch = Batch(white(3, 5000), torch.eye(3))
    image, target, mask = made_by([], "none", batch, range(3))
    assert torch.equal(image[:, 0, 0], batch.waveform) and torch.equal(target, batch.target) and mask is None


# SpecAugment


def test_stripe_widths_are_uniform_below_the_maximum() -> None:
    rng = np.random.default_rng(0)
    for width in (64, 16):
        masks = np.stack([stripes(4096, width, rng, 2) for _ in range(4000)])
        dropped = 4096 - masks.sum(1)  # of two stripes that hardly ever meet
        begins = (np.diff(masks.astype(int), axis=1, prepend=1) < 0).sum(1)
        assert dropped.max() <= 2 * (width - 1) and begins.max() == 2
        assert dropped.mean() == pytest.approx(width - 1, rel=0.03)
        assert dropped.var() == pytest.approx(2 * (width**2 - 1) / 12, rel=0.1)


def test_stripes_start_anywhere() -> None:
    rng = np.random.default_rng(0)
    keep = np.stack([stripes(128, 16, rng, 2) for _ in range(20000)])
    dropped = 1 - keep.mean(0)
    assert dropped[15:112].std() / dropped[15:112].mean() < 0.05  # as likely everywhere, but at the edges
    assert dropped[0] > 0 and (keep.sum(1) < 128).mean() == pytest.approx(1 - 1 / 256, abs=0.01)


def test_a_mask_is_whole_rows_and_whole_frames() -> None:
    augment = Augment(["spec-augment"], "none", 1.0, RATE)
    masks = augment.mask(128, 512, generators(200))
    assert masks is not None and masks.shape == (200, 1, 128, 512) and masks.dtype == torch.float32
    assert ((masks == 0) | (masks == 1)).all()
    mask = masks[:, 0].bool().numpy()
    rows, frames = mask.any(2), mask.any(1)
    assert np.array_equal(mask, rows[:, :, None] & frames[:, None, :])
    for kept, width in ((rows, 16), (frames, 64)):
        dropped = kept.shape[1] - kept.sum(1)
        begins = (np.diff(kept.astype(int), axis=1, prepend=1) < 0).sum(1)
        assert dropped.max() <= 2 * (width - 1) and begins.max() == 2
        assert dropped.mean() == pytest.approx(width - 1, rel=0.12)  # two of (width - 1) / 2, which may overlap


def test_masks_are_functions_of_their_seeds_and_values() -> None:
    def masks(name: str, seed: int) -> Tensor:
        found = Augment([name], "none", 1.0, RATE).mask(128, 128, generators(40, seed))
        assert found is not None
        return found

    first = masks("spec-augment", 1)
    assert torch.equal(first, masks("spec-augment=64x16", 1)) and not torch.equal(first, masks("spec-augment", 2))
    assert not torch.equal(first[0], first[1])
    assert masks("spec-augment=1x1", 1).all()
    assert masks("spec-augment=8x64", 1).mean() < 0.6 and masks("spec-augment=8x1", 1).mean() > 0.9


def test_a_small_image_is_never_dropped_whole() -> None:
    rows, frames = spec_augment(12, 20, generators(2000), 64, 16, 2)
    assert rows.shape == (2000, 12) and frames.shape == (2000, 20)
    assert rows.any(1).all() and frames.any(1).all()
