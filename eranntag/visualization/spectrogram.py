"""The sound of a picture: its spectrogram and itself as MP3, read once more, in bounded memory whatever its length."""

import io
import math
import threading
from dataclasses import dataclass
from itertools import chain

import numpy as np
import soundfile
import soxr

from eranntag import features
from eranntag.audio import filterbanks, reader
from eranntag.inference.prepared import cancellable

COLUMNS = 1000  # of images (and of lanes), at most: what a screen can show
BANDS = 64  # of the spectrogram
HIGHEST_HZ = 22050.0
WINDOW_SECONDS = 0.046  # of the spectrogram
FLOOR = 1e-10  # of its power: -100 dB
CARRIED_SECONDS = 60  # of the longest sound that is small enough for a page
HOPS_PER_SECOND, LONG_HOPS_PER_SECOND = 100, 25  # of the windows; of longer sounds
MP3_RATE_HZ, MP3_LEVEL = 32000, 0.889  # LAME's constant 64 kbit/s


@dataclass(frozen=True)
class Sight:
    """The sound itself: `image` (mel bands, columns) float32 in dB, the lowest band first, each column an equal part of its
    seconds; `mp3`, empty of a sound that is too long to be carried in a page. The bands end at `highest_hz`."""

    image: np.ndarray
    mp3: bytes
    highest_hz: float = HIGHEST_HZ


def sight(source: reader.Source, stop: threading.Event | None = None, carry: bool = True) -> Sight:
    """A file of any length in bounded memory; its MP3 only to `carry`. Raises AudioError when it cannot be read,
    InterruptedError after `stop`."""
    sound = reader.open_stream(source)
    blocks = cancellable(reader.mono_blocks(sound, sound.rate), stop or threading.Event())
    beginning, samples = [], 0
    for block in blocks:
        beginning.append(block)
        samples += len(block)
        if long := samples > CARRIED_SECONDS * sound.rate:
            break
    spectrogram = _Spectrogram(sound.rate, LONG_HOPS_PER_SECOND if long else HOPS_PER_SECOND)
    for block in chain(beginning, blocks):
        spectrogram.add(block)
    mp3 = b"" if long or not carry else _mp3(np.concatenate(beginning), sound.rate)
    return Sight(spectrogram.image(), mp3, spectrogram.config.fmax_hz)


def _mp3(samples: np.ndarray, rate: int) -> bytes:
    """Mono; empty where libsndfile cannot write it."""
    if "MP3" not in soundfile.available_formats():
        return b""
    if rate != MP3_RATE_HZ:
        samples = soxr.resample(samples, rate, MP3_RATE_HZ, quality=reader.QUALITY)
    file = io.BytesIO()
    how = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "CONSTANT", "compression_level": MP3_LEVEL}
    soundfile.write(file, samples.clip(-1, 1), MP3_RATE_HZ, **how)
    return file.getvalue()


def band_edges_hz(highest_hz: float) -> np.ndarray:
    """The edges of the spectrogram's bands: entries 1 .. BANDS are their centres."""
    return filterbanks.mel_edges(BANDS, 0, highest_hz)


class _Spectrogram:
    """Of a sound at `rate` that comes in blocks. Held are at most 2 COLUMNS columns of power, each the mean of `merged`
    frames: when there are as many, neighbours become one."""

    def __init__(self, rate: int, hops_per_second: int) -> None:
        highest = min(HIGHEST_HZ, rate / 2)
        finest = float(np.diff(band_edges_hz(highest)[:2])[0])  # half the width of the lowest band, which needs some bins
        window = 2 ** round(math.log2(rate * max(WINDOW_SECONDS, 2 / finest)))
        self.hop = max(1, min(rate // hops_per_second, window))  # so that windows touch
        logmel = features.twin("logmel")
        assert logmel is not None
        self.config = logmel.Config(
            rate, self.hop, window_samples=window, n_mels=BANDS, fmin_hz=0.0, fmax_hz=highest, floor=FLOOR
        )
        self._frames = logmel.frames
        self.samples, self.merged = 0, 1
        self._signal = np.zeros(window // 2 - self.hop // 2, np.float32)  # so that a frame is about the middle of its hop
        self._columns, self._rest = np.zeros((BANDS, 0)), np.zeros((BANDS, 0))

    def add(self, block: np.ndarray) -> None:
        self.samples += len(block)
        self._keep(self._power(block))

    def image(self) -> np.ndarray:
        """(BANDS, columns) float32 in dB of all that was added."""
        hops = -(-self.samples // self.hop)
        missing = hops - self._columns.shape[1] * self.merged - self._rest.shape[1]
        self._keep(self._power(np.zeros(self.config.window_samples + missing * self.hop, np.float32))[:, :missing])
        sums = np.cumsum(np.concatenate([np.zeros((BANDS, 1)), self._columns * self.merged, self._rest], 1), 1)
        whole = self._columns.shape[1] * self.merged  # hops
        at = np.concatenate([np.arange(0, whole, self.merged), np.arange(whole, hops + 1)])  # which `sums` have been reached
        edges = np.linspace(0, self.samples / self.hop, min(COLUMNS, hops) + 1)
        power = np.stack([np.diff(np.interp(edges, at, band)) for band in sums]) / edges[1]
        return (10 * np.log10(np.maximum(power, FLOOR))).astype(np.float32)

    def _power(self, block: np.ndarray) -> np.ndarray:
        """(BANDS, frames), of the windows that `block` completes."""
        self._signal = np.concatenate([self._signal, block])
        if len(self._signal) < self.config.window_samples:
            return np.zeros((BANDS, 0))
        image = self._frames(self._signal, self.config)
        self._signal = self._signal[image.shape[1] * self.hop :]
        return 10 ** (image.astype(np.float64) / 10)

    def _keep(self, power: np.ndarray) -> None:
        self._rest = np.concatenate([self._rest, power], 1)
        while True:
            count = min(self._rest.shape[1] // self.merged, 2 * COLUMNS - self._columns.shape[1])
            whole = self._rest[:, : count * self.merged].reshape(BANDS, count, self.merged).mean(2)
            self._columns = np.concatenate([self._columns, whole], 1)
            self._rest = self._rest[:, count * self.merged :]
            if self._columns.shape[1] < 2 * COLUMNS:
                return
            self._columns = self._columns.reshape(BANDS, COLUMNS, 2).mean(2)
            self.merged *= 2
