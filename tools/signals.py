"""Computed signals: tones, sweeps, noises, telephone signals, alarms, pulses, silence."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 44100
SIGNAL_SECONDS = 6.0
TIME = np.arange(round(SIGNAL_SECONDS * RATE_HZ)) / RATE_HZ
KEYPAD = {key: (row, column) for row, keys in zip((697, 770, 852, 941), ("123A", "456B", "789C", "*0#D"), strict=True)
          for column, key in zip((1209, 1336, 1477, 1633), keys, strict=True)}  # fmt: skip


def signals(folder: Path) -> None:
    """Tones, sweeps, noises, telephone signals, beeps, sirens, pulses, silence: SIGNALS, ten of each with other parameters."""
    for name, make in SIGNALS.items():
        for index in range(10):
            waveform = make(np.random.default_rng([index, len(name)]))
            soundfile.write(folder / f"{name}-{index}.wav", waveform.clip(-1, 1), RATE_HZ, subtype="PCM_16")


def _tone(frequency: float | np.ndarray, shape: Callable[[np.ndarray], np.ndarray] = np.sin) -> np.ndarray:
    """A tone whose frequency in Hz may change over TIME."""
    return shape(2 * np.pi * np.cumsum(np.broadcast_to(frequency, TIME.shape)) / RATE_HZ)


def _square(phase: np.ndarray) -> np.ndarray:
    return np.sign(np.sin(phase))


def _sawtooth(phase: np.ndarray) -> np.ndarray:
    return phase / np.pi % 2 - 1


def _noise(rng: np.random.Generator, exponent: float, low: float = 20, high: float = 22050) -> np.ndarray:
    """Noise whose power falls as frequency to the `exponent`, in a band of Hz; peak 1."""
    frequencies = np.fft.rfftfreq(len(TIME), 1 / RATE_HZ)
    spectrum = rng.normal(size=(2, len(frequencies))).T @ np.array([1, 1j])
    spectrum *= np.maximum(frequencies, 20) ** (-exponent / 2) * ((frequencies >= low) & (frequencies <= high))
    waveform = np.fft.irfft(spectrum, len(TIME))
    return waveform / np.abs(waveform).max()


def _gate(period: float, share: float) -> np.ndarray:
    return (TIME % period < share * period).astype(float)


def _dtmf(rng: np.random.Generator) -> np.ndarray:
    keys = rng.choice(list(KEYPAD), 30)
    rows, columns = (np.array([KEYPAD[keys[int(at)]][side] for at in TIME / 0.2]) for side in (0, 1))
    return 0.3 * (_tone(rows) + _tone(columns)) * _gate(0.2, 0.6)


def _pulses(rng: np.random.Generator, rate: float, ring_hz: float, decay: float) -> np.ndarray:
    """Decaying oscillations at times that are a little irregular."""
    starts = np.zeros(len(TIME))
    at = np.cumsum(rng.normal(1 / rate, 0.03 / rate, int(2 * rate * SIGNAL_SECONDS)).clip(1e-4)) * RATE_HZ
    starts[at[at < len(TIME)].astype(int)] = 1
    kernel = np.exp(-TIME[:8192] / decay) * np.sin(2 * np.pi * ring_hz * TIME[:8192])
    size = len(TIME) + len(kernel)
    waveform = np.fft.irfft(np.fft.rfft(starts, size) * np.fft.rfft(kernel, size), size)[: len(TIME)]
    return 0.8 * waveform / np.abs(waveform).max()


def _sweep(rng: np.random.Generator) -> np.ndarray:
    low, high = sorted(rng.uniform(50, 12000, 2))
    ramp = TIME / rng.choice([0.2, 1.0, 3.0, 6.0]) % 1
    return 0.5 * _tone(low * (high / low) ** (ramp if rng.random() < 0.6 else 1 - ramp))


def _siren(rng: np.random.Generator) -> np.ndarray:
    middle, period = rng.uniform(500, 1100), rng.choice([0.3, 1.2, 4.0])
    course = np.sin(2 * np.pi * TIME / period) if rng.random() < 0.5 else np.sign(np.sin(2 * np.pi * TIME / period))
    return 0.4 * _tone(middle * 1.35**course, _square if rng.random() < 0.5 else np.sin)


def _wind(rng: np.random.Generator) -> np.ndarray:
    gusts = 0.6 + 0.4 * np.sin(2 * np.pi * rng.uniform(0.1, 0.4) * TIME + rng.uniform(0, 6))
    return gusts * (0.5 * _noise(rng, 1.5, 80, 900) + 0.3 * _noise(rng, 0, *sorted(rng.uniform(300, 1500, 2) * [0.9, 1.1])))


def _heartbeat(rng: np.random.Generator) -> np.ndarray:
    beats = _pulses(rng, rng.uniform(0.9, 2), rng.uniform(40, 70), 0.05)
    return beats + 0.7 * np.roll(beats, round(0.3 * RATE_HZ))


def _mains_hum(rng: np.random.Generator) -> np.ndarray:
    mains = rng.choice([50.0, 60.0])
    return 0.1 * sum(rng.random() * _tone(mains * harmonic) for harmonic in range(1, 9)) + 0.01 * _noise(rng, 0)


def _crackle(rng: np.random.Generator) -> np.ndarray:
    return 0.5 * np.where(rng.random(len(TIME)) < 0.0008, rng.normal(size=len(TIME)), 0) + 0.01 * _noise(rng, 1)


def _ring(rng: np.random.Generator) -> np.ndarray:
    return 0.4 * (_tone(rng.uniform(1200, 1600)) + _tone(rng.uniform(1700, 2300))) * _gate(0.05, 0.6) * _gate(3.0, 0.5)


SIGNALS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "sine": lambda rng: rng.uniform(0.1, 0.8) * _tone(50 * 200 ** rng.random()),
    "square": lambda rng: rng.uniform(0.1, 0.4) * _tone(50 * 40 ** rng.random(), _square),
    "sawtooth": lambda rng: rng.uniform(0.1, 0.5) * _tone(40 * 40 ** rng.random(), _sawtooth),
    "sweep": _sweep,
    "white-noise": lambda rng: rng.uniform(0.05, 0.9) * _noise(rng, 0),
    "pink-noise": lambda rng: rng.uniform(0.05, 0.9) * _noise(rng, 1),
    "brown-noise": lambda rng: rng.uniform(0.1, 0.9) * _noise(rng, 2),
    "band-noise": lambda rng: 0.5 * _noise(rng, 0, *np.sort(rng.uniform(50, 9000, 2))),
    "silence": lambda rng: 10 ** rng.uniform(-5, -3.5) * rng.normal(size=len(TIME)),
    "mains-hum": _mains_hum,
    "dial-tone": lambda rng: 0.3 * (_tone(350) + _tone(440)) if rng.random() < 0.5 else 0.5 * _tone(425),
    "busy-signal": lambda rng: 0.3 * (_tone(480) + _tone(620)) * _gate(rng.choice([0.5, 1.0]), 0.5),
    "dtmf": _dtmf,
    "telephone-ring": _ring,
    "beeps": lambda rng: 0.4 * _tone(rng.uniform(800, 4000)) * _gate(rng.choice([0.25, 0.5, 1.0, 2.0]), rng.uniform(0.1, 0.6)),
    "siren": _siren,
    "ticks": lambda rng: _pulses(rng, rng.choice([1.0, 2.0, 5.0]), rng.uniform(1500, 5000), 0.004),
    "engine": lambda rng: 0.7 * _pulses(rng, rng.uniform(15, 120), rng.uniform(60, 250), 0.02) + 0.1 * _noise(rng, 1),
    "clicks": lambda rng: _pulses(rng, rng.uniform(3, 40), rng.uniform(500, 8000), 0.001),
    "heartbeat": _heartbeat,
    "wind": _wind,
    "crackle": _crackle,
    "tremolo": lambda rng: 0.5 * _tone(rng.uniform(200, 1500)) * (0.5 + 0.5 * _tone(rng.uniform(3, 40))),
}  # fmt: skip
