"""Events in a background: the samples of a mixture."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eranntag.audio import noise, reader
from eranntag.errors import AudioError
from eranntag.types import ShardEntry


@dataclass(frozen=True)
class Protocol:
    """What decides the mixtures, beside their sources. `trim_padding`: the zeros that a collection put behind sounds shorter
    than its clips are no part of the event, neither of its level nor of its duration."""

    snr_db: tuple[float, ...] = (0.0, 10.0, 20.0)
    clips_per_fold: int = 2000
    folds: int = 4
    seed: int = 0
    trim_padding: bool = False
    sample_rate_hz: int = 32_000
    seconds: float = 10.0
    onsets_seconds: tuple[float, ...] = (0.5, 3.0, 5.5)
    event_seconds: float = 2.0

    @property
    def clips(self) -> int:
        return self.folds * self.clips_per_fold

    def samples(self, seconds: float) -> int:
        return round(seconds * self.sample_rate_hz)


def mix(
    events: Sequence[np.ndarray], background: np.ndarray, onsets: Sequence[int], most_samples: int, snr_db: float
) -> np.ndarray:
    """(2, samples), the events and the background in a channel each; the mixture is the mean of the two.

    `events` are whole files (samples,), `onsets` where each begins in `background` (samples,), in samples; none sounds for more
    than `most_samples`. The background gets an RMS of 1, each event one of 10^(SNR / 20) over its *whole file*; then both
    channels are divided by their highest peak. Raises ValueError for silence, which has no level.
    """
    track = np.zeros(len(background))
    for event, onset in zip(events, onsets, strict=True):
        part = (10 ** (snr_db / 20) / rms(event) * event)[: min(most_samples, len(track) - onset)]
        track[onset : onset + len(part)] += part
    channels: np.ndarray = np.stack((track, background / rms(background)))
    channels /= np.abs(channels).max()
    return channels


def rms(waveform: np.ndarray) -> float:
    level = float(np.sqrt(np.square(waveform, dtype=np.float64).mean()))
    if not level:
        raise ValueError("silence has no level")
    return level


def read_source(path: str | ShardEntry, protocol: Protocol) -> np.ndarray:
    """(samples,) float64 of a source file, mono at the protocol's rate. Raises AudioError also for silence."""
    waveform = reader.to_mono(reader.read(path), protocol.sample_rate_hz)
    if protocol.trim_padding:
        waveform = waveform[: np.flatnonzero(np.abs(waveform) * reader.FULL_SCALE >= 1).max(initial=-1) + 1]
    if not waveform.any():
        raise AudioError(f"{path}: is silent")
    return waveform.astype(np.float64)


def background(source: str | int, protocol: Protocol) -> np.ndarray:
    """(samples,) of a background, cut to the mixture's length; a shorter one is repeated."""
    samples = protocol.samples(protocol.seconds)
    if isinstance(source, int):
        return noise.background(source, protocol.seed, samples, protocol.sample_rate_hz)
    return np.resize(read_source(source, protocol), samples)
