"""Tables, plans, histories and other texts that are anything but that: one line that names the file, and no wait."""

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import miniature
import numpy as np
import pytest
import runs
from hypothesis import given, settings, strategies as st

from eranntag import recipes
from eranntag.benchmark import report_page
from eranntag.cli import plot
from eranntag.datasets import shards
from eranntag.datasets.mixing import plan
from eranntag.datasets.mixing.mix import Protocol
from eranntag.errors import DataError, EranntagError
from eranntag.files import bounded
from eranntag.recipes import _audioset, csv, mixtures as mixtures_recipe
from eranntag.training.label_enhancement import additions as table, ontology, teacher
from eranntag.types import Dataset, Example

KEY = {"teacher": "", "classes": "", "clips": ""}


def nothing(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def not_utf8(path: Path) -> None:
    path.write_bytes("filename,fold,label\nä.wav,1,x\n".encode("latin-1") * 9)


def zeros(path: Path) -> None:
    path.write_bytes(bytes(5000))


def deep(path: Path) -> None:
    path.write_text("[" * 200_000)


def wide(path: Path) -> None:
    """A cell beyond what the csv module takes, in its first line."""
    path.write_text("filename," + "x" * 200_000 + ",label\n")


def wider(path: Path) -> None:
    """The same behind a good first line."""
    path.write_text(path.read_text().partition("\n")[0] + '\n"' + "x" * 200_000 + '",1\n')


def other_json(path: Path) -> None:
    path.write_text('{"format": 1, "asked": 3, "shards": 3, "labels": 3, "recipe": "esc50", "seconds": 3, "iteration": 1e999}')


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def huge(path: Path) -> None:
    path.write_bytes(b"")
    os.truncate(path, 10 << 30)


DAMAGES = (nothing, empty, not_utf8, zeros, deep, wide, wider, other_json, pipe, device, folder, huge)
NO_FILE = (nothing, pipe, device, folder)  # some readers look elsewhere then, and say so


def csv_table(root: Path) -> tuple[Path, Callable[[], Any]]:
    miniature.tones(root / "a.wav")
    (root / "labels.csv").write_text("filename,label\na.wav,x\n")
    return root / "labels.csv", lambda: csv.read(str(root / "labels.csv"))


def sources(root: Path) -> tuple[Path, Callable[[], Any]]:
    (root / "b.csv").write_text("filename\na.wav\n")
    return root / "b.csv", lambda: recipes.mixture_backgrounds(str(root / "b.csv"))


def esc50(root: Path) -> tuple[Path, Callable[[], Any]]:
    runs.esc50(root / "d", folds=1)
    return root / "d" / "meta" / "esc50.csv", lambda: recipes.load("esc50", str(root / "d"))


def urbansound8k(root: Path) -> tuple[Path, Callable[[], Any]]:
    miniature.urbansound8k(root / "d", per_fold=1)
    return root / "d" / "metadata" / "UrbanSound8K.csv", lambda: recipes.load("urbansound8k", str(root / "d"))


def audioset(root: Path) -> tuple[Path, Callable[[], Any]]:
    miniature.audioset(root / "d", clips=4, evaluation=2, missing=0)
    return root / "d" / "eval_segments.csv", lambda: list(_audioset.segments(root / "d" / "eval_segments.csv"))


def classes(root: Path) -> tuple[Path, Callable[[], Any]]:
    (root / "class_labels_indices.csv").write_text("index,mid,display_name\n")
    return root / "class_labels_indices.csv", lambda: _audioset.check_classes(root / "class_labels_indices.csv")


def mixtures(name: str) -> Callable[[Path], tuple[Path, Callable[[], Any]]]:
    def made(root: Path) -> tuple[Path, Callable[[], Any]]:
        miniature.mixtures(root / "d", folds=2)
        return root / "d" / name, lambda: recipes.load("mixtures", str(root / "d"))

    return made


def packed(name: str) -> Callable[[Path], tuple[Path, Callable[[], Any]]]:
    def made(root: Path) -> tuple[Path, Callable[[], Any]]:
        runs.esc50(root / "d", folds=1)
        assert runs.command("data", "pack", "esc50", root / "pack", "--data", root / "d").exit_code == 0
        return root / "pack" / name, lambda: (shards._pack(root / "pack"), recipes.load("esc50", str(root / "pack")))

    return made


def nodes(root: Path) -> tuple[Path, Callable[[], Any]]:
    (root / "ontology.json").write_text("[]")
    return root / "ontology.json", lambda: ontology.read(root / "ontology.json")


def additions(root: Path) -> tuple[Path, Callable[[], Any]]:
    (root / "added.csv").write_text("clip,added\n")
    recipe = dataclasses.replace(recipes.csv.RECIPE, activation="sigmoid", labels=("x", "y"))
    data = Dataset(recipe, (Example("a.wav", (0,)),), ())
    return root / "added.csv", lambda: table.read_additions(root / "added.csv", data)


def scores(root: Path) -> tuple[Path, Callable[[], Any]]:
    teacher.gather(iter([np.zeros(2, np.float32)]), (1, 2), root / "x.npy", KEY)
    return root / "x.npy", lambda: teacher.kept(root / "x.npy", KEY)


def history(root: Path) -> tuple[Path, Callable[[], Any]]:
    (root / "history.jsonl").write_text("{}\n")
    return root / "history.jsonl", lambda: plot.read_history(root / "history.jsonl")


def mixing_plan(root: Path) -> tuple[Path, Callable[[], Any]]:
    data = Dataset(recipes.csv.RECIPE, tuple(Example(f"{n}.wav", (0,)) for n in range(9)), ())
    asked = plan.Sources(data, None)
    (root / "mixing.json").write_text("{}")
    return root / "mixing.json", lambda: plan.decide(asked, Protocol(folds=2, clips_per_fold=1), root, 1, lambda: None)


def document(root: Path) -> tuple[Path, Callable[[], Any]]:
    (root / "x.md").write_text(f"{report_page.START}\n")
    return root / "x.md", lambda: report_page.check(root / "x.md")


READERS: dict[str, Callable[[Path], tuple[Path, Callable[[], Any]]]] = {
    "csv": csv_table,
    "backgrounds": sources,
    "esc50": esc50,
    "urbansound8k": urbansound8k,
    "audioset": audioset,
    "classes": classes,
    "mixtures.csv": mixtures("mixtures.csv"),
    "events.csv": mixtures("events.csv"),
    "mix.json": mixtures("mix.json"),
    "pack.json": packed("pack.json"),
    "manifest.csv": packed("manifest.csv"),
    "ontology": nodes,
    "additions": additions,
    "scores": scores,
    "history": history,
    "mixing.json": mixing_plan,
    "page": document,
}
HARMLESS = {  # nothing is wrong with what is not there, nor with a page that has no part of the bench's
    ("page", nothing), ("page", empty), ("page", zeros), ("page", deep), ("page", wide), ("page", wider), ("page", other_json),
    ("classes", nothing), ("classes", pipe), ("classes", device), ("classes", folder),
    ("mixing.json", nothing), ("audioset", empty),
}  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_such_file_is_one_line(reader: str, tmp_path: Path) -> None:
    for number, damage in enumerate(DAMAGES):
        root = tmp_path / str(number)
        root.mkdir()
        path, read = READERS[reader](root)
        try:
            damage(path)
        except UnicodeDecodeError:  # scores have no first line
            continue
        if (reader, damage) in HARMLESS:
            continue
        with pytest.raises(EranntagError) as caught:
            read()
        line = str(caught.value)
        assert "\n" not in line and len(line) < 1000, (damage.__name__, line[:2000])
        assert path.name in line or damage in NO_FILE, (damage.__name__, line)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "x.csv"


def test_a_file_is_read_up_to_a_limit(file: Path) -> None:
    file.write_bytes(b"12345")
    assert bounded.read_bytes(file, 5) == b"12345"
    with pytest.raises(DataError, match=f"^{file}: cannot be read \\(5 bytes, and at most 4 are read\\); name a file that can"):
        bounded.read_bytes(file, 4)


def test_a_table_has_a_byte_order_mark_or_not(file: Path) -> None:
    for mark in ("", "\ufeff"):
        file.write_text(f"{mark}filename,label\r\nx\u2028y,1\r\n", newline="")
        assert bounded.read_text(file) == "filename,label\r\nx\u2028y,1\r\n"


CELLS = st.text(st.sampled_from('ab,;\t"\n\r\0é \u2028'), max_size=4)
ROWS = st.lists(st.lists(CELLS | st.sampled_from(("filename", "label", "fold", "split", "train", "1", "a.wav")), max_size=4))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("asked", "seconds", "left_out", "x")), inner),
    max_leaves=9,
)
PACK = st.fixed_dictionaries(
    {},
    optional={n: JSON for n in ("labels", "folds", "activation", "metric", "missing", "failed", "shards", "manifest_sha256")},
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(rows=ROWS, end=st.sampled_from(("\n", "\r\n", "\r")))
@pytest.mark.fuzz
def test_any_table_is_read_or_refused(rows: list[list[str]], end: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("table")
    for name in ("labels.csv", "mixtures.csv", "events.csv", "eval_segments.csv"):
        (root / name).write_text(end.join(",".join(row) for row in rows), encoding="utf-8", newline="")
    (root / "a.wav").touch()
    (root / "mix.json").write_text(json.dumps({"labels": ["a", "b"], "snr_db": 1, "events": {"title": "", "licence": ""}}))
    reads = (csv.read, mixtures_recipe.read, lambda path: list(_audioset.segments(Path(path) / "eval_segments.csv")))
    for read in (*reads, lambda path: recipes.mixture_backgrounds(str(Path(path) / "labels.csv"))):
        try:
            read(str(root))
        except DataError as error:
            assert str(root) in str(error) or ".wav" in str(error)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    pack=PACK,
    manifest=st.binary(max_size=50),
    row=st.lists(st.sampled_from(("shard-000000.tar", "0", "1", "-1", "2" * 30)), max_size=9),
)
@pytest.mark.fuzz
def test_any_pack_is_read_or_refused(
    pack: dict[str, Any], manifest: bytes, row: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("pack")
    (root / "manifest.csv").write_bytes(
        ",".join(shards.COLUMNS).encode() + b"\r\n" + ",".join(row).encode() + b"\r\n" + manifest
    )
    good = {
        "shards": {"shard-000000.tar": {"bytes": 10, "sha256": ""}},
        "labels": ["a", "b"],
        "folds": [],
        "metric": "accuracy",
    }
    good |= {"missing": [], "failed": [], "activation": "softmax", "format": 1, "recipe": "esc50"}
    good["manifest_sha256"] = shards.sha256(root / "manifest.csv")
    for content in (good, {**good, **pack}):
        (root / "pack.json").write_text(json.dumps(content))
        try:
            recipes.load("esc50", str(root))
        except DataError as error:
            assert str(root) in str(error)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(found=JSON)
@pytest.mark.fuzz
def test_any_plan_of_mixtures_is_gone_on_with_or_refused(found: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path, read = mixing_plan(tmp_path_factory.mktemp("mixing"))
    path.write_text(json.dumps(found))
    with pytest.raises(DataError):
        read()
