"""Audio that a program passes, one source or a list, checked before anything is computed -> the results of a Scorer.

A source is a path, an open binary file, a Clip, or a NumPy array (samples,) or (channels, samples) with its sample rate.
"""

import io
import os
from contextlib import closing
from typing import Any

import numpy as np

from eranntag.audio import decode, reader
from eranntag.errors import AudioError, UsageError
from eranntag.inference.pipeline import Result, Scorer, predict, predict_one
from eranntag.inference.prepared import AudioSource, source_name
from eranntag.inference.sources import STDIN
from eranntag.types import Clip, Failure, ShardEntry

CHANNELS = 64  # at most of an array: one with more is (samples, channels), or no sound

Source = AudioSource | np.ndarray
Sources = list[Any] | tuple[Any, ...]  # of Source


def results(
    scorer: Scorer[Result], source: Source | Sources, sample_rate: int | None = None, name: str = ""
) -> Result | list[Result]:
    """The result of `source`; of a list or tuple the list of their results, in order, computed in batches as `predict` does.

    `sample_rate` (Hz) is that of arrays; `name` replaces the name of one array or open file. Raises UsageError for what is no
    sound, AudioError for a sound that cannot be read; of a list, the error of the first that fails, with its name.
    """
    several = list(source) if isinstance(source, (list, tuple)) else None
    if sample_rate is not None and not any(isinstance(each, np.ndarray) for each in several or [source]):
        raise UsageError("sample_rate belongs to an array; a file, or a Clip, has its own")
    if several is not None:
        return _all(scorer, several, sample_rate)
    return predict_one(scorer, scorer.prepare_source(_checked(source, sample_rate, name), name))


def _all(scorer: Scorer[Result], sources: Sources, sample_rate: int | None) -> list[Result]:
    sounds: list[Any] = [_checked(each, sample_rate, where=f"item {index}: ") for index, each in enumerate(sources)]
    found: list[Result] = []
    with closing(predict(scorer, map(_path, sounds))) as all_results:
        for index, result in enumerate(all_results):
            if isinstance(result, Failure):
                name = source_name(sounds[index])
                raise result.kind(f"{f'item {index}' if name in ('', STDIN) else name}: {result.reason}")
            found.append(result)
    return found


def _path(sound: Any) -> Any:
    """A file that is called "-", which `predict` would take for standard input, by its name alone."""
    return os.path.join(os.curdir, sound) if sound == STDIN else sound


def _checked(source: Any, sample_rate: int | None, name: str = "", where: str = "") -> AudioSource:
    """The argument of `Scorer.prepare_source`. Raises UsageError; AudioError where it holds no samples or NaN."""
    if isinstance(source, np.ndarray):
        return _of_array(source, sample_rate, name, where)
    if isinstance(source, Clip):
        return _of_clip(source, where + (source.source or "clip"))
    if isinstance(source, io.TextIOBase):
        raise UsageError(f"{where}a file that is open as text; open it with mode 'rb'")
    if isinstance(source, (str, os.PathLike, ShardEntry, reader.AudioStream)) or callable(getattr(source, "read", None)):
        audio: AudioSource = source
        return audio
    kind = type(source).__name__
    raise UsageError(f"{where}{kind} is no sound; pass a path, a binary file, a Clip, or a NumPy array with its sample_rate")


def _of_array(array: np.ndarray, sample_rate: int | None, name: str, where: str) -> Clip:
    what = f"{where}array of shape {array.shape}"
    if sample_rate is None:
        raise UsageError(f"{what}: its sample rate is missing; pass sample_rate=, in Hz")
    if array.ndim == 2 and (len(array) > CHANNELS or len(array) > array.shape[1] > 0):
        raise UsageError(f"{what}: {len(array)} channels of {array.shape[1]} samples; channels come first, so pass array.T")
    return _of_clip(Clip(array[None] if array.ndim == 1 else array, sample_rate, name), what)


def _of_clip(clip: Clip, what: str) -> Clip:
    waveform, rate = clip.waveform, clip.sample_rate
    if isinstance(rate, bool) or not isinstance(rate, (int, float, np.integer, np.floating)) or rate % 1 != 0:
        raise UsageError(f"{what}: sample_rate {rate!r} is no whole number of Hz")
    if not decode.SAMPLE_RATES_HZ[0] <= rate <= decode.SAMPLE_RATES_HZ[1]:
        least, most = decode.SAMPLE_RATES_HZ
        raise UsageError(f"{what}: sample_rate {rate}; {least} to {most} Hz can be read")
    if not isinstance(waveform, np.ndarray) or waveform.ndim != 2:
        raise UsageError(f"{what}: a sound is (samples,) or (channels, samples)")
    if waveform.dtype.kind != "f":
        raise UsageError(f"{what}: {waveform.dtype} samples; pass floats, where 1 is full scale{_scaled(waveform.dtype)}")
    if not waveform.size:
        raise AudioError(f"{what}: holds no samples")
    decode.require_valid_samples(waveform, what)
    return Clip(np.asarray(waveform, np.float32), int(rate), clip.source)


def _scaled(dtype: np.dtype[Any]) -> str:
    """How integers become such floats."""
    if dtype.kind == "i":
        return f": divide {dtype} by {np.iinfo(dtype).max + 1}"
    if dtype.kind == "u":
        half = np.iinfo(dtype).max // 2 + 1
        return f": subtract {half} from {dtype}, then divide by {half}"
    return ""
