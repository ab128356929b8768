"""The report of an installation that works, and of some that do not."""

import json
from typing import Any

import pytest
import soundfile
import torch
from click.testing import CliRunner, Result

import eranntag
from eranntag.checkpoints import loading
from eranntag.cli import _diagnostics, cli
from eranntag.errors import IntegrityError


def run(*options: str) -> Result:
    return CliRunner().invoke(cli, ["doctor", *options])


def findings(result: Result) -> dict[str, dict[str, Any]]:
    return {finding["name"]: finding for finding in json.loads(result.stdout)}


def test_an_installation_that_works_is_reported_and_exits_0(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERANNTAG_CACHE", str(tmp_path))
    result = run("--json")
    found = findings(result)
    assert result.exit_code == 0 and found["eranntag"]["value"].startswith(eranntag.__version__)
    assert torch.__version__ in found["torch"]["value"] and str(tmp_path) in found["cache"]["value"]
    assert found["formats"]["value"].startswith("WAV, FLAC, VORBIS, OPUS, MP3")
    assert " ms for 5 s on " in found["checkpoint"]["value"]
    assert not [finding for finding in found.values() if finding["fatal"]]


def test_people_get_a_line_for_each_and_remedies_on_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.15.0")
    result = run()
    assert result.exit_code == 0  # it may work all the same
    assert any(line.startswith("torch:") and "2.15.0" in line for line in result.stdout.splitlines())
    assert result.stderr == "eranntag: torch: tested are 2.11 to 2.14: pip install 'torch>=2.11,<2.15'\n"


def test_a_checkpoint_that_does_not_load_is_exit_code_1_and_hides_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any) -> None:
        raise IntegrityError("weights.safetensors is damaged")

    monkeypatch.setattr(loading, "load", load)
    result = run("--json")
    found = findings(result)
    assert result.exit_code == 1 and "is damaged" in found["checkpoint"]["value"] and "torch" in found


def test_a_format_that_libsndfile_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    write = soundfile.write

    def without_opus(file: Any, data: Any, rate: int, subtype: str, format: str) -> None:
        if subtype == "OPUS":
            raise ValueError("Unknown format")
        write(file, data, rate, subtype, format=format)

    monkeypatch.setattr(_diagnostics.soundfile, "write", without_opus)
    (finding,) = _diagnostics._formats()
    assert "OPUS" not in finding.value and finding.remedy.startswith("not OPUS: ") and not finding.fatal


def test_missing_extras_say_what_they_are_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_diagnostics, "find_spec", lambda name: None)
    values = {finding.name: finding.value for finding in _diagnostics.examine()}
    assert values["av"] == "not installed; it is for m4a, aac, wma, webm and video: pip install 'eranntag[av]'"
