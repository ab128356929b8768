"""The nearest sounds: against numpy's own cosines, on sounds and on what `embed` wrote of them, and on real clips."""

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from eranntag.checkpoints import weights
from eranntag.cli import cli
from eranntag.engines.eager import Eager
from eranntag.errors import EranntagError
from eranntag.inference import saved, similarity
from eranntag.inference.similarity import cosine, nearest
from eranntag.results import matrix
from eranntag.results.formats import unguarded
from eranntag.types import Embedding

RATE = 44100
Writer = Callable[..., Path]


def embedded(rows: np.ndarray, name: str = "x", every: float | None = None) -> Embedding:
    return Embedding(rows.astype(np.float32), np.arange(len(rows)) * (every or 0), 9.5, every, name, "tiny")


# The search


def test_a_cosine_is_that_of_the_angle() -> None:
    assert cosine(np.array([1.0, 0]), np.array([1.0, 1])) == pytest.approx(np.sqrt(0.5))
    assert cosine(np.array([[3.0, 0], [-2, 0], [0, 9], [0, 0]]), np.array([1.0, 0])).tolist() == [1, -1, 0, 0]
    one, two = np.random.default_rng(0).normal(size=(2, 5, 7)).astype(np.float32)
    expected = [np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(one, two, strict=True)]
    np.testing.assert_allclose(cosine(one, two), expected, rtol=1e-6)
    huge = np.full(3, 1e30, np.float32)
    assert cosine(huge, huge) == pytest.approx(1)  # whose float32 square is infinite


@pytest.mark.parametrize("rows", [1, 7, 4096])
def test_the_nearest_of_many_are_those_of_the_whole_matrix(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the blocks; equal ones in their order."""
    monkeypatch.setattr(similarity, "ROWS", rows)
    rng = np.random.default_rng(rows)
    query, matrix_ = rng.normal(size=6), np.repeat(rng.normal(size=(40, 6)), 2, axis=0)
    found = nearest(query, [embedded(row[None], str(index)) for index, row in enumerate(matrix_)], 9)
    expected = np.argsort(-np.round(cosine(matrix_.astype(np.float32), query), 6), kind="stable")[:9]
    assert [each.source for each in found] == [str(index) for index in expected]
    assert [int(each.source) % 2 for each in found[:4]] == [0, 1, 0, 1]
    assert all(each.onset is None for each in found)
    assert nearest(query, [], 9) == []


def test_windows_rank_with_their_times() -> None:
    vectors = np.eye(4)[[0, 1, 2, 1]]
    first, second = nearest(np.eye(4)[1], [embedded(np.eye(4)[:1]), embedded(vectors, "long", 2.5)], 2)
    assert (first.source, first.onset, first.offset, first.similarity) == ("long", 2.5, 5.0, 1.0)
    assert (second.onset, second.offset, second.seconds) == (7.5, 9.5, 9.5)
    with pytest.raises(EranntagError, match="x: its embedding has 4 numbers, not 3"):
        nearest(np.ones(3), [embedded(np.eye(4))], 1)


# The command


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERANNTAG_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ERANNTAG_REGISTRY", raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def model(tiny_tagger: Eager, tmp_path: Path) -> str:
    weights.save(tiny_tagger.network, tmp_path / "tiny.safetensors")
    return str(tmp_path / "tiny.safetensors")


@pytest.fixture
def sounds(wav: Writer, tmp_path: Path) -> list[str]:
    """Tones and noise, of 1.3 s; the last is a copy of the first."""
    time, rng = np.arange(round(1.3 * RATE)) / RATE, np.random.default_rng(0)
    (tmp_path / "sounds").mkdir()
    tones = [0.3 * np.sin(2 * np.pi * hz * time) for hz in (300, 320, 5000)]
    waves = [*tones, rng.normal(0, 0.1, len(time)), tones[0]]
    return [str(wav(f"sounds/{index}.wav", wave)) for index, wave in enumerate(waves)]


def run(*args: str | Path, **options: Any) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args], **options)


def similar(model: str, *args: str | Path, **options: Any) -> Result:
    return run("similar", "-c", model, "--engine", "eager", *args, **options)


@pytest.mark.slow
def test_sounds_and_their_saved_embeddings_rank_alike(model: str, sounds: list[str], tmp_path: Path) -> None:
    """In every format of `embed`; of the query itself the similarity is 1, and its copy comes behind it."""
    pytest.importorskip("pyarrow")
    for every in ((), ("--every", "0.5")):
        outputs = ("x.npz", "x.jsonl", "x.parquet")
        for output in outputs:
            assert run("embed", "-c", model, "--engine", "eager", *sounds, *every, "-o", output, "--overwrite").exit_code == 0
        live = similar(model, sounds[0], tmp_path / "sounds", *every, "--format", "json")
        assert (live.exit_code, live.stderr) == (0, "")
        for output in outputs:
            assert similar(model, sounds[0], output, "--format", "json").stdout == live.stdout
        found = json.loads(live.stdout)
        assert (found["schema"], found["query"], found["checkpoint"]) == (1, sounds[0], "tiny")
        results = found["results"]
        assert [each["rank"] for each in results] == list(range(1, len(results) + 1))
        assert len(results) == (10 if every else 5) and ("onset" in results[0]) == bool(every)
        values = [each["similarity"] for each in results]
        assert values == sorted(values, reverse=True)
        if not every:
            assert [each["source"] for each in results[:2]] == [sounds[0], sounds[4]] and values[:2] == [1.0, 1.0]
            assert values[2] < 1 and [each["source"] for each in results[2:3]] == [sounds[1]]


def test_every_format_has_the_same_neighbors(model: str, sounds: list[str]) -> None:
    def found(form: str) -> str:
        result = similar(model, sounds[1], *sounds, "--top", "3", "--format", form)
        assert (result.exit_code, result.stderr) == (0, "")
        return result.stdout

    whole = json.loads(found("json"))["results"]
    lines = [json.loads(line) for line in found("jsonl").splitlines()]
    assert [{name: line[name] for name in whole[0]} for line in lines] == whole
    assert {(line["schema"], line["query"], line["checkpoint"]) for line in lines} == {(1, sounds[1], "tiny")}
    rows = list(csv.DictReader(io.StringIO(found("csv"))))
    assert [(unguarded(row["source"]), float(row["similarity"]), row["onset"]) for row in rows] == [
        (each["source"], each["similarity"], "") for each in whole
    ]
    head, *table = found("table").splitlines()
    assert head == f"{sounds[1]}  1.3 s"
    assert [line.split()[1] for line in table] == [each["source"] for each in whole]
    windows = similar(model, sounds[1], sounds[1], "--every", "0.5", "--top", "9").stdout.splitlines()[1:]
    assert sorted(line.split("  ")[-1] for line in windows) == ["0.00 - 0.50 s", "0.50 - 1.00 s", "1.00 - 1.30 s"]


def test_a_broken_sound_is_a_line_and_a_query_may_be_piped(model: str, sounds: list[str]) -> None:
    Path("broken.wav").write_text("no sound")
    result = similar(model, "-", sounds[2], "broken.wav", sounds[0], input=Path(sounds[2]).read_bytes())
    assert result.exit_code == 3 and result.stderr.count("\n") == 1 and result.stderr.startswith("eranntag: broken.wav: ")
    assert [line.split()[1] for line in result.stdout.splitlines()[1:]] == [sounds[2], sounds[0]]
    for args, code in (("broken.wav", 1), ("nowhere.wav", 1)):
        query = similar(model, args, sounds[0])
        assert query.exit_code == code and query.stdout == "" and query.stderr.count("\n") == 1
    assert similar(model, sounds[0], "broken.wav").exit_code == 1
    assert similar(model, sounds[0], ".").exit_code == 1


@pytest.mark.slow
def test_embeddings_of_another_checkpoint_are_refused(
    model: str, sounds: list[str], tiny_tagger: Eager, tmp_path: Path
) -> None:
    for output in ("x.npz", "x.jsonl"):
        assert run("embed", "-c", model, "--engine", "eager", *sounds, "-o", output).exit_code == 0
    unnamed = run("similar", sounds[0], "x.npz")
    assert unnamed.exit_code == 2
    assert "x.npz: made by tiny, which has no row in the registry; name its file with -c" in unnamed.stderr
    row = run("checkpoints", "row", model).stdout
    Path(tmp_path, "own.toml").write_text(row)
    named = run("similar", sounds[0], "x.npz", "--registry", tmp_path / "own.toml", "--engine", "eager")
    assert named.exit_code == 0 and named.stdout == similar(model, sounds[0], "x.npz").stdout
    mixed = similar(model, sounds[0], "x.npz", "x.jsonl", sounds[1], "--format", "jsonl", "--top", "20")
    assert mixed.exit_code == 0 and len(mixed.stdout.splitlines()) == 11

    tiny_tagger.network.model.fc2.bias.data += 1
    weights.save(tiny_tagger.network, tmp_path / "other.safetensors")
    other = similar(str(tmp_path / "other.safetensors"), sounds[0], "x.npz")
    assert other.exit_code == 2 and "x.npz: made by other weights of tiny, with SHA-256 " in other.stderr
    matrix.save(Path("y.npz"), [embedded(np.ones((1, 3)))], "theirs", {"checkpoint": "theirs"}, True)
    theirs = similar(model, sounds[0], "y.npz")
    assert theirs.exit_code == 2 and "y.npz: made by theirs, not by tiny; embed the sounds again" in theirs.stderr
    matrix.save(Path("z.npz"), [embedded(np.ones((1, 3)))], "tiny", {}, True)
    short = similar(model, sounds[0], "z.npz")
    assert short.exit_code == 1 and "x: its embedding has 3 numbers, not 128" in short.stderr
    with open("x.jsonl", "a") as file:
        file.write(Path("x.jsonl").read_text().splitlines()[0].replace('"tiny"', '"theirs"') + "\n")
    within = similar(model, sounds[0], "x.jsonl")
    assert within.exit_code == 2 and f"x.jsonl: {sounds[0]} was embedded by theirs, not by tiny" in within.stderr


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        ("a.wav", 2, "Missing argument 'PLACE...'"),
        ("a.wav -", 2, "- can only be QUERY"),
        ("a.npz b.wav", 2, "a.npz: QUERY is a sound, and comes first"),
        ("a.wav b.npy", 2, "b.npy: an .npy does not name its sound and checkpoint"),
        ("a.wav nowhere.npz", 1, "nowhere.npz: no such file of embeddings"),
        ("a.wav nowhere.jsonl", 1, "nowhere.jsonl: no such file of embeddings"),
        ("a.wav empty.jsonl", 1, "empty.jsonl: holds no embedding"),
        ("a.wav tags.jsonl", 1, "tags.jsonl: line 1 is no embedding; name what `eranntag embed` wrote"),
        ("a.wav empty.jsonl --every 1", 1, "holds no embedding"),
        ("a.wav b.wav --top 0", 2, "--top"),
        ("a.wav b.wav -c nobody", 2, "nobody"),
    ],
)
def test_wrong_use_is_one_line(args: str, code: int, words: str) -> None:
    Path("empty.jsonl").touch()
    Path("tags.jsonl").write_text('{"schema": 1, "source": "a", "seconds": 1, "checkpoint": "tiny", "tags": []}\n')
    result = run("similar", *args.split())
    assert result.exit_code == code and words in result.stderr
    assert result.stderr.count("\n") == 1 and result.stdout == ""


def test_odd_names_are_shown_and_not_obeyed(model: str, sounds: list[str]) -> None:
    names = [os.fsdecode(name) for name in (b"\x1b[31mred.wav", b"caf\xe9.wav", b"=1+1.wav")]
    for name in names:
        os.link(sounds[0], name)
    shown = similar(model, names[0], *names).stdout
    assert "\x1b" not in shown and "\\x1b[31mred.wav" in shown and "caf\\xe9.wav" in shown and shown.count("\n") == 4
    found = json.loads(similar(model, names[0], *names, "--format", "json").stdout)
    assert sorted(each["source"] for each in found["results"]) == sorted(names) and found["query"] == names[0]
    table = similar(model, names[0], *names, "--format", "csv").stdout_bytes.decode("utf-8", "surrogateescape")
    cells = [row["source"] for row in csv.DictReader(io.StringIO(table))]
    assert sorted(map(unguarded, cells)) == sorted(names) and "'=1+1.wav" in cells


def test_windows_are_for_sounds_alone(model: str, sounds: list[str]) -> None:
    assert run("embed", "-c", model, "--engine", "eager", *sounds, "-o", "x.npz").exit_code == 0
    result = similar(model, sounds[0], "x.npz", "--every", "1")
    assert result.exit_code == 2 and "--every is for sounds" in result.stderr


# Real sounds


def test_the_nearest_of_real_clips_are_of_the_same_kind(data_root: Path, tmp_path: Path) -> None:
    """EfficientAT's published mn04 has never seen ESC-50's labels: dogs are nearest to a dog, rain to rain."""
    import test_mn
    import torch

    from eranntag.inference.network import Network

    published, meta = data_root / "teacher" / test_mn.PUBLISHED, data_root / "esc50" / "manifest.csv"
    if not published.is_file() or not meta.is_file():
        pytest.skip(f"{published} or {meta} is absent")
    network = Network(test_mn.checkpoint())
    network.model.load_state_dict(torch.load(published, weights_only=True))
    weights.save(network.eval(), tmp_path / "mn04.safetensors", half=False)
    with open(meta, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["fold"] == "1"]
    kinds = {str(data_root / "esc50" / row["file"]): row["label"] for row in rows}
    clips = [clip for kind in ("dog", "rain", "clock_alarm") for clip in [each for each in kinds if kinds[each] == kind][:4]]
    assert len(clips) == 12
    model = str(tmp_path / "mn04.safetensors")
    assert run("embed", "-c", model, "--engine", "eager", *clips, "-o", "clips.npz").exit_code == 0
    lines = similar(model, clips[0], "clips.npz", "--format", "jsonl").stdout.splitlines()
    assert [kinds[json.loads(line)["source"]] for line in lines[:4]] == ["dog"] * 4
    embeddings = list(saved.read(Path("clips.npz")))
    found = [nearest(each.vectors[0], embeddings, 4) for each in embeddings]
    assert [each[0].source for each in found] == clips
    right = sum(kinds[one.source] == kinds[each[0].source] for each in found for one in each[1:])
    assert right >= 30, f"{right} of 36"
