"""The documents say what is true: tables are regenerated, trees and versions compared."""

import re
import shlex
import tomllib
from pathlib import Path

import click
import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner

import eranntag
from eranntag import models, registry
from eranntag.cli import cli
from eranntag.training.augment.options import NAMES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("file", "options"), [("README.md", ""), ("docs/checkpoints.md", " --papers")])
def test_the_tables_of_checkpoints_are_generated(file: str, options: str) -> None:
    command = f"checkpoints list{options} --markdown"
    generated = CliRunner().invoke(cli, command.split(), catch_exceptions=False).stdout
    shown = re.search(rf"<!-- eranntag {command} -->\n(.*?)<!-- end -->", (ROOT / file).read_text(encoding="utf-8"), re.DOTALL)
    assert shown and shown[1] == generated


def test_the_tree_of_the_architecture_names_every_room() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    tree = re.search(r"```text\neranntag/\n(.*?)```", text, re.DOTALL)
    assert tree
    named = set(re.findall(r"[├└]── (\S+?)/?\s", tree[1]))
    rooms = {path.parent.name for path in (ROOT / "eranntag").glob("*/*.py")}  # a folder with old bytecode alone is none
    assert named == rooms | {path.name for path in (ROOT / "eranntag").iterdir() if path.is_file()}


def test_readme_has_exactly_the_two_commands_that_ci_runs() -> None:
    assert len(re.findall(r"^(?:python3 -m venv|\.venv/bin/pip) ", README, re.MULTILINE)) == 2


def test_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"]["path"] == "eranntag/__init__.py"
    for file, pattern in (("CHANGELOG.md", r"^## \[(.+?)\]"), ("CITATION.cff", r"^version: (.+)$")):
        newest = re.search(pattern, (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
        assert newest and newest[1] == eranntag.__version__, file
    assert (ROOT / "docs" / f"release-{eranntag.__version__}.md").is_file()


def test_the_sample_clip_is_what_its_script_makes() -> None:
    script: dict[str, object] = {"__name__": "sample", "__file__": str(ROOT / "docs" / "make_sample.py")}
    exec((ROOT / "docs" / "make_sample.py").read_text(encoding="utf-8"), script)
    waveform, rate = soundfile.read(ROOT / "docs" / "sample.wav")
    assert rate == script["RATE_HZ"]
    np.testing.assert_allclose(waveform, script["alarm"](), atol=1e-4)  # type: ignore[operator]


def test_every_local_link_leads_somewhere() -> None:
    for document in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_every_promise_names_tests_that_are_there() -> None:
    promised = re.findall(r"^## (\d+\. .*)$", (ROOT / "docs" / "promises.md").read_text(encoding="utf-8"), re.MULTILINE)
    promises = re.split(r"^### ", (ROOT / "tests" / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert [promise.partition("\n")[0] for promise in promises] == promised
    for promise in promises:
        named = re.findall(r"`(test_\w+)::(test_\w+)`", promise)
        assert named, promise
        for file, test in named:
            assert f"def {test}(" in (ROOT / "tests" / f"{file}.py").read_text(encoding="utf-8"), f"{file}::{test}"


def test_readme_shows_what_the_first_command_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    printed = CliRunner().invoke(cli, ["predict", "docs/sample.wav", "--top", "5", "--device", "cpu"]).stdout
    shown = re.search(r"```text\n(docs/sample\.wav.*?)```", README, re.DOTALL)
    assert shown
    ours, theirs = ([line.split() for line in text.splitlines()] for text in (printed, shown[1]))
    assert ours[:2] == theirs[:2]  # the name, and the best tag with its score
    assert {words[-1] for words in ours} == {words[-1] for words in theirs}


def test_the_table_of_augmentations_is_the_codes() -> None:
    shown = re.search(
        r"<!-- augmentations -->\n(.*)<!-- end -->", (ROOT / "docs" / "training.md").read_text("utf-8"), re.DOTALL
    )
    rows = [f"| `{name}` | {known.default} | {known.meaning} |" for name, known in NAMES.items()]
    assert shown and shown[1].splitlines()[2:] == rows


def test_the_script_of_docs_python_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    (script,) = re.findall(r"```python\n(.*?)```", PYTHON, re.DOTALL)
    exec(script, {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("  ")[1] == "clock_alarm"
    assert "['clock_alarm', 'clock_alarm', 'clock_alarm'," in lines[4]
    assert any(re.fullmatch(r"\d\.\d\d - \d\.\d\d s  clock_alarm", line) for line in lines)
    assert "(1, 256) (3, 256) [0. 1. 2.]" in lines
    assert lines[-1].endswith("divide int16 by 32768") and lines[-2].startswith("eager cpu float32 ")


def test_the_table_of_embeddings_is_the_families() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| (\d+) \| .* \|$", PYTHON, re.MULTILINE)
    families = set()
    for name, size in rows:
        family, config = models.resolve(name)
        families.add(family)
        with torch.device("meta"):
            assert registry.get("eranntag.models", family).Model(config, 128, 5).embedding_size == int(size), name
    assert families == set(registry.names("eranntag.models"))


def test_the_api_page_has_every_public_name() -> None:
    shown = re.findall(r"^::: eranntag\.(\w+)$", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(shown) == sorted(set(eranntag.__all__) - {"__version__"})


def commands() -> list[str]:
    """Every `eranntag ...` in the documents' code blocks and tables, without what a shell would do with it."""
    texts = [
        path.read_text(encoding="utf-8").replace("\\\n", " ") for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
    ]
    blocks = [block for text in texts for block in re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)]
    found = [line for block in blocks for line in re.findall(r"^(?:.*-m )?eranntag (\w.*)$", block, re.MULTILINE)]
    found += [line for text in texts for line in re.findall(r"\| `eranntag (\w[^`]*)` \|", text)]
    return sorted({re.split(r"\s[|>#]", line)[0].replace("...", "").strip() for line in found})


def test_the_documents_commands_exist_with_their_options() -> None:
    wrong = []
    for line in commands():
        name, *words = shlex.split(line)
        command = cli.get_command(click.Context(cli), name)
        if isinstance(command, click.Group) and words and words[0] in command.commands:
            command, words = command.commands[words[0]], words[1:]
        try:
            assert command is not None, "no such command"
            with click.Context(command) as context:
                command.parse_args(context, words)
        except (AssertionError, click.ClickException) as error:
            wrong.append((line, str(error)))
    assert len(commands()) > 50 and wrong == []
