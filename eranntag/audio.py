"""The only reader of audio files: file -> Clip, and Clip -> the mono waveform at the rate that a model wants.

libsndfile (through soundfile) reads wav, aiff, flac, ogg, opus, mp3, w64, rf64, caf and more; PyAV (the extra `av`) reads
m4a, aac, wma, webm and the sound of videos.
"""

import io
import os
import stat
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from eranntag.errors import AudioError
from eranntag.types import Clip

EXTENSIONS = frozenset(
    "aif aifc aiff au avr caf flac htk ircam mat mp1 mp2 mp3 mpc2k nist oga ogg opus paf pvf rf64 sd2 sds sf snd svx voc "
    "w64 wav wave wavex wve xi".split()
)
AV_EXTENSIONS = frozenset("3gp aac ac3 amr avi flv m4a m4b mka mkv mov mp4 mpeg mpg mts webm wma wmv".split())
RATES_HZ = (100, 3_072_000)  # a header outside claims nonsense, and resampling it would take unbounded memory


def read(source: str | os.PathLike[str] | BinaryIO, name: str = "") -> Clip:
    """Decode a whole file, or an open binary stream, to float32 (channels, samples) at its own rate.

    `name` replaces the path in errors and in `Clip.source`. Raises AudioError for whatever is not sound: absent, not a
    regular file, empty, another format, cut short, NaN or infinite samples, an impossible rate.
    """
    if isinstance(source, (str, os.PathLike)):
        name = name or os.fspath(source)
        _check_regular(source, name)
        with open(source, "rb") as file:
            return _decode(file, name)
    name = name or "-"
    return _decode(io.BytesIO(source.read()), name)  # libsndfile needs to seek


def mono(clip: Clip, sample_rate_hz: int) -> np.ndarray:
    """The mean of the channels, resampled with soxr (HQ): (samples,) float32."""
    waveform = clip.waveform[0] if len(clip.waveform) == 1 else clip.waveform.mean(0, dtype=np.float32)
    if clip.sample_rate != sample_rate_hz:
        waveform = soxr.resample(waveform, clip.sample_rate, sample_rate_hz, quality="HQ")
    return np.ascontiguousarray(waveform, dtype=np.float32)


def _check_regular(path: str | os.PathLike[str], name: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        reason = "a link to a file that does not exist" if os.path.islink(path) else "no such file"
        raise AudioError(f"{name}: {reason}") from None
    except (OSError, ValueError) as error:
        raise AudioError(f"{name}: {getattr(error, 'strerror', None) or error}") from None
    if stat.S_ISDIR(mode):
        raise AudioError(f"{name}: a folder, not a file")
    if not stat.S_ISREG(mode):
        raise AudioError(f"{name}: not a regular file; pipe its content to `-` instead")
    if not os.access(path, os.R_OK):
        raise AudioError(f"{name}: permission denied")


def _decode(file: BinaryIO, name: str) -> Clip:
    if not file.read(1):
        raise AudioError(f"{name}: empty file")
    file.seek(0)
    try:
        waveform, rate = _decode_sndfile(file, name)
    except soundfile.LibsndfileError as error:
        file.seek(0)
        waveform, rate = _decode_av(file, name, reason=error.error_string)
    if waveform.shape[1] == 0:
        raise AudioError(f"{name}: holds no samples")
    if not (np.isfinite(waveform.max()) and np.isfinite(waveform.min())):
        raise AudioError(f"{name}: has NaN or infinite samples")
    return Clip(waveform, rate, name)


def _decode_sndfile(file: BinaryIO, name: str) -> tuple[np.ndarray, int]:
    with soundfile.SoundFile(file) as sound:
        _check_rate(sound.samplerate, name)
        _check_wav_length(file, sound, name)
        blocks = [block.T for block in sound.blocks(1 << 18, dtype="float32", always_2d=True)]
        promised = sound.frames
        rate = sound.samplerate
    waveform = np.concatenate(blocks, 1) if blocks else np.zeros((1, 0), np.float32)
    if waveform.shape[1] < promised < 1 << 62:  # an unknown length is reported as a huge one
        raise AudioError(f"{name}: cut short: {waveform.shape[1]} of {promised} samples can be decoded")
    return waveform, rate


def _check_wav_length(file: BinaryIO, sound: soundfile.SoundFile, name: str) -> None:
    """libsndfile quietly shortens a WAV file whose data chunk is longer than the file; its log still tells."""
    if sound.format not in ("WAV", "WAVEX"):
        return
    for line in sound.extra_info.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "data" and "should be" in value:
            promised, _, rest = value.partition("(should be")
            if promised.strip().isdigit() and int(promised) < 0xFFFFFFFF - 4096 and int(promised) > 0:
                there = rest.strip(" )")
                if int(promised) > int(there):
                    raise AudioError(f"{name}: cut short: {there} of {promised.strip()} bytes of sound are there")


def _check_rate(rate: int, name: str) -> None:
    if not RATES_HZ[0] <= rate <= RATES_HZ[1]:
        raise AudioError(f"{name}: the header claims {rate} Hz; {RATES_HZ[0]} to {RATES_HZ[1]} Hz can be read")


def _decode_av(file: BinaryIO, name: str, reason: str) -> tuple[np.ndarray, int]:
    """What libsndfile does not know. PyAV is imported only here: it is an extra."""
    try:
        import av
    except ImportError:
        if Path(name).suffix.lower().lstrip(".") in AV_EXTENSIONS:
            raise AudioError(f"{name}: this format needs PyAV: pip install 'eranntag[av]'") from None
        raise AudioError(f"{name}: not a readable audio file ({reason.strip().rstrip('.')})") from None
    try:
        with av.open(file) as container:
            if not container.streams.audio:
                raise AudioError(f"{name}: has no audio stream")
            stream = container.streams.audio[0]
            rate = stream.codec_context.sample_rate
            _check_rate(rate, name)
            resampler = av.AudioResampler(format="fltp", rate=rate)
            blocks = [part.to_ndarray() for frame in container.decode(stream) for part in resampler.resample(frame)]
            blocks += [part.to_ndarray() for part in resampler.resample(None)]
    except (av.error.FFmpegError, ValueError) as error:
        text = getattr(error, "strerror", None) or str(error)
        raise AudioError(f"{name}: not a readable audio file ({text})") from None
    return (np.concatenate(blocks, 1) if blocks else np.zeros((1, 0), np.float32)), rate
