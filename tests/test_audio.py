"""Reading sound: every format, rate and channel count; and every way in which a file can be no sound."""

import builtins
import errno
import io
import os
import signal
import struct
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from eranntag.audio import decode, reader
from eranntag.errors import AudioError
from eranntag.inference.tagger import Tagger
from eranntag.types import Clip, ShardEntry

Wav = Callable[..., Path]

QUANTISATION = {"PCM_16": 2**-15, "PCM_24": 2**-23, "DPCM_16": 2**-14, "PCM_S8": 2**-7}
SUBTYPES = {"MP3": "MPEG_LAYER_III", "OGG": "VORBIS", "WVE": "ALAW", "SDS": "PCM_24", "XI": "DPCM_16"}
LOSSY = [
    ("WAV", "ULAW"), ("WAV", "ALAW"), ("WAV", "IMA_ADPCM"), ("WAV", "MS_ADPCM"), ("WAV", "GSM610"),
    ("WAV", "G721_32"), ("AU", "G723_40"), ("W64", "GSM610"), ("WVE", "ALAW"), ("MP3", "MPEG_LAYER_III"),
    ("OGG", "VORBIS"), ("OGG", "OPUS"),
]  # fmt: skip


def tone(seconds: float = 1.0, rate: int = 44100, hz: float = 440.0, level: float = 0.5) -> np.ndarray:
    return level * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


def encoded(waveform: np.ndarray, form: str = "WAV", subtype: str | None = None, rate: int = 44100) -> bytes:
    """The bytes of a sound file."""
    file = io.BytesIO()
    soundfile.write(file, waveform, rate, format=form, subtype=subtype)
    return file.getvalue()


def patched(content: bytes, offset: int, new: bytes) -> bytes:
    return content[:offset] + new + content[offset + len(new) :]


def assert_is_tone(waveform: np.ndarray, rate: int, hz: float = 440.0, level: float = 0.5, rest: float = 1e-3) -> None:
    """The middle of `waveform` is a sine of that frequency and level, and what is not has an RMS below `rest`."""
    middle = waveform[len(waveform) // 4 : -len(waveform) // 4].astype(np.float64)
    phase = 2 * np.pi * hz * np.arange(len(middle)) / rate
    basis = np.stack([np.sin(phase), np.cos(phase)], 1)
    amplitudes = np.linalg.lstsq(basis, middle, rcond=None)[0]
    assert np.hypot(*amplitudes) == pytest.approx(level, rel=0.01 + rest)
    assert np.sqrt(np.mean((middle - basis @ amplitudes) ** 2)) < rest


@contextmanager
def deadline(seconds: int) -> Iterator[None]:
    """Interrupt what would wait or read forever."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"still reading after {seconds} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def refusal(path: Path) -> str:
    """Why `path` cannot be read; the error is one line that begins with the file's name."""
    with pytest.raises(AudioError) as caught:
        reader.read(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ") and len(line.splitlines()) == 1
    return line.removeprefix(f"{path}: ")


# What can be read


@pytest.mark.parametrize("form", sorted(soundfile.available_formats().keys() - {"RAW", "SD2", "MP3", "OGG", "WVE"}))
def test_lossless_formats_read_back_equal(form: str, wav: Wav) -> None:
    """RAW has no header, SD2 keeps it in another file; MP3, OGG and WVE are lossy."""
    subtype, rate = SUBTYPES.get(form, "PCM_16"), 16000
    original = tone(0.3, rate)
    path = wav(f"x.{form.lower()}", original, rate, format=form, subtype=subtype)
    clip = reader.read(path)
    assert clip.waveform.dtype == np.float32 and clip.waveform.shape == (1, len(original))
    assert clip.source == str(path)
    assert clip.sample_rate == pytest.approx(44100 if form == "XI" else rate, abs=1)  # XI has no rate
    np.testing.assert_allclose(clip.waveform[0], original, rtol=0, atol=QUANTISATION[subtype])


@pytest.mark.parametrize(("form", "subtype"), LOSSY)
def test_lossy_formats_read_back_close(form: str, subtype: str, wav: Wav) -> None:
    rate = 8000
    original = tone(1.0, rate)
    clip = reader.read(wav(f"x.{form.lower()}", original, rate, format=form, subtype=subtype))
    assert clip.sample_rate == rate
    assert len(original) <= clip.waveform.shape[1] <= len(original) + 1024  # some only hold whole blocks
    assert_is_tone(clip.waveform[0, : len(original)], rate, rest=0.03)


def test_pcm_of_every_width_agrees(wav: Wav) -> None:
    original = tone(0.1)
    for subtype, step in [("PCM_U8", 2**-7), ("PCM_16", 2**-15), ("PCM_24", 2**-23), ("PCM_32", 2**-24)]:
        read = reader.read(wav(f"{subtype}.wav", original, subtype=subtype)).waveform[0]
        np.testing.assert_allclose(read, original, rtol=0, atol=step)
    for subtype in ("FLOAT", "DOUBLE"):
        read = reader.read(wav(f"{subtype}.wav", original, subtype=subtype)).waveform[0]
        assert np.array_equal(read, original.astype(np.float32))


def test_float_samples_above_one_are_kept(wav: Wav) -> None:
    assert reader.read(wav("x.wav", tone(level=2.5), subtype="FLOAT")).waveform.max() == pytest.approx(2.5, rel=1e-3)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000])
def test_resampling_keeps_frequency_level_and_length(rate: int, wav: Wav) -> None:
    clip = reader.read(wav("x.wav", tone(1.0, rate), rate, subtype="FLOAT"))
    assert clip.sample_rate == rate and clip.seconds == 1.0
    mono = reader.to_mono(clip, 44100)
    assert mono.dtype == np.float32 and abs(len(mono) - 44100) <= 1
    assert_is_tone(mono, 44100)


def test_resampling_leaves_nothing_of_what_the_new_rate_cannot_hold() -> None:
    clip = Clip(tone(1.0, 96000, hz=30000.0)[None].astype(np.float32), 96000)
    assert np.abs(reader.to_mono(clip, 44100)[1000:-1000]).max() < 1e-4


@pytest.mark.parametrize("form", ["WAV", "FLAC"])
@pytest.mark.parametrize("channels", range(1, 9))
def test_channels_are_averaged(form: str, channels: int, wav: Wav) -> None:
    original = np.random.default_rng(0).uniform(-0.9, 0.9, (1000, channels))
    clip = reader.read(wav(f"x.{form.lower()}", original, format=form, subtype="PCM_24"))
    assert clip.waveform.shape == (channels, 1000)
    np.testing.assert_allclose(clip.waveform.T, original, rtol=0, atol=2**-23)
    np.testing.assert_allclose(reader.to_mono(clip, 44100), original.mean(1), rtol=0, atol=2**-22)


@pytest.mark.parametrize("rate", [8000, 44100, 96000])
def test_one_sample_is_enough(rate: int, wav: Wav, tiny_tagger: Tagger) -> None:
    path = wav("x.wav", np.array([0.5]), rate)
    assert reader.read(path).waveform.tolist() == [[0.5]]
    prediction = tiny_tagger.tag(path)
    assert np.isfinite(prediction.scores).all() and prediction.seconds == 1 / rate


def test_a_long_file_is_read_whole(wav: Wav) -> None:
    original = np.random.default_rng(0).uniform(-0.9, 0.9, (300_000, 2))  # more than one block
    np.testing.assert_allclose(reader.read(wav("x.flac", original)).waveform.T, original, rtol=0, atol=2**-15)


def test_a_stream_is_read_like_a_file() -> None:
    clip = reader.read(io.BytesIO(encoded(tone(0.1))))
    assert clip.source == "-" and clip.waveform.shape == (1, 4410)
    assert reader.read(io.BytesIO(encoded(tone(0.1))), name="piped").source == "piped"


def test_a_pipe_needs_no_seeking() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as source:
        with os.fdopen(writing, "wb") as target:
            target.write(encoded(tone(0.1)))  # 9 kB fit in a pipe
        assert reader.read(source).waveform.shape == (1, 4410)


@pytest.mark.parametrize("name", ["x", "x.txt", "x.raw", "x.mp3", "ünï cödé [1]*.wav"])
def test_the_content_decides_and_not_the_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(encoded(tone(0.1)))
    assert reader.read(path).waveform.shape == (1, 4410)


def test_a_wav_file_of_unknown_length_is_read(tmp_path: Path) -> None:
    """Encoders that write to a pipe cannot know the sizes and leave 0xFFFFFFFF."""
    content = encoded(tone())
    assert content[36:40] == b"data"
    path = tmp_path / "x.wav"
    path.write_bytes(patched(patched(content, 4, b"\xff" * 4), 40, b"\xff" * 4))
    assert_is_tone(reader.read(path).waveform[0], 44100)
    assert reader.read(path).waveform.shape == (1, 44100)


def test_a_wav_file_that_claims_no_data_is_not_misread(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(patched(encoded(tone()), 40, bytes(4)))
    assert refusal(path) == "holds no samples"  # libsndfile believes the header


@pytest.mark.parametrize("without_av", [False, True])
def test_a_flac_file_of_unknown_length_is_read(without_av: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if without_av:
        monkeypatch.setitem(sys.modules, "av", None)  # import av fails
    content = encoded(tone(), "FLAC")
    assert content[:4] == b"fLaC" and content[4] & 0x7F == 0  # STREAMINFO comes first
    fields = int.from_bytes(content[18:26], "big")  # rate 20 bits, channels 3, width 5, total samples 36
    assert fields % 2**36 == 44100
    path = tmp_path / "x.flac"
    path.write_bytes(patched(content, 18, (fields >> 36 << 36).to_bytes(8, "big")))
    clip = reader.read(path)
    assert clip.waveform.shape == (1, 44100)
    assert_is_tone(clip.waveform[0], 44100)


# PyAV's formats


def write_av(path: Path, codec: str, waveform: np.ndarray, rate: int, options: dict[str, str] | None = None) -> Path:
    """(channels, samples) as `path`'s container."""
    av = pytest.importorskip("av")
    layout = {1: "mono", 2: "stereo"}[len(waveform)]
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        stream.bit_rate = 128_000
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(waveform, np.float32), format="fltp", layout=layout)
        frame.sample_rate = rate
        for part in av.AudioResampler(stream.format, layout, rate, stream.frame_size or None).resample(frame):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "codec"), [("x.m4a", "aac"), ("x.webm", "libopus"), ("x.mp4", "aac"), ("x.wma", "wmav2"), ("x.mka", "ac3")]
)
def test_av_formats_read_back_close(name: str, codec: str, tmp_path: Path) -> None:
    original = np.stack([tone(2.0, 48000), tone(2.0, 48000)])
    clip = reader.read(write_av(tmp_path / name, codec, original, 48000))
    assert clip.sample_rate == 48000 and clip.waveform.dtype == np.float32
    assert clip.waveform.shape[0] == 2 and abs(clip.seconds - 2) < 0.1  # codecs hold whole blocks
    assert_is_tone(reader.to_mono(clip, 44100), 44100, rest=0.02)


def test_a_film_without_sound_is_refused(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "x.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
        container.mux(stream.encode(None))
    assert refusal(path) == "has no audio stream"


def test_a_truncated_m4a_is_refused(tmp_path: Path) -> None:
    path = write_av(tmp_path / "x.m4a", "aac", tone()[None], 44100)
    path.write_bytes(path.read_bytes()[:-200])
    assert "cut short" in refusal(path)


def test_without_pyav_its_formats_say_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)  # import av fails
    for name, hint in [("x.m4a", "pip install 'eranntag[av]'"), ("x.wav", "not a readable audio file")]:
        (tmp_path / name).write_bytes(b"no sound at all " * 10)
        assert hint in refusal(tmp_path / name)


# MP3: its length is known from a header, or guessed


def test_a_truncated_mp3_is_refused(tmp_path: Path) -> None:
    content = encoded(tone(), "MP3", "MPEG_LAYER_III")
    path = tmp_path / "x.mp3"
    path.write_bytes(content[: len(content) // 2])
    assert "cut short" in refusal(path)


def test_an_mp3_that_claims_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    content = encoded(tone(), "MP3", "MPEG_LAYER_III")
    frames = max(content.find(b"Xing"), content.find(b"Info")) + 8  # after the tag and its flags
    claimed = struct.unpack(">I", content[frames : frames + 4])[0]
    path = tmp_path / "x.mp3"
    path.write_bytes(patched(content, frames, struct.pack(">I", 50 * claimed)))
    assert "cut short" in refusal(path)


def test_an_mp3_without_a_length_is_read_and_nothing_is_made_up(tmp_path: Path) -> None:
    path = write_av(tmp_path / "x.mp3", "libmp3lame", tone()[None], 44100, {"write_xing": "0", "id3v2_version": "0"})
    waveform = reader.read(path).waveform[0]
    assert len(waveform) % 1152 == 0  # MP3 frames
    assert abs(len(waveform) - 44100) < 2 * 1152
    assert_is_tone(waveform, 44100, level=0.475, rest=0.02)  # LAME takes 5 % off


# What cannot be read

SOUND = encoded(tone())
BAD = {
    "empty": (b"", "empty file"),
    "text": (b"This is no sound, whatever its name says.\n" * 9, "not a readable audio file"),
    "random bytes": (np.random.default_rng(0).bytes(5000), "not a readable audio file"),
    "RIFF alone": (SOUND[:12], "not a readable audio file"),
    "half of the header": (SOUND[:30], "not a readable audio file"),
    "header alone": (SOUND[:44], "cut short"),
    "half of a wav": (SOUND[: len(SOUND) // 2], "cut short"),
    "one byte missing": (SOUND[:-1], "cut short"),
    "the end of a flac missing": (encoded(tone(), "FLAC")[:-1000], "damaged"),
    "the end of an ogg missing": (encoded(tone(), "OGG", "VORBIS")[:3000], "cut short"),
    "zero rate": (patched(SOUND, 24, bytes(4)), ""),
    "a rate of 4 GHz": (patched(SOUND, 24, struct.pack("<I", 4_000_000_000)), ""),
    "no channels": (patched(SOUND, 22, bytes(2)), ""),
    "an unknown codec": (patched(SOUND, 20, b"\x34\x12"), ""),
    "zero samples": (encoded(np.zeros(0)), "holds no samples"),
    "NaN": (encoded(np.array([0.1, np.nan, 0.2]), "WAV", "FLOAT"), "NaN or infinite"),
    "infinity": (encoded(np.array([0.1, np.inf, 0.2]), "WAV", "FLOAT"), "NaN or infinite"),
    "minus infinity": (encoded(np.array([0.1, -np.inf, 0.2]), "WAV", "DOUBLE"), "NaN or infinite"),
    "NaN in one channel": (encoded(np.array([[0.1, 0.1], [0.1, np.nan]]), "WAV", "FLOAT"), "NaN or infinite"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_file_is_refused_in_one_line(what: str, tmp_path: Path) -> None:
    content, reason = BAD[what]
    path = tmp_path / "x.wav"
    path.write_bytes(content)
    assert reason in refusal(path)


@pytest.mark.parametrize("what", BAD)
def test_a_bad_stream_is_refused_in_one_line(what: str) -> None:
    with pytest.raises(AudioError, match=r"\Apiped: [^\n]+\Z"):
        reader.read(io.BytesIO(BAD[what][0]), name="piped")


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link.wav").symlink_to(tmp_path / "gone.wav")
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    (tmp_path / "folder.wav").mkdir()
    assert refusal(tmp_path / "missing.wav") == "no such file"
    assert refusal(tmp_path / "link.wav") == "a link to a file that does not exist"
    assert refusal(tmp_path / "folder.wav") == "a folder, not a file"
    assert "symbolic links" in refusal(tmp_path / "loop.wav")
    assert "too long" in refusal(tmp_path / ("x" * 300))
    with pytest.raises(AudioError, match="null"):
        reader.read("x\0.wav")


def test_devices_and_pipes_are_refused_without_being_opened(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.wav"
    os.mkfifo(pipe)
    with deadline(5):
        assert refusal(pipe).startswith("not a regular file")
        assert refusal(Path("/dev/zero")).startswith("not a regular file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(wav: Wav) -> None:
    path = wav("x.wav", tone(0.1))
    path.chmod(0)
    assert refusal(path) == "permission denied"


def test_a_link_to_a_sound_is_followed(wav: Wav, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(wav("x.wav", tone(0.1)))
    assert reader.read(tmp_path / "link").waveform.shape == (1, 4410)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_an_ogg_file_without_its_last_page_is_cut_short(subtype: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / "x.ogg"
    noise = 0.1 * np.random.default_rng(0).standard_normal(48000 * 4)
    soundfile.write(path, noise, 48000, format="OGG", subtype=subtype)
    assert reader.read(path).seconds == pytest.approx(4, abs=0.1)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(AudioError, match="cut short"):
        reader.read(path)


# Streams: block by block


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[io.BufferedReader]:
    """Every file that `audio` opens."""
    files = []

    def spy(*arguments: object, **options: object) -> io.BufferedReader:
        files.append(builtins.open(*arguments, **options))  # noqa: SIM115
        return files[-1]

    monkeypatch.setattr(reader, "open", spy, raising=False)
    return files


@pytest.fixture
def noise() -> np.ndarray:
    """(samples, channels): more than two blocks"""
    return np.random.default_rng(0).uniform(-0.9, 0.9, (2 * decode.BLOCK_SAMPLES + 1000, 2))


@pytest.mark.parametrize("name", ["x.wav", "x.flac", "x.mp3", "x.ogg", "x.m4a"])
def test_a_stream_has_the_samples_of_the_clip_in_blocks(name: str, noise: np.ndarray, wav: Wav, tmp_path: Path) -> None:
    path = write_av(tmp_path / name, "aac", noise.T, 44100) if name == "x.m4a" else wav(name, noise)
    clip, stream = reader.read(path), reader.open_stream(path)
    blocks = list(stream.blocks)
    assert (stream.rate, stream.source) == (44100, str(path))
    assert len(blocks) == 3 and max(block.shape[1] for block in blocks) < 1.01 * decode.BLOCK_SAMPLES
    assert all(block.dtype == np.float32 for block in blocks)
    assert np.array_equal(np.concatenate(blocks, 1), clip.waveform)


def test_a_clip_of_a_shard_is_a_stream_too(tmp_path: Path) -> None:
    content = encoded(tone(0.1))
    (tmp_path / "x.tar").write_bytes(b"before" + content + b"behind")
    stream = reader.open_stream(ShardEntry(str(tmp_path / "x.tar"), 6, len(content), "x.wav"))
    assert stream.source == f"{tmp_path}/x.tar/x.wav" and [block.shape for block in stream.blocks] == [(1, 4410)]


@pytest.mark.parametrize("what", BAD)
def test_a_bad_file_is_no_stream_and_is_closed(what: str, tmp_path: Path, opened: list[io.BufferedReader]) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(BAD[what][0])
    with pytest.raises(AudioError, match=BAD[what][1] or "x.wav: "):
        for _ in reader.open_stream(path).blocks:
            pass
    assert len(opened) == 1 and opened[0].closed


def test_what_is_no_sound_is_refused_before_a_block_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(b"no sound at all")
    for path in (tmp_path / "missing.wav", tmp_path, tmp_path / "x.wav"):
        with pytest.raises(AudioError):
            reader.open_stream(path)


def test_damage_is_told_where_it_is(noise: np.ndarray, wav: Wav, opened: list[io.BufferedReader]) -> None:
    flac, nan = wav("x.flac", noise), noise.copy()
    flac.write_bytes(flac.read_bytes()[:-1000])
    nan[-1, 1] = np.nan
    for path, reason in [(flac, "damaged"), (wav("x.wav", nan, subtype="FLOAT"), "NaN")]:
        blocks = reader.open_stream(path).blocks
        assert next(blocks).shape == next(blocks).shape == (2, decode.BLOCK_SAMPLES)
        with pytest.raises(AudioError, match=reason):
            list(blocks)
        assert opened[-1].closed


@pytest.mark.parametrize("name", ["x.wav", "x.m4a"])
@pytest.mark.parametrize("taken", [0, 1, 2, 3])
def test_a_file_is_closed_when_nobody_wants_more(
    name: str, taken: int, noise: np.ndarray, wav: Wav, tmp_path: Path, opened: list[io.BufferedReader]
) -> None:
    path = write_av(tmp_path / name, "aac", noise.T, 44100) if name == "x.m4a" else wav(name, noise)
    stream = reader.open_stream(path)
    for _ in range(taken):
        next(stream.blocks)
    assert len(opened) == 1 and not opened[0].closed
    del stream
    assert opened[0].closed


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "m4a"])
def test_a_large_pipe_goes_to_a_temporary_file(
    form: str, noise: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "SPOOLED_BYTES", 10_000)
    path = tmp_path / f"x.{form.lower()}"
    if form == "m4a":
        write_av(path, "aac", noise.T, 44100)
    else:
        path.write_bytes(encoded(noise, form))
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as target:
            target.write(path.read_bytes())

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(reading, "rb") as source:
        clip = reader.read(source)
    writer.join()
    assert clip.source == "-" and np.array_equal(clip.waveform, reader.read(path).waveform)


def test_a_pipe_that_fits_nowhere_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "write", full)
    with pytest.raises(AudioError, match=r"\A-: cannot be copied to [^\n]+ \(No space left on device\)\Z"):
        reader.open_stream(io.BytesIO(SOUND))


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("most", [50, 5000, 10**6])
def test_mono_in_blocks_is_mono_of_the_whole(rate: int, most: int) -> None:
    """To the last bit, however the sound is cut."""
    rng = np.random.default_rng(most)
    for samples in (1, 3, 1000, 20_001, 100_003 if most > 50 else 2000):
        clip = Clip(rng.uniform(-0.9, 0.9, (2, samples)).astype(np.float32), rate)
        borders = np.cumsum(rng.integers(0, most, 2 * samples // most + 2))
        blocks = iter(np.split(clip.waveform, borders[borders < samples], axis=1))
        parts = list(reader.mono_blocks(reader.AudioStream(rate, "", blocks), 44100))
        assert all(len(part) and part.dtype == np.float32 and part.flags.c_contiguous for part in parts)
        assert np.array_equal(np.concatenate([np.zeros(0, np.float32), *parts]), reader.to_mono(clip, 44100))


@pytest.mark.parametrize("rate", [100, 44100, 192_000])
def test_blocks_of_mono_sound_are_of_moderate_size(rate: int) -> None:
    blocks = iter([np.zeros((1, 30 * 60 * min(rate, 1000)), np.float32)])
    parts = list(reader.mono_blocks(reader.AudioStream(rate, "", blocks), 44100))
    assert len(parts) > 1 and max(map(len, parts)) <= 2 * decode.BLOCK_SAMPLES
