"""Sound files -> pieces of at most ten seconds: cutting, silence, and duplicates."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from eranntag.audio import reader

PIECE_SECONDS = 10.0
SHORTEST_SECONDS = 0.2
HIGHEST_RATE_HZ = 44100
SILENCE_DB = -50.0  # of full scale: a piece whose loudest tenth of a second is quieter is silent
FRAMES, BANDS = 17, 17  # of a fingerprint, which has (FRAMES - 1) * (BANDS - 1) bits
BAND_EDGES_HZ = np.linspace(100, 3400, BANDS + 1)  # telephone band, so that copies at low sample rates are found
SAME_BITS = 40  # of 256 may differ between copies; unrelated sounds differ in 128 +- 8
SAME_SECONDS = 0.02  # relative difference of the lengths of copies


@dataclass(frozen=True)
class Piece:
    """Mono sound (samples,) float32 in [-1, 1], cut from a file at `onset` seconds."""

    waveform: np.ndarray
    rate_hz: int
    onset: float

    @property
    def seconds(self) -> float:
        return len(self.waveform) / self.rate_hz


def duration(path: Path) -> float:
    """Seconds of sound in a file; AudioError if it is not a sound file."""
    try:
        found = soundfile.info(path).duration
    except soundfile.LibsndfileError:  # a format that only PyAV reads
        found = math.inf
    if found < 24 * 3600:
        return found
    clip = reader.read(path)
    return clip.waveform.shape[1] / clip.sample_rate


def piece_onsets(seconds: float, most: int) -> list[float]:
    """Onsets of at most `most` pieces of PIECE_SECONDS, spread evenly; a short sound is one piece."""
    count = min(most, int(seconds // PIECE_SECONDS))
    if count == 0 or seconds == PIECE_SECONDS:
        return [0.0]
    gap = (seconds - count * PIECE_SECONDS) / (count + 1)
    return [round(gap + index * (PIECE_SECONDS + gap), 3) for index in range(count)]


def read_piece(path: Path, onset: float) -> Piece:
    """The mean of the channels from `onset` on, at most PIECE_SECONDS; AudioError if the file is damaged."""
    try:
        with soundfile.SoundFile(path) as file:
            rate = file.samplerate
            file.seek(round(onset * rate))
            waveform = file.read(round(PIECE_SECONDS * rate), dtype="float32", always_2d=True).mean(1)
    except soundfile.LibsndfileError:
        clip = reader.read(path)
        rate, start = clip.sample_rate, round(onset * clip.sample_rate)
        waveform = clip.waveform[:, start : start + round(PIECE_SECONDS * rate)].mean(0)
    if rate > HIGHEST_RATE_HZ:
        waveform, rate = soxr.resample(waveform, rate, HIGHEST_RATE_HZ), HIGHEST_RATE_HZ
    return Piece(np.nan_to_num(waveform).clip(-1, 1), rate, onset)


def loudest_db(piece: Piece) -> float:
    """RMS of the loudest tenth of a second, in dB of full scale; -inf for digital silence."""
    step = max(1, min(len(piece.waveform), piece.rate_hz // 10))
    frames = piece.waveform[: len(piece.waveform) // step * step].reshape(-1, step)
    power = float((frames.astype(np.float64) ** 2).mean(1).max(initial=0))
    return 10 * math.log10(power) if power else -math.inf


def trimmed(waveform: np.ndarray) -> np.ndarray:
    """The waveform without the parts at both ends that are 60 dB below its peak; unchanged if it is all zeros."""
    loud = np.flatnonzero(np.abs(waveform) > 1e-3 * np.abs(waveform).max(initial=0))
    return waveform[loud[0] : loud[-1] + 1] if len(loud) else waveform


def fingerprint(piece: Piece) -> np.ndarray:
    """Bits (256,) that resampling, scaling and compression hardly change: the signs of the differences, over bands and
    frames, of the log energies (Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System", ISMIR 2002)."""
    waveform = trimmed(piece.waveform)
    hop = len(waveform) / (FRAMES + 1)
    window = np.hanning(max(2, round(2 * hop)))
    frames = [waveform[(at := round(index * hop)) : at + len(window)] for index in range(FRAMES)]
    power = [np.abs(np.fft.rfft(np.resize(frame, len(window)) * window)) ** 2 for frame in frames]
    edges = np.minimum((BAND_EDGES_HZ * len(window) / piece.rate_hz).astype(int), len(power[0]) - 1)
    energies = np.log([np.add.reduceat(spectrum, edges)[:BANDS] + 1e-10 for spectrum in power])  # (FRAMES, BANDS)
    return (np.diff(np.diff(energies, axis=0), axis=1) > 0).ravel()


class Duplicates:
    """The fingerprints of all pieces so far."""

    def __init__(self) -> None:
        self._bits = np.zeros((1024, (FRAMES - 1) * (BANDS - 1)), bool)
        self._seconds = np.zeros(1024)
        self._count = 0

    def has(self, bits: np.ndarray, seconds: float) -> bool:
        """Whether a piece as long as this one with nearly the same fingerprint was added before."""
        known = self._seconds[: self._count]
        alike = np.flatnonzero(np.abs(known - seconds) <= SAME_SECONDS * seconds)
        return bool((np.count_nonzero(self._bits[alike] != bits, axis=1) <= SAME_BITS).any())

    def add(self, bits: np.ndarray, seconds: float) -> None:
        if self._count == len(self._seconds):
            self._bits = np.concatenate([self._bits, np.zeros_like(self._bits)])
            self._seconds = np.concatenate([self._seconds, np.zeros_like(self._seconds)])
        self._bits[self._count], self._seconds[self._count] = bits, seconds
        self._count += 1
