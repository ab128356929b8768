"""Soundscapes: new sounds made of random crops of others, for a teacher to label.

One to three crops at random times and levels, sometimes reverberant, in noise or without treble. What is random about an
example is a function of its generator alone, so that it is the same whenever and by whichever process it is made.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from eranntag.audio import noise, reader
from eranntag.training.data import crop

SILENCE_DB = -60.0  # the RMS, re full scale, below which a crop is drawn again
TRIES = 8  # crops that are drawn in place of a silent one, at most


@dataclass(frozen=True)
class Plan:
    """How soundscapes are made. `several` and `three`: the shares of examples with two crops or more, and with three of those.

    `level_db`: of the second and third crop below the first; `gain_db`: of the whole. `narrow`, `noisy` and `reverberant` are
    the shares of examples without treble above a cut-off in `cutoff_hz`, with colored noise at a ratio in `snr_db`, and with a
    reverberation time in `reverberation_seconds`.
    """

    several: float = 0.5
    three: float = 0.3
    level_db: tuple[float, float] = (-15.0, 0.0)
    gain_db: tuple[float, float] = (-20.0, 6.0)
    narrow: float = 0.15
    cutoff_hz: tuple[float, float] = (2000.0, 16000.0)
    noisy: float = 0.15
    snr_db: tuple[float, float] = (5.0, 40.0)
    reverberant: float = 0.15
    reverberation_seconds: tuple[float, float] = (0.2, 1.2)


PLAN = Plan()
Draw = Callable[[np.random.Generator, int], np.ndarray]  # generator, crop's number -> (samples,) int16 of a clip


def soundscape(draw: Draw, samples: int, sample_rate_hz: int, rng: np.random.Generator, plan: Plan = PLAN) -> np.ndarray:
    """(samples,) float32 in [-1, 1] of the clips that `draw` returns."""
    count = 1 if rng.random() >= plan.several else 3 if rng.random() < plan.three else 2
    mixed: np.ndarray = np.zeros(samples, np.float32)
    for number in range(count):
        part = _audible_crop(draw, number, samples, rng)
        if number:
            part = part * _ratio(_rms(mixed), _rms(part)) * _amplitude(rng.uniform(*plan.level_db))
        mixed = mixed + part
    if rng.random() < plan.reverberant:
        mixed = reverberant(mixed, sample_rate_hz, rng.uniform(*plan.reverberation_seconds), rng)
    if rng.random() < plan.noisy:
        hiss = noise.colored(rng, rng.uniform(0, 1), samples, sample_rate_hz)
        mixed = mixed + hiss * _rms(mixed) * _amplitude(-rng.uniform(*plan.snr_db))
    if rng.random() < plan.narrow:
        low, high = np.log(plan.cutoff_hz)
        mixed = without_treble(mixed, np.exp(rng.uniform(low, high)) / sample_rate_hz)
    mixed = mixed * _amplitude(rng.uniform(*plan.gain_db))
    mixed = mixed / max(1.0, np.abs(mixed).max())
    return mixed.astype(np.float32)


def _audible_crop(draw: Draw, number: int, samples: int, rng: np.random.Generator) -> np.ndarray:
    """(samples,) of a clip, which begins anywhere where it is shorter; another one in place of silence."""
    for attempt in range(TRIES):
        clip = draw(rng, number + attempt * 3)
        part = crop(clip, min(samples, len(clip)), rng).astype(np.float32) / reader.FULL_SCALE
        if _rms(part) > _amplitude(SILENCE_DB):
            break
    before = int(rng.random() * (samples - len(part) + 1))
    return np.pad(part, (before, samples - len(part) - before))


def reverberant(waveform: np.ndarray, sample_rate_hz: int, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """The sound in a room whose reverberation falls by 60 dB in `seconds`: itself and noise that decays, equally loud."""
    time = np.arange(round(seconds * sample_rate_hz)) / sample_rate_hz
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / seconds)
    size = 1 << (len(waveform) + len(tail) - 1).bit_length()  # no wrapping round
    wet = np.fft.irfft(np.fft.rfft(waveform, size) * np.fft.rfft(tail.astype(np.float32), size))[: len(waveform)]
    return waveform + wet * _ratio(_rms(waveform), _rms(wet))


def without_treble(waveform: np.ndarray, cutoff: float) -> np.ndarray:
    """Nothing at or above `cutoff`, in cycles per sample: a brick wall in the whole spectrum."""
    spectrum = np.fft.rfft(waveform)
    spectrum[round(cutoff * len(waveform)) :] = 0
    return np.fft.irfft(spectrum, len(waveform)).astype(np.float32)


def _rms(waveform: np.ndarray) -> float:
    return float(np.sqrt(np.square(waveform).mean()))


def _ratio(one: float, other: float) -> float:
    return one / other if other > 0 else 0.0


def _amplitude(decibels: float) -> float:
    return float(10 ** (decibels / 20))
