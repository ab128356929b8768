"""An archive in shards: which sound is in which, and their documents as one, with what is missing."""

import dataclasses
import io
import json
import os
import signal
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings, strategies as st
from test_journal import NAMES, prediction

from eranntag.cli import cli
from eranntag.cli._options.inputs import InputOptions
from eranntag.cli.display import parquet as tables, predictions
from eranntag.errors import EranntagError
from eranntag.inference import sources as inputs
from eranntag.results import formats, merge as merging, parquet as parts
from eranntag.results.resumable_file import ResumableFile
from eranntag.types import Failure, Prediction

FORMS = ("jsonl", "json", "csv", "parquet")


def write(path: Path, form: str, names: list[str], checkpoint: str = "tiny", top: int = 5) -> Path:
    """A document of `names`, as predict writes it."""
    if form == "parquet":
        pytest.importorskip("pyarrow")
        with parts.ParquetFolder.open(path) as place:
            place.begin({})
            with tables.document(place, lambda each: {**each.to_dict(top), "checkpoint": checkpoint}) as show:
                for name in names:
                    show(prediction(name))
        return path
    with ResumableFile.open(path) as run:
        run.begin({})
        with predictions.document(form, run, top, 0.0) as show:
            for name in names:
                show(prediction(name)) if checkpoint == "tiny" else show(_by(name, checkpoint))
    return path


def _by(name: str, checkpoint: str) -> Prediction:
    return dataclasses.replace(prediction(name), checkpoint=checkpoint)


def merge(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["merge", *map(str, arguments)])


def content(path: Path) -> object:
    return (
        path.read_bytes()
        if path.is_file()
        else [row for part in sorted(path.glob("*.parquet")) for row in parts.read_rows(part)]
    )


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return request.param


def test_the_documents_of_shards_are_that_of_one_run(form: str, tmp_path: Path) -> None:
    names = list(dict.fromkeys(NAMES))
    whole = write(tmp_path / "whole", form, names)
    shards = [write(tmp_path / f"shard-{at}", form, part) for at, part in enumerate((names[:5], [], names[5:6], names[6:]))]
    (tmp_path / "list").write_bytes(b"".join(os.fsencode(name) + b"\0" for name in names))
    result = merge(*shards, "-o", tmp_path / "all", "--files-from", tmp_path / "list")
    assert (result.exit_code, result.stderr) == (0, f"eranntag: {len(names)} records; 0 of {len(names)} sounds missing\n")
    assert content(tmp_path / "all") == content(whole)
    again = merge(*shards, "-o", tmp_path / "all")
    assert again.exit_code == (2 if form == "parquet" else 0), "an earlier result is replaced; a folder with --overwrite"
    assert merge(*shards, "-o", tmp_path / "all", "--overwrite").exit_code == 0
    assert content(tmp_path / "all") == content(whole)
    if form != "parquet":
        assert merge(*shards).stdout_bytes == content(whole)


def test_what_is_missing_is_named_and_can_be_tagged_next(form: str, tmp_path: Path) -> None:
    one, two = write(tmp_path / "1", form, ["a.wav"]), write(tmp_path / "2", form, ["c.wav", "x.wav"])
    (tmp_path / "list").write_text("a.wav\nb\x1b[31m.wav\nc.wav\nd.wav\n")
    result = merge(one, two, "-o", tmp_path / "all", "--files-from", tmp_path / "list")
    assert result.exit_code == 3
    assert result.stderr.splitlines() == [
        "eranntag: b\\x1b[31m.wav: is in no document",
        "eranntag: d.wav: is in no document",
        "eranntag: 3 records; 2 of 4 sounds missing",
    ]
    result = merge(
        one, two, "--overwrite", "-o", tmp_path / "all", "--files-from", tmp_path / "list", "--missing", tmp_path / "rest"
    )
    assert result.exit_code == 3 and (tmp_path / "rest").read_text() == "b\x1b[31m.wav\nd.wav\n"
    with open(tmp_path / "rest", "rb") as file:
        assert list(inputs.listed(file)) == ["b\x1b[31m.wav", "d.wav"]
    for taken in (tmp_path / "all", two, tmp_path / "list"):  # which --overwrite would replace
        before = content(taken)
        how = ("-o", tmp_path / "all", "--overwrite", "--files-from", tmp_path / "list", "--missing", taken)
        refused = merge(one, two, *how)
        assert refused.exit_code == 2 and "is an input or --output, too" in refused.stderr and content(taken) == before
    kept = merge(one, two, "-o", tmp_path / "other", "--files-from", tmp_path / "list", "--missing", tmp_path / "rest")
    assert kept.exit_code == 2 and "rest: is there; --overwrite replaces it" in kept.stderr


def test_a_folder_is_compared_with_the_sounds_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "sounds"
    folder.mkdir()
    for name in ("a.wav", "b.wav", "notes.txt"):
        (folder / name).touch()
    one = write(tmp_path / "1", "jsonl", [str(folder / "a.wav")])
    result = merge(one, "--inputs", folder)
    assert result.exit_code == 3 and f"{folder / 'b.wav'}: is in no document" in result.stderr
    assert len(result.stdout.splitlines()) == 1


def test_a_sound_in_two_documents_is_there_once(form: str, tmp_path: Path) -> None:
    one, two = write(tmp_path / "1", form, ["a.wav", "a.wav", "b.wav"]), write(tmp_path / "2", form, ["b.wav", "c.wav"])
    result = merge(one, two, "-o", tmp_path / "all")
    taken = 3 if form == "csv" else 4  # rows of one sound that follow each other are one record there
    assert (result.exit_code, result.stderr) == (0, f"eranntag: {taken} records; 1 that were in two documents\n")
    assert content(tmp_path / "all") == content(write(tmp_path / "wanted", form, ["a.wav", "a.wav", "b.wav", "c.wav"]))
    three = write(tmp_path / "3", form, ["c.wav"], top=2)
    result = merge(one, two, three, "-o", tmp_path / "all", "--overwrite")
    assert result.exit_code == 3 and "c.wav: its records in two documents differ; the first was taken" in result.stderr


def test_other_checkpoints_formats_and_files_are_refused(form: str, tmp_path: Path) -> None:
    one, other = write(tmp_path / "1", form, ["a.wav"]), write(tmp_path / "2", form, ["b.wav"], checkpoint="other")
    result = merge(one, other, "-o", tmp_path / "all")
    assert (
        result.exit_code == 2 and "2: is of" in result.stderr and "merge those of one command and checkpoint" in result.stderr
    )
    assert not (tmp_path / "all").is_file() and not list(tmp_path.glob("all.*"))
    another = write(tmp_path / "3", FORMS[FORMS.index(form) - 1], ["b.wav"])
    result = merge(one, another, "-o", tmp_path / "all")
    assert result.exit_code == 2 and "documents of one format" in result.stderr
    (tmp_path / "notes").write_text("shopping list\n")
    assert "notes: not a document of predict, detect or embed" in merge(one, tmp_path / "notes").stderr
    assert merge(one, "-o", one).exit_code == 2, "an input is not overwritten"
    (tmp_path / "empty").mkdir()
    assert "empty: a folder without parts" in merge(one, tmp_path / "empty").stderr


def test_a_document_whose_run_has_not_ended_is_named(tmp_path: Path) -> None:
    one = write(tmp_path / "1", "jsonl", ["a.wav"])
    (tmp_path / "1.journal").touch()
    (tmp_path / "2.partial").touch()
    result = merge(one, tmp_path / "2", "-o", tmp_path / "all")
    assert result.exit_code == 3 and (tmp_path / "all").read_bytes() == one.read_bytes()
    for name in "12":
        assert f"{name}: its run was interrupted, or goes on; run its command again with --resume" in result.stderr
    result = merge(one, tmp_path / "never", "-o", tmp_path / "all")
    assert result.exit_code == 3 and "never: no such document; run its command again" in result.stderr


@pytest.mark.parametrize("form", ["jsonl", "json", "csv"])
def test_a_torn_document_is_named_and_its_whole_records_taken(form: str, tmp_path: Path) -> None:
    whole = write(tmp_path / "1", form, ["a.wav", "b.wav", "c.wav"], top=1).read_bytes()
    for size in range(len(whole) - 1, len(whole) // 2, -7):
        (tmp_path / "torn").write_bytes(whole[:size])
        result = merge(tmp_path / "torn")
        found = [line for line in result.stdout.splitlines() if ".wav" in line]
        assert "torn: " in result.stderr and "run its command again" in result.stderr
        assert len(found) <= 3 and result.exit_code == (3 if found else 1)
        assert all(line.rstrip(",") in whole.decode() for line in found)


def test_shards_without_a_sound_are_no_fault(tmp_path: Path) -> None:
    (tmp_path / "1").touch()
    result = merge(tmp_path / "1", "-o", tmp_path / "all")
    assert result.exit_code == 0 and (tmp_path / "all").read_bytes() == b""


def test_json_says_whether_it_is_all(tmp_path: Path) -> None:
    one = write(tmp_path / "1", "json", ["a.wav", "b.wav"])
    assert json.loads(merge(one).stdout)["complete"] is True
    one.write_text(one.read_text().replace('"complete": true', '"complete": false'))
    result = merge(one)
    assert result.exit_code == 3 and "1: its run was interrupted" in result.stderr
    assert json.loads(result.stdout)["complete"] is False and len(json.loads(result.stdout)["results"]) == 2


SIZES = st.lists(st.integers(0, 1 << 30), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(sizes=SIZES, count=st.integers(1, 12), order=st.randoms(use_true_random=False))
@pytest.mark.fuzz
def test_shares_are_all_disjoint_stable_and_balanced(sizes: list[int], count: int, order: object) -> None:
    names = [f"{number}.wav" for number in range(len(sizes))]
    size_of = dict(zip(names, sizes, strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs, "_bytes", lambda name: size_of[name])
        shares = [inputs.share(names, index, count) for index in range(1, count + 1)]
        order.shuffle(shuffled := [*names])  # type: ignore[attr-defined]
        assert [set(inputs.share(shuffled, index, count)) for index in range(1, count + 1)] == [set(share) for share in shares]
    assert sorted(name for share in shares for name in share) == sorted(names)
    assert all(share == [name for name in names if name in set(share)] for share in shares), "in their order"
    work = [sum(size_of[name] for name in share) for share in shares]
    assert max(work) <= sum(sizes) / count + max(sizes), "no list schedule is worse"


def test_what_cannot_be_read_or_is_listed_twice_has_a_share_too(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(bytes(1000))
    sources = [str(tmp_path / "a.wav"), None, "absent.wav", Failure("closed", "no"), str(tmp_path / "a.wav"), "nul\0.wav"]
    shares = [inputs.share(sources, index, 3) for index in (1, 2, 3)]
    assert Counter(map(str, (each for share in shares for each in share))) == Counter(map(str, filter(None, sources)))
    with pytest.raises(EranntagError, match="no input"):
        inputs.share([None], 1, 2)


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "1/0", "a/b", "-1/3", "1/3/4", ""])
def test_a_shard_is_the_ith_of_n(shard: str) -> None:
    result = CliRunner().invoke(cli, ["predict", "a.wav", "--shard", shard])
    assert result.exit_code == 2 and "is not I/N, such as 3/8" in result.stderr


def test_a_folder_is_listed_as_it_is_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        (tmp_path / f"{number:02d}").mkdir()
        (tmp_path / f"{number:02d}" / "a.wav").touch()
    listed: list[object] = []
    scandir = os.scandir

    def counted(path: object) -> object:
        listed.append(path)
        return scandir(path)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", counted)
    found = inputs.expand([str(tmp_path)], frozenset({"wav"}))
    assert next(found) == str(tmp_path / "00" / "a.wav") and len(listed) <= 3
    assert len(list(found)) == 49


def test_parquet_goes_on_behind_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    place, settings_, names = tmp_path / "tags", {"--top": 5}, NAMES
    monkeypatch.setattr(parts, "MAX_ROWS", 4)

    def run(stop: int | None = None, begun: dict[str, object] = settings_, **opening: bool) -> None:
        with parts.ParquetFolder.open(place, **opening) as written:
            written.begin(begun)
            with tables.document(written, lambda each: each.to_dict(5)) as show:
                for at, name in enumerate(written.remaining(names)):
                    if at == stop:
                        written._rows.clear()  # as after a kill: what was in memory is gone
                        raise ZeroDivisionError
                    show(prediction(name))

    with pytest.raises(ZeroDivisionError):
        run(stop=10)
    assert [len(list(parts.read_rows(part))) for part in sorted(place.glob("*.parquet"))] == [4, 4]
    (place / "part-00002.parquet").write_bytes(b"whose line was not written any more")
    with pytest.raises(EranntagError, match=r"tags holds 8 results of an earlier run: --resume .* --overwrite"):
        run()
    with pytest.raises(EranntagError, match=r"begun with --top 5, now --top 3; use another --output, or --overwrite"):
        run(begun={"--top": 3}, resume=True)
    run(resume=True)
    rows = [row for part in sorted(place.glob("*.parquet")) for row in parts.read_rows(part)]
    assert [os.fsdecode(row["source_bytes"]) for row in rows] == names
    assert [row["tags"] for row in rows] == [prediction(name).to_dict(5)["tags"] for name in names]
    assert all(row["source"].isprintable() or "\n" in row["source"] for row in rows) and rows[0]["schema"] == formats.SCHEMA
    run(resume=True)  # nothing is left
    monkeypatch.setattr(parts.ParquetFolder, "begin", lambda *_: 1 / 0)  # as where the checkpoint is not found
    with pytest.raises(ZeroDivisionError):
        run(overwrite=True)
    monkeypatch.undo()
    assert sum(1 for part in place.glob("*.parquet") for _ in parts.read_rows(part)) == len(names), "nothing is lost by that"
    assert sum(1 for part in place.glob("*.parquet") for _ in parts.read_rows(part)) == len(names)
    names = ["other.wav"]
    run(overwrite=True)
    assert [path.name for path in place.glob("*.parquet")] == ["part-00000.parquet"]
    assert not list(place.glob(".*.part"))


def test_a_part_is_bounded_by_what_its_rows_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    monkeypatch.setattr(parts, "MAX_SIZE", 6)
    write(tmp_path / "tags", "parquet", NAMES[:7], top=3)
    assert [len(list(parts.read_rows(part))) for part in sorted((tmp_path / "tags").glob("*.parquet"))] == [2, 2, 2, 1]


@pytest.mark.parametrize("columns", [{"x": [1]}, {"source_bytes": [1]}])
def test_a_part_of_other_columns_is_one_line(columns: dict[str, list[int]], tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path / "tags").mkdir()
    parquet.write_table(pyarrow.table(columns), tmp_path / "tags" / "part.parquet")
    result = merge(tmp_path / "tags", "-o", tmp_path / "all")
    assert result.exit_code == 1 and "part.parquet: not a part of --format parquet (" in result.stderr


def test_parquet_leaves_other_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "part-00000.parquet").write_bytes(b"of somebody else")
    for resume in (False, True):
        with (
            pytest.raises(EranntagError, match=r"part-00000.parquet there is of another run"),
            parts.ParquetFolder.open(tmp_path, resume),
        ):
            pass
    assert os.listdir(tmp_path) == ["part-00000.parquet"]
    for arguments, words in (
        (["--format", "parquet"], "name it with --output"),
        (["--format", "parquet", "-o", str(tmp_path / "part-00000.parquet")], "takes a folder"),
    ):
        result = CliRunner().invoke(cli, ["predict", "a.wav", *arguments])
        assert result.exit_code == 2 and words in result.stderr
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = CliRunner().invoke(cli, ["predict", "a.wav", "--format", "parquet", "-o", str(tmp_path / "new")])
    assert result.exit_code == 2 and "pip install 'eranntag[parquet]'" in result.stderr


def test_a_list_may_be_a_pipe_with_a_name(tmp_path: Path) -> None:
    def give_up(*_: object) -> None:
        raise TimeoutError

    os.mkfifo(tmp_path / "list")
    threading.Thread(target=(tmp_path / "list").write_text, args=("a.wav\n",), daemon=True).start()
    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(20)
    try:
        assert InputOptions((), str(tmp_path / "list"), None).names() == ["a.wav"]
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_what_is_no_list_and_no_document_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "MAX_NAME_BYTES", 100)
    assert list(inputs.listed(io.BytesIO(b"x" * 100))) == ["x" * 100]
    with pytest.raises(EranntagError, match=r"a name of more than 100 bytes; write one name a line"):
        list(inputs.listed(io.BytesIO(b"a\n" + b"x" * 101)))
    one = write(tmp_path / "1", "jsonl", ["a.wav"])
    monkeypatch.setattr(merging, "MAX_LINE", len(one.read_text()))
    assert "has a line of" in merge(one).stderr and merge(one).exit_code == 1
    monkeypatch.setattr(merging, "MAX_LINE", len(one.read_text()) + 1)
    assert merge(one).exit_code == 0
