"""The sound beside its picture: a spectrogram and an MP3, read from the file once more."""

import io
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain

import numpy as np
import soundfile
import soxr

from eranntag.audio import reader
from eranntag.errors import error_reason
from eranntag.inference.pipeline import readers
from eranntag.inference.prepared import cancellable
from eranntag.types import Failure
from eranntag.visualization.spectrogram import HIGHEST_HZ, Spectrogram
from eranntag.visualization.timeline import View

MP3_SECONDS = 60  # longer sounds have no MP3: a page holds many
HOPS_PER_SECOND, LONG_HOPS_PER_SECOND = 100, 25  # of a spectrogram; of that of a longer sound
MP3_RATE_HZ, MP3_LEVEL = 32000, 0.889  # LAME's constant 64 kbit/s


@dataclass(frozen=True)
class ClipPreview:
    """`mel` (mel bands, columns) float32 in dB, the lowest band first, each column an equal part of the sound, the highest
    band ending at `highest_hz`; and `mp3`, empty for a sound that is too long for a page."""

    mel: np.ndarray
    mp3: bytes
    highest_hz: float = HIGHEST_HZ


def render_preview(source: reader.Source, stop: threading.Event | None = None, with_mp3: bool = True) -> ClipPreview:
    """Return the preview of a file of any length, in bounded memory.

    Raises AudioError when it cannot be read, InterruptedError after `stop` is set.
    """
    sound = reader.open_stream(source)
    blocks = cancellable(reader.mono_blocks(sound, sound.rate), stop or threading.Event())
    beginning, samples = [], 0
    for block in blocks:
        beginning.append(block)
        samples += len(block)
        if samples > MP3_SECONDS * sound.rate:
            break
    is_long = samples > MP3_SECONDS * sound.rate
    spectrogram = Spectrogram(sound.rate, LONG_HOPS_PER_SECOND if is_long else HOPS_PER_SECOND)
    for block in chain(beginning, blocks):
        spectrogram.add(block)
    mp3 = _mp3(np.concatenate(beginning), sound.rate) if with_mp3 and not is_long else b""
    return ClipPreview(spectrogram.image(), mp3, spectrogram.highest_hz)


def _mp3(samples: np.ndarray, rate: int) -> bytes:
    """Return the mono MP3 of (samples,); empty if libsndfile was built without MP3."""
    if "MP3" not in soundfile.available_formats():
        return b""
    if rate != MP3_RATE_HZ:
        samples = soxr.resample(samples, rate, MP3_RATE_HZ, quality=reader.QUALITY)
    file = io.BytesIO()
    encoding = {"subtype": "MPEG_LAYER_III", "bitrate_mode": "CONSTANT", "compression_level": MP3_LEVEL}
    soundfile.write(file, samples.clip(-1, 1), MP3_RATE_HZ, format="MP3", **encoding)
    return file.getvalue()


def iter_previews(results: Iterable[View | Failure], with_mp3: bool = True) -> Iterator[tuple[View, ClipPreview] | Failure]:
    """Yield every view with its preview, in order; threads render a few ahead.

    A file that cannot be read again becomes a Failure. After an interruption, finished previews are yielded before it is
    raised again.
    """
    stop = threading.Event()

    def with_preview(result: View | Failure) -> tuple[View, ClipPreview] | Failure:
        if isinstance(result, Failure):
            return result
        source = result.prediction.source
        try:
            return result, render_preview(source, stop, with_mp3)
        except Exception as error:  # one bad file does not stop the others
            return Failure(source, error_reason(error, source))

    waiting: deque[Future[tuple[View, ClipPreview] | Failure]] = deque()
    pool = ThreadPoolExecutor(readers(), thread_name_prefix="previews")
    interruption: BaseException | None = None
    try:
        try:
            for result in results:  # `prefetch_map` would hold back the first ones until a few more have come
                waiting.append(pool.submit(with_preview, result))
                while waiting and (waiting[0].done() or len(waiting) > 2 * readers()):
                    yield waiting.popleft().result()
        except (KeyboardInterrupt, SystemExit) as error:
            interruption = error
        while waiting and (interruption is None or waiting[0].done()):
            yield waiting.popleft().result()
        if interruption:
            raise interruption
    finally:
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)
