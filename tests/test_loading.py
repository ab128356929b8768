"""The way from a name to a Tagger: the calls that docs/architecture.md lists are those of a real load."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import eranntag
from eranntag.checkpoints import weights
from eranntag.checkpoints.digest import file_sha256
from eranntag.errors import IntegrityError
from eranntag.inference.tagger import Tagger

DOCUMENT = Path(eranntag.__file__).parents[1] / "docs" / "architecture.md"


def documented() -> list[tuple[int, str]]:
    """Indentation and name of each call in the section "Name to Tagger"."""
    section = DOCUMENT.read_text(encoding="utf-8").partition("## Name to Tagger")[2]
    block = section.partition("```text\n")[2].partition("```")[0]
    calls = [re.match(r"( *)([\w.]+)", line) for line in block.splitlines()]
    return [(len(call[1]), call[2]) for call in calls if call]


def calls_of(function: Callable[[], Any]) -> list[tuple[str, ...]]:
    """The functions of eranntag that `function` calls, in order, each with those that it is called in."""
    calls: list[tuple[str, ...]] = []
    stack: list[str] = []

    def profile(frame: FrameType, event: str, _: Any) -> None:
        name = f"{frame.f_globals.get('__name__')}.{frame.f_code.co_qualname}"
        if event == "call":
            stack.append(name)
            if name.startswith("eranntag."):
                calls.append(tuple(each.removeprefix("eranntag.") for each in stack))
        elif event == "return" and stack:
            stack.pop()

    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(None)
    return calls


@pytest.fixture
def registry(tiny_tagger: Tagger, tmp_path: Path) -> str:
    """A registry of one's own with the checkpoint "mine"."""
    path = tmp_path / "tiny.safetensors"
    weights.save(tiny_tagger.network, path)  # type: ignore[attr-defined]
    (tmp_path / "own.toml").write_text(
        '[checkpoints.mine]\ntitle = "Mine"\narchitecture = "erann-1-3"\nclasses = 3\n'
        f'weights = "tiny.safetensors"\nsha256 = "{file_sha256(path)}"\n'
    )
    return str(tmp_path / "own.toml")


def test_a_name_becomes_a_tagger_by_the_documented_calls(registry: str) -> None:
    calls = calls_of(lambda: eranntag.load("mine", "cpu", registry=registry, engine="eager"))
    position = 0
    callers: list[tuple[int, str]] = []
    assert len(documented()) > 10
    for indent, name in documented():
        callers = [(outer, caller) for outer, caller in callers if outer < indent]
        found = [at for at in range(position, len(calls)) if calls[at][-1] == name]
        assert found, f"{name} is not called, or not after {callers}"
        position = found[0]
        assert not callers or callers[-1][1] in calls[position], f"{name} is called in {calls[position]}"
        callers.append((indent, name))


def test_a_file_is_hashed_once_and_its_header_parsed_once(registry: str) -> None:
    calls = [call[-1] for call in calls_of(lambda: eranntag.load("mine", "cpu", registry=registry, engine="eager"))]
    for name in ("checkpoints.digest.file_sha256", "checkpoints.header.read_header", "checkpoints.catalog.load_catalog"):
        assert calls.count(name) == 1, name


def test_a_file_that_is_replaced_by_the_same_one_is_loaded(registry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by another process that downloads it at the same time; another file is refused."""
    path, load_network = Path(registry).with_name("tiny.safetensors"), weights.load_network

    def replaced(*arguments: Any) -> Any:
        path.with_name("copy").write_bytes(content)
        path.with_name("copy").replace(path)
        return load_network(*arguments)

    content = path.read_bytes()
    monkeypatch.setattr(weights, "load_network", replaced)
    assert eranntag.load("mine", "cpu", registry=registry, engine="eager").checkpoint.name == "mine"
    content = content[:-1] + bytes([content[-1] ^ 1])
    with pytest.raises(IntegrityError, match="changed while it was read; try again"):
        eranntag.load("mine", "cpu", registry=registry, engine="eager")
