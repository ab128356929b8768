"""Embeddings of sounds and of their windows, in every format; and runs that are killed and resumed."""

import dataclasses
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from conftest import CHECKOUT
from hypothesis import given, settings, strategies as st

from eranntag.audio import reader
from eranntag.cli import cli, embed as command
from eranntag.engines import selection
from eranntag.engines.eager import Eager
from eranntag.engines.selection import VerifiedCheckpoint
from eranntag.errors import EranntagError, UsageError
from eranntag.inference import embedding, saved
from eranntag.inference.embedding import Embedder, Embedding
from eranntag.inference.ensemble import Ensemble
from eranntag.inference.pipeline import predict
from eranntag.results import matrix
from eranntag.types import Checkpoint, Clip

RATE = 44100
SIZE = 128  # of ERANN-2-1
Writer = Callable[..., Path]

openvino = pytest.mark.skipif(selection.find_spec("openvino") is None, reason="no openvino")
ENGINES = [pytest.param(name, marks=[openvino] if name == "openvino" else []) for name in selection.ENGINES]


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERANNTAG_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ERANNTAG_REGISTRY", raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def noise(seconds: float, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """It grows, so that no two windows are alike."""
    samples = round(seconds * rate)
    return (np.random.default_rng(seed).normal(0, 0.2, samples) * np.linspace(0.05, 1, samples)).astype(np.float32)


def vector(tagger: Any, waveform: np.ndarray, rate: int = RATE) -> np.ndarray:
    """Of a clip, from the engine itself."""
    return np.asarray(tagger.embeddings(tagger.prepare(Clip(waveform[None], rate))[None])[0])


# What an Embedder computes


def test_a_sound_has_the_vector_that_the_head_classifies(tiny_tagger: Eager) -> None:
    found = tiny_tagger.embed(noise(1.5), RATE)
    assert found.vectors.shape == (1, SIZE) and found.vectors.dtype == np.float32 and tiny_tagger.embedding_size == SIZE
    assert (found.seconds, found.every_seconds, found.onsets.tolist(), found.offsets.tolist()) == (1.5, None, [0], [1.5])
    assert found.checkpoint == "tiny"
    scores = tiny_tagger._probabilities(tiny_tagger.classify(found.vectors))[0]
    np.testing.assert_allclose(scores, tiny_tagger.tag(noise(1.5), RATE).scores, rtol=0, atol=1e-6)


@pytest.mark.parametrize("seconds", [4.0, 4.3, 1.0])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_window_has_the_vector_of_the_clip_that_is_cut_there(seconds: float, batch: int, tiny_tagger: Eager) -> None:
    """Whatever the batch; the last one may be shorter, and is never empty."""
    tiny_tagger.batch, waveform = batch, noise(seconds)
    found = tiny_tagger.embed(waveform, RATE, every=1.0)
    cuts = np.split(waveform, range(RATE, len(waveform), RATE))
    assert len(found.vectors) == len(cuts) == int(np.ceil(seconds)) and len(cuts[-1])
    expected = np.stack([vector(tiny_tagger, cut) for cut in cuts])
    np.testing.assert_allclose(found.vectors, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert len(cuts) < 2 or np.abs(expected[1:] - expected[:-1]).max() > 0.01 * np.abs(expected).max()
    assert found.onsets.tolist() == list(range(len(cuts))) and found.offsets.tolist() == [*range(1, len(cuts)), seconds]
    assert found.every_seconds == 1.0 and found.seconds == pytest.approx(seconds)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 32000, 48000, 96000])
@pytest.mark.parametrize("seconds", [2.0, 3.0])
def test_resampling_makes_no_window_of_its_own(rate: int, seconds: float, tiny_tagger: Eager) -> None:
    assert len(tiny_tagger.embed(noise(seconds, rate=rate), rate, every=0.5).vectors) == 2 * seconds


def test_a_sound_that_is_shorter_than_a_window_is_one(tiny_tagger: Eager) -> None:
    for samples in (1, 100, RATE // 2):
        found = tiny_tagger.embed(np.full(samples, 0.1), RATE, every=30)
        np.testing.assert_array_equal(found.vectors[0], vector(tiny_tagger, np.full(samples, 0.1, np.float32)))
        assert found.vectors.shape == (1, SIZE) and found.offsets.tolist() == [samples / RATE]


def test_a_long_sound_and_long_windows_are_those_of_one_pass(tiny_tagger: Eager, wav: Writer) -> None:
    tiny_tagger.geometry = dataclasses.replace(tiny_tagger.geometry, block_frames=512)
    seconds = tiny_tagger.longest_seconds
    assert seconds == 4
    waveform = noise(2.5 * seconds)
    path = wav("long.flac", waveform)
    waveform = reader.read(path).waveform[0]
    whole, halves = vector(tiny_tagger, waveform), np.split(waveform, [round(1.5 * seconds * RATE)])
    scale = np.abs(whole).max()
    (result,) = predict(Embedder(tiny_tagger), [str(path)])
    np.testing.assert_allclose(result.vectors[0], whole, rtol=0, atol=1e-4 * scale)
    (result,) = predict(Embedder(tiny_tagger, 1.5 * seconds), [str(path)])
    expected = np.stack([vector(tiny_tagger, half) for half in halves])
    np.testing.assert_allclose(result.vectors, expected, rtol=0, atol=1e-4 * scale)


def test_of_hours_a_few_windows_are_held(tiny_tagger: Eager) -> None:
    read = taken = most = 0

    def blocks() -> Iterator[np.ndarray]:
        nonlocal read
        for _ in range(200):
            read += RATE // 4
            yield np.full((1, RATE // 4), 0.1, np.float32)

    def embeddings(prepared: np.ndarray) -> np.ndarray:
        nonlocal taken, most
        taken += len(prepared)
        most = max(most, read - taken * RATE)
        return np.ones((len(prepared), 3), np.float32)

    embedder = Embedder(tiny_tagger, 1.0)
    tiny_tagger.embeddings = embeddings  # type: ignore[method-assign]
    found = embedder.predict_long(embedder.prepare_source(reader.AudioStream(RATE, "hours", blocks())))
    assert found.vectors.shape == (50, 3) and read == 50 * RATE and most <= 2 * RATE


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_has_the_vectors_of_the_reference(name: str, tiny_tagger: Eager, tiny_checkpoint: Checkpoint) -> None:
    waveforms = [noise(2.0), noise(1.2, 1)]
    expected = [tiny_tagger.embed(each, RATE, every=0.7).vectors for each in waveforms]  # before an engine changes the network
    tagger = selection.build(VerifiedCheckpoint(tiny_checkpoint, "0" * 64, lambda: tiny_tagger.network), name, "cpu", "float32")
    found = tagger.embed(waveforms, RATE, every=0.7)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.vectors, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())


def test_an_ensemble_has_no_embedding(tiny_tagger: Eager) -> None:
    duo = Ensemble("duo", [tiny_tagger, tiny_tagger])
    with pytest.raises(UsageError, match="duo: an ensemble has no embedding; name a member: tiny, tiny"):
        duo.embed(noise(1), RATE)


@pytest.mark.parametrize("every", [0, 0.09, -1, 601, float("nan")])
def test_windows_have_a_length_that_makes_sense(every: float, tiny_tagger: Eager) -> None:
    with pytest.raises(UsageError, match=r"windows of 0.1 to 600 seconds can be embedded"):
        tiny_tagger.embed(noise(1), RATE, every=every)


def test_numbers_that_are_not_finite_are_an_error(tiny_tagger: Eager) -> None:
    tiny_tagger.pooled = lambda prepared: np.full((len(prepared), 2), np.nan, np.float32)  # type: ignore[method-assign]
    for every in (None, 0.5):
        with pytest.raises(EranntagError, match="mine: the embeddings are not finite in float32"):
            tiny_tagger.embed(Clip(noise(1)[None], RATE, "mine"), every=every)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=20))
@pytest.mark.fuzz
def test_json_leads_back_to_the_very_numbers(numbers: list[float]) -> None:
    vectors = np.array([numbers], np.float32)
    for every, read in ((None, lambda record: record["embedding"]), (1.0, lambda record: record["windows"][0]["embedding"])):
        text = json.dumps(Embedding(vectors, np.zeros(1), 1.0, every, "x").to_dict())
        np.testing.assert_array_equal(np.array(read(json.loads(text)), np.float32), vectors[0])


# The command and its formats


@pytest.fixture
def model(tiny_tagger: Eager, tmp_path: Path) -> str:
    from eranntag.checkpoints import weights  # not above: the processes that are killed need no torch

    weights.save(tiny_tagger.network, tmp_path / "tiny.safetensors")
    return str(tmp_path / "tiny.safetensors")


@pytest.fixture
def clips(wav: Writer) -> list[str]:
    return [str(wav(f"clip{index}.wav", noise(0.5 + 0.3 * index, index))) for index in range(4)]


def run(*args: str | Path, **options: Any) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args], **options)


def embed(model: str, *args: str | Path, **options: Any) -> Result:
    return run("embed", "-c", model, "--engine", "eager", *args, **options)


def vectors(model: str, clips: list[str], every: float | None = None) -> list[np.ndarray]:
    from eranntag.checkpoints import loading

    return [each.vectors for each in loading.load(model, engine="eager", device="cpu").embed(clips, every=every)]


@pytest.mark.parametrize("every", [pytest.param(None, marks=pytest.mark.slow), 0.4])
def test_every_format_reads_back(every: float | None, model: str, clips: list[str]) -> None:
    pytest.importorskip("pyarrow")
    options = [] if every is None else ["--every", str(every)]
    expected = vectors(model, clips, every)
    for output in ("x.jsonl", "x.npz", "x.parquet"):
        result = embed(model, *clips, "nowhere.wav", "-o", output, *options)
        assert (result.exit_code, result.stdout, result.stderr) == (3, "", "eranntag: nowhere.wav: no such file\n")
        found = list(saved.read(Path(output)))
        assert [each.source for each in found] == clips
        for ours, theirs, index in zip(found, expected, range(4), strict=True):
            np.testing.assert_array_equal(ours.vectors, theirs)
            assert (ours.checkpoint, ours.every_seconds) == ("tiny", every)
            assert ours.seconds == pytest.approx(0.5 + 0.3 * index, abs=1e-4)
            np.testing.assert_allclose(ours.onsets, np.arange(len(theirs)) * (every or 0), atol=1e-6)
        name, digests = saved.origin(Path(output))
        assert name == "tiny" and (len(digests) == 1 or output == "x.jsonl")
    assert Path("x.jsonl").read_text() == embed(model, *clips, *options).stdout
    assert sorted(os.listdir()) == ["x.jsonl", "x.npz", "x.parquet"]
    for clip, theirs in zip(clips, expected, strict=True):
        assert embed(model, clip, "-o", "one.npy", *options).exit_code == 0
        np.testing.assert_array_equal(np.load("one.npy", allow_pickle=False), theirs)
    assert embed(model, *clips, "--output-dir", "folder", *options).exit_code == 0
    assert sorted(os.listdir("folder")) == [".eranntag.journal", *(f"clip{index}.npy" for index in range(4))]
    np.testing.assert_array_equal(np.load("folder/clip2.npy", allow_pickle=False), expected[2])


def test_records_have_the_fields_of_the_document(model: str, clips: list[str]) -> None:
    record = json.loads(embed(model, clips[1]).stdout)
    assert list(record) == ["schema", "source", "seconds", "checkpoint", "embedding"] and len(record["embedding"]) == SIZE
    record = json.loads(embed(model, clips[1], "--every", "0.5").stdout)
    assert list(record) == ["schema", "source", "seconds", "checkpoint", "every_seconds", "windows"]
    times = [(window["onset"], window["offset"]) for window in record["windows"]]
    assert times == [(0, 0.5), (0.5, 0.8)] and {len(window["embedding"]) for window in record["windows"]} == {SIZE}


def test_an_npz_needs_numpy_alone(model: str, clips: list[str]) -> None:
    assert embed(model, *clips[:2], "--every", "0.4", "-o", "x.npz").exit_code == 0
    with np.load("x.npz", allow_pickle=False) as file:
        arrays = dict(file)
    assert sorted(arrays) == [
        *("checkpoint", "complete", "embeddings", "every_seconds", "onset", "seconds", "settings", "source")
    ]
    assert arrays["embeddings"].shape == (4, SIZE) and arrays["embeddings"].dtype == np.float32
    assert arrays["source"].tolist() == [clips[0]] * 2 + [clips[1]] * 2
    np.testing.assert_allclose(arrays["onset"], [0, 0.4, 0, 0.4])
    np.testing.assert_allclose(arrays["seconds"], [0.5, 0.5, 0.8, 0.8], atol=1e-4)
    assert (str(arrays["checkpoint"]), float(arrays["every_seconds"]), bool(arrays["complete"])) == ("tiny", 0.4, True)
    assert json.loads(str(arrays["settings"]))["--every"] == 0.4


def test_names_of_any_bytes_survive(model: str, clips: list[str]) -> None:
    pytest.importorskip("pyarrow")
    names = [os.fsdecode(name) for name in (b"caf\xe9.wav", b"\xed\xa0\x80.wav", b"new\nline.wav", "日本.wav".encode())]
    for name in names:
        os.link(clips[0], name)
    for output in ("x.jsonl", "x.npz", "x.parquet"):
        assert embed(model, "-o", output, "--", *names).exit_code == 0
        assert [os.fsencode(each.source) for each in saved.read(Path(output))] == [os.fsencode(name) for name in names]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("CLIP -o x.npz --format jsonl", "--output x.npz ends as --format npz does, not jsonl"),
        ("CLIP -o x.NPY --format parquet", "ends as --format npy does, not parquet"),
        ("CLIP --format npz", "--format npz writes a file; name it with --output"),
        ("CLIP --format npy", "--format npy writes a file; name it with --output"),
        ("CLIP --format parquet", "name it with --output"),
        ("CLIP CLIP -o x.npy", "an .npy holds one sound; for several use an .npz, or --output-dir"),
        ("CLIP -o x.npz --output-dir folder", "not to both"),
        ("CLIP --output-dir folder --format npz", "--output-dir takes an .npy for each sound"),
        ("CLIP --every 0", "0.1<=x<=600"),
        ("CLIP --every 601", "0.1<=x<=600"),
        ("CLIP --resume", "--resume needs --output"),
        ("CLIP - --jobs 1", "standard input is one sound"),
        ("", "no input"),
        ("a.wav -o vectors.csv", "the ending must be .jsonl, .npz, .npy; or name a --format"),
    ],
)
def test_wrong_options_are_one_line(args: str, words: str, model: str, clips: list[str]) -> None:
    result = embed(model, *args.replace("CLIP", clips[0]).split())
    assert result.exit_code == 2 and words in result.stderr
    assert result.stderr.count("\n") == 1 and result.stdout == "" and os.listdir() == []


def test_the_command_has_the_lengths_of_windows_of_the_module() -> None:
    kind = next(each for each in command.command.params if each.name == "every").type
    assert isinstance(kind, click.FloatRange) and (kind.min, kind.max) == embedding.EVERY_SECONDS


def test_exit_codes_and_standard_input(model: str, clips: list[str]) -> None:
    Path("broken.wav").write_text("no sound")
    assert embed(model, "broken.wav", "nowhere.wav").exit_code == 1
    piped = embed(model, "-", input=Path(clips[0]).read_bytes())
    assert (
        piped.exit_code == 0 and json.loads(piped.stdout)["embedding"] == json.loads(embed(model, clips[0]).stdout)["embedding"]
    )
    for output in ("x.npz", "x.npy"):
        assert embed(model, "broken.wav", "-o", output).exit_code == 1
    assert not Path("x.npy").exists()


@pytest.mark.slow
def test_jobs_and_shards_have_the_same_results(model: str, clips: list[str]) -> None:
    alone = embed(model, *clips, "--every", "0.4")
    shared = embed(model, *clips, "--every", "0.4", "--jobs", "1", "-o", "shared.npz")
    assert (shared.exit_code, shared.stderr) == (0, "")
    for ours, theirs in zip(saved.read(Path("shared.npz")), vectors(model, clips, 0.4), strict=True):
        assert ours.vectors.shape == theirs.shape  # another process may have other threads, and sums in another order
        np.testing.assert_allclose(ours.vectors, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())
    for index in (1, 2):
        assert embed(model, *clips, "--every", "0.4", "--shard", f"{index}/2", "-o", f"{index}.jsonl").exit_code == 0
    merged = run("merge", "1.jsonl", "2.jsonl")
    assert merged.exit_code == 0 and sorted(merged.stdout.splitlines()) == sorted(alone.stdout.splitlines())
    assert embed(model, *clips, "-o", "whole.jsonl").exit_code == 0
    assert "is of 1, tiny, embedding; 1.jsonl of 1, tiny, windows" in run("merge", "1.jsonl", "whole.jsonl").stderr


def test_parquet_of_shards_is_merged(model: str, clips: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    from eranntag.results import parquet

    monkeypatch.setattr(parquet, "MAX_SIZE", 2 * (SIZE // 10))  # a vector counts as ten of its numbers do
    monkeypatch.setattr(parquet, "BATCH_BYTES", 1)  # rows are read one at a time
    for index in (1, 2):
        assert embed(model, *clips, "--shard", f"{index}/2", "-o", f"{index}.parquet").exit_code == 0
    assert embed(model, *clips, "-o", "all.parquet").exit_code == 0
    assert sorted(path.name for path in Path("all.parquet").glob("*.parquet")) == ["part-00000.parquet", "part-00001.parquet"]
    assert run("merge", "1.parquet", "2.parquet", "-o", "merged").exit_code == 0
    ours, theirs = (sorted(saved.read(Path(name)), key=lambda each: each.source) for name in ("merged", "all.parquet"))
    assert [each.source for each in ours] == clips
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one.vectors, other.vectors)


# Runs that end early


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`interrupted(*args)`: `embed`, which is interrupted after two results."""
    from eranntag.inference import pipeline as predicting

    everything = predicting.predict

    def two(*args: Any) -> Iterator[Any]:
        results = everything(*args)
        yield next(results)
        yield next(results)
        raise KeyboardInterrupt

    def begin(*args: str | Path) -> Result:
        with monkeypatch.context() as patch:
            patch.setattr(predicting, "predict", two)
            return embed(*args)  # type: ignore[arg-type]

    return begin


@pytest.mark.parametrize("output", ["x.jsonl", "x.npz"])
@pytest.mark.kill
def test_an_interrupted_run_is_resumed(output: str, model: str, clips: list[str], interrupted: Callable[..., Result]) -> None:
    how = (model, *clips, "--every", "0.4", "-o", output)
    assert interrupted(*how).exit_code == 130
    assert [each.source for each in saved.read(Path(output))] == clips[:2]
    refused = embed(*how)
    assert refused.exit_code == 2 and "holds 2 results of an interrupted run" in refused.stderr
    other = embed(model, *clips, "-o", output, "--resume")
    assert other.exit_code == 2 and "begun with --every 0.4, now no --every; use another --output" in other.stderr
    assert embed(*how, "--resume").exit_code == 0
    assert embed(model, *clips, "--every", "0.4", "-o", f"whole-{output}").exit_code == 0
    assert Path(output).read_bytes() == Path(f"whole-{output}").read_bytes()
    assert sorted(os.listdir()) == sorted([output, f"whole-{output}"])


@pytest.mark.kill
def test_a_killed_run_is_resumed(model: str, clips: list[str]) -> None:
    how = ("embed", "-c", model, "--engine", "eager", "-o", "x.jsonl")
    process = subprocess.Popen(
        [sys.executable, "-m", "eranntag", *how, "--files-from", "-"],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdin=subprocess.PIPE,
    )
    assert process.stdin
    try:
        process.stdin.write("".join(f"{clip}\n" for clip in clips[:2]).encode())
        process.stdin.flush()
        deadline = time.monotonic() + 120
        while not (Path("x.jsonl.journal").exists() and clips[1] in Path("x.jsonl.journal").read_text()):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
    assert sorted(os.listdir()) == ["x.jsonl.journal", "x.jsonl.partial"]
    assert run(*how, *clips, "--resume").exit_code == 0
    assert [each.source for each in saved.read(Path("x.jsonl"))] == clips and os.listdir() == ["x.jsonl"]


def test_a_run_without_any_embedding_keeps_what_was_there(model: str, clips: list[str]) -> None:
    assert embed(model, *clips, "-o", "x.npz").exit_code == 0
    before = Path("x.npz").read_bytes()
    Path("broken.wav").write_bytes(b"RIFF")
    assert embed(model, "broken.wav", "-o", "x.npz").exit_code == 1
    assert Path("x.npz").read_bytes() == before
    assert embed(model, "broken.wav", "-o", "y.npz").exit_code == 1 and not Path("y.npz").exists()


@pytest.mark.slow
def test_what_an_npz_replaces(model: str, clips: list[str], interrupted: Callable[..., Result]) -> None:
    Path("x.npz").write_bytes(b"PK of another program")
    for options in ((), ("--resume",)):
        refused = embed(model, clips[0], "-o", "x.npz", *options)
        assert refused.exit_code == 2 and "is not an earlier result in this format; --overwrite replaces it" in refused.stderr
    assert Path("x.npz").read_bytes() == b"PK of another program"
    assert embed(model, clips[0], "-o", "x.npz", "--overwrite").exit_code == 0
    assert embed(model, clips[1], "-o", "x.npz").exit_code == 0, "a finished one is replaced"
    assert [each.source for each in saved.read(Path("x.npz"))] == [clips[1]]
    assert embed(model, *clips, "-o", "x.npz", "--resume").exit_code == 0, "or continued, as a folder of recordings grows"
    assert [each.source for each in saved.read(Path("x.npz"))] == [clips[1], clips[0], *clips[2:]]
    assert embed(model, clips[1], clips[1], "-o", "x.npz", "--resume").exit_code == 0, "listed twice, embedded twice"
    assert len(list(saved.read(Path("x.npz")))) == 5
    assert interrupted(model, *clips, "-o", "x.npz", "--overwrite").exit_code == 130
    assert embed(model, *clips[:1], "-o", "x.npz", "--overwrite").exit_code == 0
    assert [each.source for each in saved.read(Path("x.npz"))] == clips[:1]
    (Path.cwd() / "link.npz").symlink_to("x.npz")
    assert embed(model, clips[2], "-o", "link.npz").exit_code == 0 and Path("link.npz").is_symlink()
    assert [each.source for each in saved.read(Path("x.npz"))] == clips[2:3]
    Path(".x.npz.0123456789abcdef.part").touch()
    with matrix.EmbeddingMatrix.open(Path("x.npz")):
        refused = embed(model, clips[0], "-o", "x.npz")
        assert refused.exit_code == 1 and "another process is writing" in refused.stderr
    assert embed(model, clips[0], "-o", "x.npz").exit_code == 0
    assert sorted(os.listdir()) == ["link.npz", "x.npz"]
    Path("x.npz.lock").write_text("another program's")
    assert embed(model, clips[0], "-o", "x.npz").exit_code == 0 and Path("x.npz.lock").read_text() == "another program's"


WRITER = """
import sys
from pathlib import Path
import numpy as np
from eranntag.inference.embedding import Embedding
from eranntag.results import matrix
matrix.WRITE_SECONDS, matrix.WRITE_COST = 0, 0
with matrix.EmbeddingMatrix.open(Path(sys.argv[1]), resume=True) as run:
    run.begin({"checkpoint": "tiny"})
    for index in range(run.records, 10**9):
        rows = np.full((index % 3 + 1, 5), index, np.float32)
        run.write(Embedding(rows, np.arange(len(rows)) * 0.5, 2.0, 0.5, f"{index}.wav", "tiny"))
"""


@pytest.mark.kill
def test_a_writer_that_is_killed_again_and_again_leaves_a_whole_file(tmp_path: Path) -> None:
    path, before = tmp_path / "x.npz", 0
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", WRITER, path], env={**os.environ, "PYTHONPATH": str(CHECKOUT)})
        try:
            deadline = time.monotonic() + 60
            while not path.exists() or len(matrix.load(path).first_rows()) < before + 20:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.002)
        finally:
            process.kill()
            process.wait()
        found = list(saved.read(path))
        assert [each.source for each in found] == [f"{index}.wav" for index in range(len(found))] and len(found) >= before
        assert all((each.vectors == index).all() and len(each.vectors) == index % 3 + 1 for index, each in enumerate(found))
        assert not matrix.load(path).complete
        before = len(found)


def test_writing_takes_a_small_share_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a writing of ten seconds WRITE_COST times as many must go by, else WRITE_SECONDS."""
    now, cost, written = 0.0, 10.0, list[float]()

    def write(*_: Any) -> None:
        nonlocal now
        written.append(now)
        now += cost

    monkeypatch.setattr(matrix.time, "monotonic", lambda: now)
    monkeypatch.setattr(matrix, "save", write)
    with matrix.EmbeddingMatrix.open(tmp_path / "x.npz") as run_:
        run_.begin({})
        for second in range(600):
            now = max(now, second)
            run_.write(Embedding(np.zeros((1, 2), np.float32), np.zeros(1), 1.0))
    assert written == [121, 332, 543]
    assert matrix.WRITE_SECONDS == 120 and matrix.WRITE_COST == 20


def test_a_full_disk_is_one_line_and_keeps_what_was_there(
    model: str, clips: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert embed(model, clips[0], "-o", "x.npz").exit_code == 0
    before = Path("x.npz").read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", full)
    result = embed(model, *clips, "-o", "x.npz", "--resume")
    assert result.exit_code == 1 and result.stderr.count("\n") == 1 and "cannot be written (No space left" in result.stderr
    assert Path("x.npz").read_bytes() == before and os.listdir() == ["x.npz"]


# Files that are none


def archive(**changes: Any) -> bytes:
    """An .npz whose members are those of a good one, but for `changes`: arrays, bytes, or None."""
    good = {
        "embeddings": np.ones((2, 3), np.float32),
        "source": np.array(["a.wav", "b.wav"]),
        "onset": np.zeros(2),
        "seconds": np.ones(2),
        "checkpoint": np.array("tiny"),
        "every_seconds": np.array(0.0),
        "settings": np.array("{}"),
        "complete": np.array(True),
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", changes.pop("compression", zipfile.ZIP_STORED)) as members:
        for name, value in {**good, **changes}.items():
            content = io.BytesIO()
            if isinstance(value, np.ndarray):
                np.save(content, value, allow_pickle=True)
            elif value is not None:
                content.write(value)
            if value is not None:
                members.writestr(f"{name}.npy", content.getvalue())
    return file.getvalue()


def header(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue()


@pytest.mark.parametrize(
    "changes",
    [
        {"embeddings": header((1 << 40, 384))},
        {"embeddings": header((-1, 3))},
        {"embeddings": header((2, 3), "|O") + b"cos\nsystem\n"},
        {"embeddings": b"no array"},
        {"embeddings": np.ones((2, 3))},
        {"embeddings": np.ones(6, np.float32)},
        {"embeddings": np.ones((3, 3), np.float32)},
        {"embeddings": np.asfortranarray(np.ones((2, 3), np.float32))},
        {"embeddings": np.full((2, 3), np.nan, np.float32)},
        {"embeddings": None},
        {"source": np.array([{"a": 1}, None], object)},
        {"source": np.array([1 << 30, 7], np.uint32).view("U1")},
        {"source": np.zeros(2)},
        {"onset": np.array([0.5, 0])},
        {"onset": np.array([0, np.nan])},
        {"settings": np.array("[]")},
        {"settings": np.array("{" * 100_000)},
        {"settings": np.array(object(), object)},
        {"complete": np.array(1.0)},
        {"compression": zipfile.ZIP_DEFLATED},
    ],
)
def test_an_npz_of_another_program_is_one_line(changes: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(archive(**changes))
    with pytest.raises(EranntagError) as caught:
        matrix.load(path)
    assert str(caught.value).startswith(f"{path}: is no .npz of `eranntag embed` (") and "\n" not in str(caught.value)
    path.write_bytes(archive())
    assert [each.source for each in saved.read(path)] == ["a.wav", "b.wav"]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
@pytest.mark.fuzz
def test_any_damage_to_an_npz_is_an_error_or_harmless(data: st.DataObject) -> None:
    content = bytearray(archive())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = Path("x.npz")
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]) if data.draw(st.booleans()) else content)
    try:
        found = matrix.load(path)
    except EranntagError as error:
        assert "is no .npz of `eranntag embed`" in str(error)
    else:
        assert found.vectors.dtype == np.float32 and len(found.sources) == len(found.vectors) == len(found.onsets)


@pytest.mark.parametrize(
    "line",
    [
        "no json",
        "[]",
        "{}",
        '{"schema": 1, "source": "a", "seconds": 1, "checkpoint": "tiny", "tags": []}',
        '{"source": "a", "seconds": 1, "checkpoint": "tiny", "embedding": ["x"]}',
        '{"source": "a", "seconds": 1, "checkpoint": "tiny", "embedding": [NaN]}',
        '{"source": "a", "seconds": 1, "checkpoint": "tiny", "embedding": 3}',
        '{"source": "a", "seconds": 1, "checkpoint": "tiny", "every_seconds": 1, "windows": []}',
        '{"source": "a", "seconds": 1, "checkpoint": "tiny", "every_seconds": 1, "windows": [{"embedding": [1]}]}',
        '{"source": 1, "seconds": 1, "checkpoint": "tiny", "embedding": [1]}',
        '{"source": "a", "seconds": null, "checkpoint": "tiny", "embedding": [1]}',
        '{"source": "a", "seconds": 1, "checkpoint": "tiny", "embedding": [1e300]}',
    ],
)
def test_a_line_of_another_program_is_named(line: str) -> None:
    good = '{"source": "a", "seconds": 1, "checkpoint": "tiny", "embedding": [1]}\n'
    Path("x.jsonl").write_text(f"{good}{line}\n")
    with pytest.raises(EranntagError, match=r"^x.jsonl: line 2 is no embedding; name what `eranntag embed` wrote$"):
        list(saved.read(Path("x.jsonl")))
