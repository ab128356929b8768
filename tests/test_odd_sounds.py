"""Hundreds of odd and broken files in one run: each comes out as it should, and none changes what is said of another."""

import contextlib
import json
import os
import socket
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import odd_sounds
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings, strategies as st
from odd_sounds import Odd, encoded, patched, waveform

from eranntag import cli
from eranntag.audio import _ogg, decode, reader
from eranntag.checkpoints import weights
from eranntag.engines.eager import Eager
from eranntag.errors import AudioError
from eranntag.inference.pipeline import predict_one
from eranntag.inference.prepared import LongAudio
from eranntag.types import ShardEntry

WITH_AV = find_spec("av") is not None
FILES = tuple(odd for odd in odd_sounds.files() if WITH_AV or odd.name not in odd_sounds.NEED_AV)


def said(path: Path) -> tuple[float, int] | str:
    """Seconds and channels of a sound whose samples are all finite; or the reason why it is none."""
    try:
        sound = reader.open_stream(path)
        samples, channels = 0, 0
        for block in sound.blocks:
            assert np.isfinite(block).all() and block.size <= 8 * 1.01 * decode.BLOCK_SAMPLES
            samples, channels = samples + block.shape[1], len(block)
        return samples / sound.rate, channels
    except AudioError as error:
        line = str(error)
        assert line.startswith(f"{path}: ") and len(line.splitlines()) == 1
        return line.removeprefix(f"{path}: ")


def test_there_are_enough_of_them() -> None:
    assert len({odd.name for odd in FILES}) == len(FILES) >= 200


def test_an_odd_file_is_what_it_is(tmp_path: Path) -> None:
    wrong = []
    for odd in FILES:
        path = tmp_path / odd.name
        path.write_bytes(odd.content)
        outcome = said(path)
        if odd.seconds is None:
            right = isinstance(outcome, str) and odd.reason in outcome
        else:
            right = not isinstance(outcome, str) and outcome[0] == pytest.approx(odd.seconds, rel=1e-9, abs=odd.slack)
        if not right:
            wrong.append((odd.name, outcome))
        path.unlink()
    assert wrong == []


@pytest.fixture
def model(tiny_tagger: Eager, tmp_path: Path) -> str:
    weights.save(tiny_tagger.network, tmp_path / "tiny.safetensors")
    return str(tmp_path / "tiny.safetensors")


def predict(model: str, *names: Path, folder: Path, **options: str) -> Result:
    (folder / "names").write_bytes(b"\0".join(os.fsencode(name) for name in names) + b"\0")
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    where = ["--files-from", str(folder / "names"), "--engine", "eager", "--top", "4"]
    return CliRunner().invoke(cli.cli, ["predict", "-c", model, "--format", "jsonl", *where, *words])


def records(result: Result) -> dict[str, dict[str, object]]:
    return {record["source"]: record for record in map(json.loads, result.stdout.splitlines())}


def test_all_in_one_run(model: str, tmp_path: Path) -> None:
    """Each is tagged, or has one line on stderr; and what is said of those that are sound is what is said of them alone."""
    paths: dict[Path, Odd] = {}
    sound = [odd for odd in FILES if (odd.seconds or 99) < 10]
    for odd in [odd for odd in FILES if odd.seconds is None] + sound[::5]:
        paths[tmp_path / odd.name] = odd
        (tmp_path / odd.name).write_bytes(odd.content)
    result = predict(model, *paths, folder=tmp_path, batch="8")
    assert result.exit_code == 3
    good, bad = ([path for path, odd in paths.items() if (odd.seconds is None) is broken] for broken in (False, True))
    assert list(records(result)) == [str(path) for path in good] and len(good) > 30
    errors = result.stderr.splitlines()
    assert len(errors) == len(bad)
    assert all(str(path) in line and paths[path].reason in line for path, line in zip(bad, errors, strict=True))
    some = good[::-4]
    alone = predict(model, *some, folder=tmp_path, batch="1")
    assert alone.exit_code == 0 and alone.stderr == ""
    for source, record in records(alone).items():
        scores = {tag["label"]: tag["score"] for tag in record["tags"]}
        beside = {tag["label"]: tag["score"] for tag in records(result)[source]["tags"]}
        assert scores == pytest.approx(beside, abs=2e-6) and all(0 <= score <= 1 for score in scores.values())


# What is no file


def test_what_is_no_file_is_refused_and_nobody_waits(model: str, tmp_path: Path) -> None:
    good = tmp_path / "good.wav"
    good.write_bytes(encoded())
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "folder.wav").mkdir()
    for name, target in {
        "zero": "/dev/zero",
        "full": "/dev/full",
        "null": "/dev/null",
        "gone": "gone",
        "self": "self.wav",
    }.items():
        (tmp_path / f"{name}.wav").symlink_to(target)
    (tmp_path / "pipe too.wav").symlink_to(tmp_path / "pipe.wav")
    with socket.socket(socket.AF_UNIX) as listening, contextlib.chdir(tmp_path):  # a socket's name is short
        listening.bind("socket.wav")
    names = "pipe zero full null gone self socket absent".split()
    bad = [tmp_path / f"{name}.wav" for name in [*names, "pipe too", "x" * 300]]
    result = predict(model, *bad, good, folder=tmp_path)
    assert result.exit_code == 3 and list(records(result)) == [str(good)]
    assert [str(path) in line for path, line in zip(bad, result.stderr.splitlines(), strict=True)] == [True] * len(bad)
    assert said(tmp_path / "folder.wav") == "a folder, not a file"


def test_a_file_that_becomes_a_pipe_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "x.wav")
    monkeypatch.setattr(reader, "_require_regular", lambda *_: None)  # it was regular then
    assert said(tmp_path / "x.wav") == "cannot be read (File or stream is not seekable.)"


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="no /proc")
def test_a_disk_that_fails_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.wav").symlink_to("/proc/self/mem")  # a regular file of no size, whose beginning cannot be read
    assert said(tmp_path / "x.wav").startswith("cannot be read (")
    assert capfd.readouterr().err == ""  # no traceback of soundfile's


class Failing(odd_sounds.io.BytesIO):
    """A file on a disk that fails at byte 4000."""

    def readinto(self, buffer: object) -> int:  # type: ignore[override]
        if self.tell() >= 4000:
            raise OSError(5, "Input/output error")
        return super().readinto(memoryview(buffer)[:1000])  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "MP3"])
def test_an_error_of_the_disk_midway_is_told(form: str, capfd: pytest.CaptureFixture[str]) -> None:
    content = encoded(waveform(40_000), form)
    with pytest.raises(AudioError, match=r"\Ax: cannot be read \(Input/output error\)\Z"):
        list(decode.decode(decode.ByteRange(Failing(content)), "x"))
    assert capfd.readouterr().err == ""


def test_a_terabyte_of_nothing_behind_a_short_sound_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(encoded())
    try:
        os.truncate(path, 1 << 40)
    except OSError:
        pytest.skip("this file system has no sparse files")
    assert said(path) == (odd_sounds.SECONDS, 1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(encoded())
    (tmp_path / "x.wav").chmod(0)
    assert said(tmp_path / "x.wav") == "permission denied"


# Files that others change meanwhile

LONG = np.tile(waveform(8000), 3 * decode.BLOCK_SAMPLES // 8000 + 1)


@pytest.mark.parametrize("form", ["WAV", "FLAC"])
def test_what_is_added_meanwhile_is_not_heard(form: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(encoded(LONG, form))
    stream = reader.open_stream(path)
    samples = next(stream.blocks).shape[1]
    with path.open("ab") as file:
        file.write(b"more" * 1000)
    assert samples + sum(block.shape[1] for block in stream.blocks) == len(LONG)


def test_a_file_that_is_replaced_meanwhile_is_heard_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(encoded(LONG))
    stream = reader.open_stream(path)
    first = next(stream.blocks)
    (tmp_path / "y").write_bytes(b"something else")
    (tmp_path / "y").replace(path)
    assert first.shape[1] + sum(block.shape[1] for block in stream.blocks) == len(LONG)


def test_a_file_that_is_cut_meanwhile_is_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(encoded(LONG))
    stream = reader.open_stream(path)
    next(stream.blocks)
    os.truncate(path, 700_000)
    with pytest.raises(AudioError, match="cut short"):
        list(stream.blocks)


# Standard input


@dataclass
class Endless:
    """`beginning`, and then `rest` for ever."""

    beginning: bytes
    rest: bytes
    given: int = 0

    def read(self, count: int) -> bytes:
        content = (self.beginning + self.rest * (count // len(self.rest) + 1))[:count]
        self.beginning = b""
        self.given += len(content)
        return content


@pytest.mark.parametrize("rest", [b"\0", b"\xff", b"yes\n", np.random.default_rng(0).bytes(1 << 20)], ids=len)
def test_a_pipe_without_sound_is_not_read_to_its_end(rest: bytes) -> None:
    source = Endless(b"", rest)
    with pytest.raises(AudioError, match=r"\A-: not a readable audio file"):
        reader.read(source)  # type: ignore[arg-type]
    assert source.given == reader.PROBE_BYTES


@pytest.mark.parametrize("beginning", [encoded(), b"\0\0\0\x20ftypM4A ", b"ID3\4\0\0\1\1\1\1"], ids=["wav", "m4a", "tag"])
def test_a_pipe_that_never_ends_is_left_at_a_limit(beginning: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_PIPE_BYTES", 1 << 23)
    source = Endless(beginning, b"\0")
    with pytest.raises(AudioError, match=r"\A-: longer than 8388608 bytes; write it to a file and name that\Z"):
        reader.read(source)  # type: ignore[arg-type]
    assert source.given <= reader.MAX_PIPE_BYTES + reader.PROBE_BYTES


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "MP3", "AIFF", "CAF"])
def test_a_long_sound_through_a_pipe_is_whole(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "PROBE_BYTES", 5000)
    content = encoded(waveform(40_000), form)
    assert reader.read(odd_sounds.io.BytesIO(content)).waveform.shape == (1, 40_000)


def test_a_sound_with_a_large_picture_comes_through_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """What shows that it is sound lies behind what is looked at first."""
    monkeypatch.setattr(reader, "PROBE_BYTES", 5000)
    flac = encoded(form="FLAC")
    picture = b"\1" + (9000).to_bytes(3, "big") + bytes(9000)  # a block of padding
    assert reader.read(odd_sounds.io.BytesIO(flac[:42] + picture + flac[42:])).seconds == odd_sounds.SECONDS
    page = odd_sounds.io.BytesIO(b"ID3\4\0\0" + bytes([0, 0, 70, 0]) + bytes(70 << 7) + encoded(form="MP3"))
    assert reader.read(page).seconds == odd_sounds.SECONDS


def test_many_small_pages_are_looked_at_once() -> None:
    """The time grows with the bytes of a file, not with their number times the largest page."""
    page = b"OggS" + bytes(22) + b"\0"
    summed = page[:22] + _ogg.ogg_crc32(page).to_bytes(4, "little") + page[26:]
    part = decode.ByteRange.of_bytes(summed * 20_000)
    before = time.process_time()
    with pytest.raises(AudioError, match="cut short"):
        _ogg.chained_streams(part, "x")
    assert time.process_time() - before < 3


# Memory


def test_blocks_of_many_channels_are_small(tmp_path: Path) -> None:
    content = encoded(np.zeros((4, 1024)))
    frames = 20_000
    path = tmp_path / "x.wav"
    path.write_bytes(patched(patched(content, 40, np.uint32(frames * 2048).tobytes()), 4, b"\xff" * 4)[:44])
    os.truncate(path, 44 + frames * 2048)
    blocks = [block.shape for block in reader.open_stream(path).blocks]
    assert {channels for channels, _ in blocks} == {1024} and sum(count for _, count in blocks) == frames
    assert max(channels * count for channels, count in blocks) <= 8 * decode.BLOCK_SAMPLES


@pytest.mark.parametrize(("rate", "channels"), [(44100, 30), (3_072_000, 1)])
def test_a_wide_or_fast_sound_is_heard_in_blocks(
    rate: int, channels: int, tiny_tagger: Eager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is held of it does not grow with its channels and rate; the tags are those of one pass."""
    path = tmp_path / "x.wav"
    path.write_bytes(encoded(np.tile(waveform(rate, rate)[:, None], channels), rate=rate))
    whole = tiny_tagger.tag(path)
    monkeypatch.setattr("eranntag.inference.tagger.SHORT_BYTES", 1 << 20)
    heard = tiny_tagger.prepare_source(path)
    assert isinstance(heard, LongAudio)
    blocks = predict_one(tiny_tagger, heard)
    assert blocks.seconds == whole.seconds == 1
    np.testing.assert_allclose(blocks.scores, whole.scores, atol=1e-5)


def test_a_clip_of_a_shard_is_read_where_it_is(tmp_path: Path) -> None:
    content = encoded(waveform())
    (tmp_path / "x.tar").write_bytes(content + content + encoded(form="FLAC"))
    sound = reader.read(ShardEntry(str(tmp_path / "x.tar"), len(content), len(content), "x.wav"))
    assert np.array_equal(sound.waveform, reader.read(odd_sounds.io.BytesIO(content)).waveform)
    with pytest.raises(AudioError, match="the shard is cut short"):
        reader.read(ShardEntry(str(tmp_path / "x.tar"), len(content), 1 << 40, "x.wav"))


# PyAV's formats


CONTAINERS = {  # name: codec, options of the container
    "x.m4a": ("aac", {}), "front.m4a": ("aac", {"movflags": "faststart"}),
    "parts.m4a": ("aac", {"movflags": "frag_keyframe+empty_moov", "frag_duration": "300000"}), "x.mov": ("pcm_s16le", {}),
    "x.3gp": ("aac", {}), "alac.m4a": ("alac", {}), "x.webm": ("libopus", {}), "live.webm": ("libopus", {"live": "1"}),
    "x.mka": ("ac3", {}), "pcm.mkv": ("pcm_s16le", {}), "x.aac": ("aac", {}), "x.ac3": ("ac3", {}), "x.avi": ("mp2", {}),
    "x.flv": ("aac", {}), "x.mp2": ("mp2", {}), "untagged.mp3": ("libmp3lame", {"write_xing": "0"}), "x.caf": ("alac", {}),
}  # fmt: skip


def contained(name: str, folder: Path) -> bytes:
    """Three seconds at 48 kHz."""
    av = pytest.importorskip("av")
    codec, options = CONTAINERS[name]
    rate, path = 44100 if name.endswith("flv") else 48000, Path(folder, name)
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        sound = waveform(3 * rate, rate).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(sound, format="fltp", layout="mono")
        frame.sample_rate = rate
        for part in av.AudioResampler(stream.format, "mono", rate, stream.frame_size or None).resample(frame):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path.read_bytes()


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_that_is_cut_is_no_sound(name: str, tmp_path: Path) -> None:
    content, path = contained(name, tmp_path), tmp_path / name
    path.write_bytes(content)
    whole = said(path)
    assert not isinstance(whole, str) and whole == (pytest.approx(3, abs=0.1), 1)
    for share in (0.3, 0.5, 0.95):
        length = int(len(content) * share)
        outcomes = []
        for at in (length, length + 1, length + 30):  # one may be the border of two frames
            path.write_bytes(content[:at])
            outcomes.append(said(path))
        refused = [outcome for outcome in outcomes if isinstance(outcome, str)]
        assert len(refused) >= 2 and all("cut short" in reason or "not a readable" in reason for reason in refused)


def test_a_list_of_other_files_is_no_sound(tmp_path: Path) -> None:
    """FFmpeg would open what it names, and an address that never answers."""
    (tmp_path / "other.wav").write_bytes(encoded())
    path = tmp_path / "x.wav"
    for content in ("ffconcat version 1.0\nfile other.wav\n", f"ffconcat version 1.0\nfile '{tmp_path}/other.wav'\n"):
        path.write_text(content)
        assert "not a readable audio file" in str(said(path))


@pytest.mark.parametrize(
    "form", ["#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{0}x.ts\n", "ffconcat version 1.0\nfile {0}x.wav\n"]
)
def test_no_sound_opens_a_connection(form: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        (tmp_path / "x.m3u8").write_text(form.format(f"http://127.0.0.1:{server.getsockname()[1]}/"))
        assert "not a readable audio file" in str(said(tmp_path / "x.m3u8"))
        with pytest.raises(TimeoutError):
            server.accept()


def test_two_tracks_are_the_first(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "x.mka"), "w") as container:
        streams = [container.add_stream("pcm_s16le", rate=RATE, layout="mono") for RATE in (8000, 16000)]
        for stream, hz in zip(streams, (8000, 16000), strict=True):
            samples = np.full((1, hz), 1000 * hz // 8000, np.int16)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate = hz
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    sound = reader.read(tmp_path / "x.mka")
    assert (sound.sample_rate, sound.seconds) == (8000, 1) and np.unique(sound.waveform).tolist() == [np.float32(1000 / 32768)]


# Whatever else


ORIGINALS = [encoded(waveform(400), form) for form in ("WAV", "AIFF", "CAF", "W64", "RF64", "AU", "FLAC", "OGG", "MP3")]


@given(
    st.sampled_from(ORIGINALS),
    st.lists(
        st.tuples(st.integers(0, 200), st.sampled_from(["set", "insert", "delete"]), st.binary(min_size=1, max_size=4)),
        max_size=6,
    ),
    st.integers(0, 3000),
)
@settings(max_examples=300, deadline=2000, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@pytest.mark.fuzz
def test_a_file_that_was_changed_is_sound_or_an_error(content: bytes, changes: list[tuple[int, str, bytes]], cut: int) -> None:
    for at, how, new in changes:
        content = content[:at] + (b"" if how == "delete" else new) + content[at + (0 if how == "insert" else len(new)) :]
    if cut < len(content):
        content = content[: len(content) - cut]
    try:
        sound = reader.open_stream(odd_sounds.io.BytesIO(content))
        assert 100 <= sound.rate <= 3_072_000
        for block in sound.blocks:
            assert block.shape[1] and np.isfinite(block).all() and block.size <= 8 * 1.01 * decode.BLOCK_SAMPLES
    except AudioError as error:
        assert len(str(error).splitlines()) == 1
