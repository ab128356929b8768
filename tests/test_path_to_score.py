"""The section "Path to score" of docs/architecture.md is what a run of `eranntag predict` calls."""

import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from click.testing import CliRunner

import eranntag
from eranntag.checkpoints import weights
from eranntag.cli import cli
from eranntag.engines.eager import Eager

PACKAGE = Path(eranntag.__file__).parent
SECTION = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8").partition("## Path to score")[2]
CALLS = re.findall(r"`(\S+\.py)` `(\w+)`", SECTION.partition("\n## ")[0])
FIRST_SAMPLE = ("audio/_soundfile.py", "decode_blocks")
LOADING = ("cli/_options/tagger.py", "checkpoints/loading.py", "engines/selection.py")


def traced(work: Callable[[], Any]) -> list[tuple[str, str]]:
    """The functions of the package that `work` calls, in all threads, each once, in the order of their first calls."""
    calls: dict[tuple[str, str], None] = {}

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(str(PACKAGE)):
            path = Path(frame.f_code.co_filename).relative_to(PACKAGE).as_posix()
            calls.setdefault((path, frame.f_code.co_name))

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return list(calls)


def test_predict_calls_the_functions_of_the_document_in_order(
    tmp_path: Path, tiny_tagger: Eager, wav: Callable[..., Path]
) -> None:
    weights.save(tiny_tagger.network, checkpoint := tmp_path / "tiny.safetensors")
    clip = wav("clip.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 4410).astype(np.float32))
    arguments = ["predict", str(clip), "-c", str(checkpoint), "--engine", "eager", "--device", "cpu"]
    results = []
    calls = traced(lambda: results.append(CliRunner().invoke(cli, arguments)))
    assert results[0].exit_code == 0, results[0].output
    assert len(CALLS) > 15
    assert [call for call in calls if call in CALLS] == CALLS


def test_few_files_are_between_the_command_and_the_first_sample() -> None:
    before = CALLS[: CALLS.index(FIRST_SAMPLE) + 1]
    assert len({path for path, _ in before if path not in LOADING}) <= 8
