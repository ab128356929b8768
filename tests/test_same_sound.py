"""The same sound has the same tags: in any lossless format, depth, batch and company; and nearly the same after compression or
resampling."""

import functools
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from click.testing import CliRunner
from conftest import CHECKOUT

import eranntag
from eranntag.audio import reader
from eranntag.cli import cli
from eranntag.inference.tagger import Tagger

RATE = 44100
SIXTEEN = [
    (form, subtype, endian)
    for form, subtypes, endians in (
        ("WAV", "PCM_16 PCM_24 PCM_32 FLOAT DOUBLE", "LITTLE BIG"),  # BIG is RIFX
        ("WAVEX", "PCM_16 PCM_24 PCM_32 FLOAT DOUBLE", "LITTLE BIG"),
        ("AIFF", "PCM_16 PCM_24 PCM_32 FLOAT DOUBLE", "FILE"),
        ("AIFF", "PCM_16 PCM_24 PCM_32", "LITTLE"),  # AIFC, sowt
        ("CAF", "PCM_16 PCM_24 PCM_32 FLOAT DOUBLE", "LITTLE BIG"),
        ("CAF", "ALAC_16 ALAC_24 ALAC_32", "FILE"),
        ("AU", "PCM_16 PCM_24 PCM_32 FLOAT DOUBLE", "LITTLE BIG"),
        ("W64", "PCM_16 PCM_24 PCM_32 FLOAT DOUBLE", "FILE"),
        ("RF64", "PCM_16 PCM_24 PCM_32 FLOAT DOUBLE", "FILE"),
        ("FLAC", "PCM_16 PCM_24", "FILE"),
    )
    for subtype in subtypes.split()
    for endian in endians.split()
    if soundfile.check_format(form, subtype, endian)
]
EIGHT = [
    ("WAV", "PCM_U8", "FILE"), ("AIFF", "PCM_S8", "FILE"), ("AIFF", "PCM_U8", "FILE"), ("AU", "PCM_S8", "FILE"),
    ("CAF", "PCM_S8", "FILE"), ("FLAC", "PCM_S8", "FILE"), ("W64", "PCM_U8", "FILE"), *SIXTEEN,
]  # fmt: skip


def chirp(seconds: float = 1.0) -> np.ndarray:
    """From 100 Hz to 8 kHz, with some noise: (samples,) int16."""
    time = np.arange(round(seconds * RATE)) / RATE
    sound = 0.5 * np.sin(2 * np.pi * (100 + 3950 * time / seconds) * time)
    return np.round(32768 * (sound + 0.01 * np.random.default_rng(0).standard_normal(len(time)))).astype(np.int16)


def written(sound: np.ndarray, form: str, subtype: str | None, endian: str = "FILE", rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound / 32768 if sound.dtype == np.int16 else sound, rate, subtype, endian, form)
    return file.getvalue()


@pytest.mark.parametrize(("bits", "ways"), [(16, SIXTEEN), (8, EIGHT)])
def test_every_lossless_format_has_the_same_samples(bits: int, ways: list[tuple[str, str, str]]) -> None:
    """To the last bit, mono and stereo."""
    step = 1 << 16 - bits
    for sound in (chirp(0.2), np.stack([chirp(0.2), chirp(0.2)[::-1]], 1)):
        sound = sound // step * step
        for way in ways:
            clip = reader.read(io.BytesIO(written(sound, *way)), "-".join(way))
            assert clip.sample_rate == RATE and np.array_equal(clip.waveform.T.squeeze(), sound / np.float32(32768)), way


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    """The embedded one."""
    return eranntag.load()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`docs/sample.wav` and a chirp in every lossless way."""
    path = tmp_path_factory.mktemp("same")
    sample, rate = soundfile.read(CHECKOUT / "docs" / "sample.wav", dtype="int16")
    for name, sound, hz in (("sample", sample[: 2 * rate], rate), ("chirp", chirp(), RATE)):
        for form, subtype, endian in SIXTEEN[::4] if name == "sample" else SIXTEEN:
            (path / f"{name}-{form}-{subtype}-{endian}.x").write_bytes(written(sound, form, subtype, endian, hz))
    return path


def tags(*words: str | Path) -> dict[str, str]:
    """What `predict --format jsonl` says of each file: its line without the name."""
    result = CliRunner().invoke(cli, ["predict", "--format", "jsonl", "--top", "50", *map(str, words)])
    assert result.exit_code == 0, result.stderr
    records = [json.loads(line) for line in result.stdout.splitlines()]
    return {record.pop("source"): json.dumps(record) for record in records}


def test_every_lossless_format_has_the_same_tags(folder: Path) -> None:
    """To the last byte, with the weights of the package."""
    said = tags(*sorted(folder.iterdir()))
    for name in ("sample", "chirp"):
        lines = {line for source, line in said.items() if Path(source).name.startswith(name)}
        assert len(lines) == 1
    assert len(set(said.values())) == 2


def test_company_and_order_change_nothing(folder: Path) -> None:
    files = sorted(folder.iterdir())[::7]
    said = tags(*files, "--batch", "1")
    assert tags(*files[::-1], "--batch", "8") == said
    assert tags(files[2], "--batch", "3") == {str(files[2]): said[str(files[2])]}


def test_threads_change_nothing(folder: Path) -> None:
    """Another process that may use one processor alone, as under cron or in a small container."""
    files = [str(path) for path in sorted(folder.iterdir())[::20]]
    command = [sys.executable, "-m", "eranntag", "predict", "--format", "jsonl", "--top", "50", *files]
    alone = {**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
    one = functools.partial(os.sched_setaffinity, 0, {min(os.sched_getaffinity(0))}) if sys.platform == "linux" else None
    output = subprocess.run(command, env=alone, stdout=subprocess.PIPE, timeout=60, check=True, preexec_fn=one).stdout
    records = [json.loads(line) for line in output.splitlines()]
    assert {record.pop("source"): json.dumps(record) for record in records} == tags(*files)


# Nearly the same

SAMPLE, SAMPLE_RATE = soundfile.read(CHECKOUT / "docs" / "sample.wav", dtype="int16")
TOLERANCES = {  # of a score, of the package's weights; docs/output.md states them
    "32000 Hz": 0.001, "48000 Hz": 0.001, "96000 Hz": 0.001, "192000 Hz": 0.001,
    "MP3": 0.05, "VORBIS": 0.05, "OPUS": 0.05, "AAC": 0.15, "8 bits": 0.15, "ULAW": 0.05,
}  # fmt: skip


def changed(how: str, folder: Path) -> Path:
    """The sample after compression or resampling."""
    path, sound = folder / "changed.x", SAMPLE / 32768
    if how.endswith(" Hz"):
        rate = int(how.removesuffix(" Hz"))
        path.write_bytes(written(soxr.resample(sound, SAMPLE_RATE, rate, "VHQ"), "WAV", "FLOAT", rate=rate))
    elif how == "OPUS":
        path.write_bytes(written(soxr.resample(sound, SAMPLE_RATE, 48000, "VHQ"), "OGG", "OPUS", rate=48000))
    elif how == "AAC":
        pytest.importorskip("av")
        from test_audio import write_av

        write_av(folder / "changed.m4a", "aac", sound[None], SAMPLE_RATE)
        return folder / "changed.m4a"
    else:
        form, subtype = {
            "MP3": ("MP3", None),
            "VORBIS": ("OGG", "VORBIS"),
            "8 bits": ("WAV", "PCM_U8"),
            "ULAW": ("AU", "ULAW"),
        }[how]
        path.write_bytes(written(SAMPLE, form, subtype, rate=SAMPLE_RATE))
    return path


@pytest.mark.parametrize("how", TOLERANCES)
def test_compression_and_resampling_change_little(how: str, tagger: Tagger, tmp_path: Path) -> None:
    before = tagger.tag(CHECKOUT / "docs" / "sample.wav").scores
    after = tagger.tag(changed(how, tmp_path)).scores
    assert before.argmax() == after.argmax()
    assert 0 < np.abs(before - after).max() < TOLERANCES[how]
