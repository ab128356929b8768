"""Mel spectrograms for pictures, of sounds of any length in bounded memory."""

import math

import numpy as np

from eranntag import features
from eranntag.audio import filterbanks

COLUMNS = 1000  # of a picture, at most: the width of a screen
BANDS = 64
HIGHEST_HZ = 22050.0
WINDOW_SECONDS = 0.046
FLOOR = 1e-10  # of the power: -100 dB


def band_edges_hz(highest_hz: float) -> np.ndarray:
    """Return the edges of the mel bands (BANDS + 2,) in Hz: entries 1 to BANDS are their centers."""
    return filterbanks.mel_edges(BANDS, 0, highest_hz)


class Spectrogram:
    """The mel spectrogram of a waveform at `rate` Hz that comes in blocks, with up to `hops_per_second` frames a second."""

    def __init__(self, rate: int, hops_per_second: int) -> None:
        self.highest_hz = min(HIGHEST_HZ, rate / 2)
        lowest_width_hz = float(np.diff(band_edges_hz(self.highest_hz)[:2])[0])
        seconds = max(WINDOW_SECONDS, 2 / lowest_width_hz)  # so that the lowest band holds some bins
        window = 2 ** round(math.log2(rate * seconds))
        self.hop = max(1, min(rate // hops_per_second, window))  # windows leave no gaps
        logmel = features.twin("logmel")
        assert logmel is not None
        self.config = logmel.Config(
            rate, self.hop, window_samples=window, n_mels=BANDS, fmin_hz=0.0, fmax_hz=self.highest_hz, floor=FLOOR
        )
        self._log_mel = logmel.frames
        self._samples = 0
        self._signal = np.zeros(window // 2 - self.hop // 2, np.float32)  # centers each window on the middle of its hop
        self._power = ColumnSums()

    def add(self, block: np.ndarray) -> None:
        """Add the samples (samples,) float32 that follow."""
        self._samples += len(block)
        self._power.add(self._frames(block))

    def image(self) -> np.ndarray:
        """Return the spectrogram (BANDS, columns) float32 in dB of all that was added, the lowest band first.

        Each of the up to COLUMNS columns is the mean power of an equal part of the sound. Nothing can be added afterwards.
        """
        frames = -(-self._samples // self.hop)
        missing = frames - self._power.frames
        padding = np.zeros(self.config.window_samples + missing * self.hop, np.float32)
        self._power.add(self._frames(padding)[:, :missing])
        power = self._power.means(self._samples / self.hop, min(COLUMNS, frames))
        decibels: np.ndarray = 10 * np.log10(np.maximum(power, FLOOR))
        return decibels.astype(np.float32)

    def _frames(self, block: np.ndarray) -> np.ndarray:
        """Return the mel power (BANDS, frames) of the windows that `block` completes."""
        self._signal = np.concatenate([self._signal, block])
        if len(self._signal) < self.config.window_samples:
            return np.zeros((BANDS, 0))
        decibels = self._log_mel(self._signal, self.config)
        self._signal = self._signal[decibels.shape[1] * self.hop :]
        power: np.ndarray = 10 ** (decibels.astype(np.float64) / 10)
        return power


class ColumnSums:
    """Sums of successive frames in fewer than 2 COLUMNS columns, each of `merged` frames.

    When there are 2 COLUMNS, neighbors are added up and `merged` doubles. Frames of an incomplete column are kept in `rest`.
    """

    def __init__(self) -> None:
        self.merged = 1
        self.sums = np.zeros((BANDS, 0))
        self.rest = np.zeros((BANDS, 0))

    @property
    def frames(self) -> int:
        """The number of frames that were added."""
        return self.sums.shape[1] * self.merged + self.rest.shape[1]

    def add(self, frames: np.ndarray) -> None:
        """Add (BANDS, frames)."""
        self.rest = np.concatenate([self.rest, frames], 1)
        while True:
            columns = min(self.rest.shape[1] // self.merged, 2 * COLUMNS - self.sums.shape[1])
            complete, self.rest = np.split(self.rest, [columns * self.merged], 1)
            sums = complete.reshape(BANDS, columns, self.merged).sum(2)
            self.sums = np.concatenate([self.sums, sums], 1)
            if self.sums.shape[1] < 2 * COLUMNS:
                return
            self.sums = self.sums.reshape(BANDS, COLUMNS, 2).sum(2)
            self.merged *= 2

    def means(self, length: float, columns: int) -> np.ndarray:
        """Return the means (BANDS, columns) of equal parts of the first `length` frames."""
        complete = self.sums.shape[1] * self.merged
        ends = np.concatenate([np.arange(0, complete, self.merged), np.arange(complete, self.frames + 1)])
        values = np.concatenate([np.zeros((BANDS, 1)), self.sums, self.rest], 1)
        cumulative = np.cumsum(values, 1)  # at `ends`, in frames
        edges = np.linspace(0, length, columns + 1)
        means: np.ndarray = np.stack([np.diff(np.interp(edges, ends, band)) for band in cumulative]) / edges[1]
        return means
