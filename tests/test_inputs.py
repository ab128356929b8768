"""Files, folders, patterns and lists become the files to tag."""

import io
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from eranntag.inference.sources import expand, listed
from eranntag.recipes import _layout
from eranntag.types import Failure

SOUNDS = frozenset({"wav", "flac"})
FILES = (
    "b.wav a.FLAC .hidden.wav notes.txt sub/d.wav sub/c.wav sub/deeper/e.flac zoo/h.wav alto/f.wav moo/g.wav empty/cover.jpg"
).split()


@pytest.fixture(autouse=True)
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: FILES, all empty."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(*paths: str) -> list[str | Failure]:
    return list(expand(paths, SOUNDS))


def test_explicit_names_come_through_in_their_order_whatever_they_are() -> None:
    names = ["b.wav", "nowhere.wav", "-", "notes.txt", ".hidden.wav", "a.FLAC", "b.wav"]
    assert found(*names) == names


def test_a_folder_is_all_sound_files_below_it_sorted() -> None:
    expected = ["a.FLAC", "b.wav", "alto/f.wav", "moo/g.wav", "sub/c.wav", "sub/d.wav", "sub/deeper/e.flac", "zoo/h.wav"]
    assert found(".") == [f"./{name}" for name in expected]


def test_links_to_folders_are_followed_once_as_by_recipes(tree: Path) -> None:
    (tree / "linked").symlink_to(tree / "alto")
    (tree / "sub" / "up").symlink_to(tree)
    names = ["a.FLAC", "b.wav", "alto/f.wav", "moo/g.wav", "sub/c.wav", "sub/d.wav", "sub/deeper/e.flac", "zoo/h.wav"]
    assert found(".") == [f"./{name}" for name in names] == list(_layout.sounds("."))


def test_a_file_that_is_named_like_an_ending_is_no_sound(tree: Path) -> None:
    (tree / "empty" / "wav").touch()
    assert isinstance(found("empty")[0], Failure)


def test_a_folder_named_minus_is_still_standard_input(tree: Path) -> None:
    (tree / "-").mkdir()
    assert found("-") == ["-"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("sub/*.wav", ["sub/c.wav", "sub/d.wav"]),
        ("[ab].*", ["a.FLAC", "b.wav"]),
        ("**/*.flac", ["sub/deeper/e.flac"]),
        ("s?b", ["sub/c.wav", "sub/d.wav", "sub/deeper/e.flac"]),
        ("*.txt", ["notes.txt"]),
    ],
)
def test_a_pattern_is_what_it_matches_sorted(pattern: str, expected: list[str]) -> None:
    assert found(pattern) == expected


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tree: Path) -> None:
    for name in ("take[1].wav", "take1.wav"):
        (tree / name).touch()
    assert found("take[1].wav") == ["take[1].wav"]


def test_an_empty_folder_and_a_pattern_without_matches_fail_and_the_rest_goes_on() -> None:
    failed, first, unmatched, *rest = found("empty", "b.wav", "*.mp3", "sub/deeper")
    assert failed == Failure("empty", "no sound files in this folder")
    assert unmatched == Failure("*.mp3", "no file matches this pattern")
    assert [first, *rest] == ["b.wav", "sub/deeper/e.flac"]


def test_paths_are_taken_one_at_a_time() -> None:
    paths = iter(["sub", "b.wav", "a.FLAC"])
    assert next(expand(paths, SOUNDS)) == "sub/c.wav"
    assert list(paths) == ["b.wav", "a.FLAC"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a.wav\nb.wav\n", [b"a.wav", b"b.wav"]),
        (b"a.wav\nb.wav", [b"a.wav", b"b.wav"]),
        (b"a.wav\r\nb.wav\r\n", [b"a.wav", b"b.wav"]),
        (b"\n a b.wav \n\n\r\nc.wav", [b" a b.wav ", b"c.wav"]),
        (b"a.wav\0two\nlines.wav\0c.wav\r\0", [b"a.wav", b"two\nlines.wav", b"c.wav\r"]),
        (b"caf\xe9.wav\n\xff.wav\n", [b"caf\xe9.wav", b"\xff.wav"]),
        (b"", []),
    ],
    ids=["newlines", "no last newline", "CRLF", "blank lines and spaces", "NUL", "not UTF-8", "empty"],
)
def test_a_list_of_names_keeps_every_byte_of_a_name(content: bytes, expected: list[bytes]) -> None:
    assert [os.fsencode(name) for name in listed(io.BytesIO(content))] == expected


def test_a_folder_that_cannot_be_read_is_a_failure_of_its_own(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def guarded(path: str) -> Any:
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", guarded)
    results = list(expand(["."], SOUNDS))
    assert Failure("./sub", "this folder cannot be read (Permission denied)") in results
    assert "./zoo/h.wav" in results


@pytest.mark.parametrize("some", [1, 2, 1 << 16])
def test_a_byte_order_mark_is_of_no_name(some: int) -> None:
    file = io.BytesIO(b"\xef\xbb\xbfa.wav\r\nb.wav\r\n")
    slowly = SimpleNamespace(read1=lambda _: file.read(some), read=file.read)
    assert list(listed(slowly)) == ["a.wav", "b.wav"]
