"""Names and labels are data: whatever they hold, no terminal obeys them, no spreadsheet computes them, and none is lost."""

import csv
import dataclasses
import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings, strategies as st

from eranntag.checkpoints import weights
from eranntag.cli import cli
from eranntag.cli.display import terminal
from eranntag.inference.tagger import Tagger
from eranntag.results import formats
from eranntag.results.formats import guarded, printable, unguarded
from eranntag.types import Checkpoint, Prediction

FORBIDDEN = re.compile(
    "[\0-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
EVIL = "\x1b]0;owned\x07\x9b31m\u202egnp\u2066\u2028\u200b\x7f\r\n\t[red]x[/][link=http://x]y :smile: é"
LABELS = (EVIL, "=1+1", "[/]", "@SUM(A1)", "café", "'-quoted", "\ud800")
FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # the last four: full-width
NAMES = [  # as a file system has them
    *(b"new\nline.wav", b"\x1b]0;title\x07.wav", "\u202egnp.wav".encode(), b"\xff\xfe.wav", b"-rf.wav", b"--top.wav"),
    *(b"[/].wav", b"[red]x.wav", b":smile:.wav", b"=cmd().wav", b"+1.wav", b"@x.wav", b"'=x.wav", b"tab\t.wav", b"\t=1.wav"),
    *(b'quo"te,d.wav', b"semi;colon.wav", b" .wav", b"a\rb.wav", b"a\xc2\x9b31m.wav", b"[!]*?.wav", b"n" * 251 + b".wav"),
    *("日本 🎵.wav".encode(), b"%s{0}$HOME.wav", b"~.wav", b"#.wav", b"caf\xe9.wav", b"\xed\xa0\x80.wav"),
]
settings.register_profile("names", max_examples=100, deadline=None, derandomize=True)
settings.load_profile("names")
texts = st.text(st.characters(exclude_categories=()), max_size=30)


@pytest.fixture
def tiny_checkpoint(tiny_checkpoint: Checkpoint) -> Checkpoint:
    return dataclasses.replace(tiny_checkpoint, labels=LABELS[:-1], title=EVIL, licence=EVIL, source=EVIL, data=EVIL)


@pytest.fixture
def model(tiny_tagger: Tagger, tmp_path: Path) -> str:
    weights.save(tiny_tagger.network, tmp_path / "tiny.safetensors")
    return str(tmp_path / "tiny.safetensors")


@pytest.fixture
def names(wav: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Links to a clip in the working folder, and one at the end of 1 000 bytes of folders."""
    clip = wav("clip.wav", np.random.default_rng(0).normal(0, 0.1, 22050))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    deep = b"/".join([b"d" * 250] * 4) + b"/x.wav"
    for name in (*NAMES, deep):
        os.makedirs(os.path.dirname(name) or b".", exist_ok=True)
        os.link(clip, name)
    return [os.fsdecode(name) for name in (*NAMES, deep)]


def run(*args: str, **options: Any) -> Result:
    return CliRunner().invoke(cli, [*args], **options)


def harmless(text: str) -> bool:
    return FORBIDDEN.search(text) is None


@given(texts)
def test_no_text_reaches_a_terminal_as_a_command(text: str) -> None:
    assert harmless(printable(text)) and "\n" not in printable(text)
    assert harmless(formats.dumps(text)) and json.loads(formats.dumps(text)) == text


@given(texts)
def test_every_way_to_the_terminal_is_harmless(text: str) -> None:
    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    out, err = (Terminal(io.BytesIO(), encoding="utf-8", newline="") for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", out)
        patch.setattr("sys.stderr", err)
        terminal.print_status(text)
        terminal.print_text(text, text)
        for style in formats.FORMATS.values():
            clip = Prediction((text,), np.array([0.5], np.float32), 1.0, text, text)
            terminal.write_output(style(None, 0.0).record(clip))
    shown, said = (stream.buffer.getvalue().decode() for stream in (out, err))
    assert harmless(shown.replace("\t", "")) and harmless(said)
    assert said.count("\n") == 1


@given(texts | st.builds(lambda sign, rest: sign + rest, st.sampled_from((*FORMULA, "'", "''=", "'-", " =", "-")), texts))
def test_no_cell_starts_a_formula_and_every_name_comes_back(text: str) -> None:
    assert unguarded(guarded(text)) == text
    assert text == "-" or not guarded(text).lstrip(" ").startswith(FORMULA)
    clip = Prediction((text,), np.array([0.5], np.float32), 1.0, text, text)
    row = next(csv.reader(io.StringIO(formats.Csv(None, 0.0).record(clip), newline="")))
    assert [unguarded(row[index]) for index in (0, 3, 5)] == [text] * 3
    assert formats.encoded(formats.Csv(None, 0.0).record(clip))


def test_apostrophes_are_only_where_they_are_needed() -> None:
    assert [guarded(name) for name in ("a.wav", "-", "it's.wav", "'a'.wav", "a=b", "1-2.wav")] == [
        *("a.wav", "-", "it's.wav", "'a'.wav", "a=b", "1-2.wav")
    ]
    assert [guarded(name) for name in ("=x", "-x", "'=x", "\tx")] == ["'=x", "'-x", "''=x", "'\tx"]


def test_every_name_is_tagged_under_its_name(model: str, names: list[str]) -> None:
    """As arguments, in lists of lines and of NUL, and in a folder; in every format."""
    options = ("predict", "-c", model, "--engine", "eager", "--top", "1", "--format")
    expected = [os.fsencode(name) for name in names]
    given_ = run(*options, "jsonl", "--", *names)
    assert (given_.exit_code, given_.stderr) == (0, "")
    assert given_.stdout.isascii() and harmless(given_.stdout) and given_.stdout.count("\n") == len(names)
    assert [os.fsencode(json.loads(line)["source"]) for line in given_.stdout.splitlines()] == expected

    in_lines = [name for name in expected if b"\n" not in name]
    for content, listed in ((b"\0".join(expected), expected), (b"\n".join(in_lines[-6:]), in_lines[-6:])):
        result = run(*options, "jsonl", "--files-from", "-", input=content)
        assert (result.exit_code, result.stderr) == (0, "")
        assert [os.fsencode(json.loads(line)["source"]) for line in result.stdout.splitlines()] == listed
    walked = run(*options, "jsonl", ".").stdout.splitlines()
    assert sorted(os.fsencode(json.loads(line)["source"])[2:] for line in walked) == sorted(expected)

    table = run(*options, "csv", "--", *names).stdout_bytes.decode("utf-8", "surrogateescape")
    rows = list(csv.DictReader(io.StringIO(table, newline=""), strict=True))
    assert [os.fsencode(unguarded(row["source"])) for row in rows] == expected
    assert not any(cell.startswith(FORMULA) for row in rows for cell in row.values())
    shown = run(*options, "table", "--", *names[:4])
    assert harmless(shown.output) and shown.output.count("\n") == 2 * 4


def test_no_document_of_events_is_lost_or_obeyed(model: str, names: list[str]) -> None:
    options = ("detect", "-c", model, "--engine", "eager", "--threshold", "0", "--min-seconds", "0")
    for form in ("csv", "raven", "audacity", "vtt"):
        text = run(*options, "--format", form, "--", names[0]).stdout
        assert len(text.splitlines()) >= len(LABELS) - 1
        assert form == "csv" or harmless(text.replace("\t", ""))
        cells = [cell for line in text.splitlines() for cell in line.split("\t")]
        assert form != "raven" or not any(cell.startswith(FORMULA) for cell in cells)
    done = run(*options, "--format", "jsonl", "--output-dir", "../events", "--", *(name for name in names if "\n" not in name))
    assert done.exit_code == 0, done.stderr
    found = [json.loads(path.read_text())["source"] for path in Path("../events").glob("*.jsonl")]
    assert sorted(found) == sorted(name for name in names if "\n" not in name)


def test_every_command_that_prints_is_harmless(model: str, names: list[str], tmp_path: Path) -> None:
    """A checkpoint, a registry, a data set and options that are hostile wherever they can be."""
    toml = json.dumps(EVIL, ensure_ascii=True).replace("\x7f", "\\u007f")
    row = f'[checkpoints.{toml}]\ntitle = {toml}\narchitecture = "erann-2-1"\nclasses = 6\nweights = "x"\n'
    row += f"licence = {toml}\nsource = {toml}\nlabels = {toml}\n"
    registry = tmp_path / os.fsdecode(b"own\x1b[2J\xff.toml")
    registry.write_text(row)
    data = tmp_path / "evil\x1b[31m"
    for label in ("[red]\u202e", "=two"):
        (data / label).mkdir(parents=True)
        os.link(names[0], data / label / "a\x07.wav")
    missing = "no\x1b]0;x\x07\u202e[/]\n.wav"
    outputs = {
        "list": run("checkpoints", "list", "--registry", str(registry)),
        "markdown": run("checkpoints", "list", "--markdown", "--registry", str(registry)),
        "show": run("checkpoints", "show", EVIL, "--registry", str(registry)),
        "header": run("checkpoints", "show", model),
        "labels": run("checkpoints", "labels", model),
        "verify": run("checkpoints", "verify", model),
        "missing": run("predict", "-c", model, missing),
        "unknown name": run("predict", "-c", EVIL, "x.wav"),
        "unknown command": run(EVIL),
        "unknown option": run("predict", "--" + EVIL),
        "group option": run("--" + EVIL),
        "choice": run("predict", "x.wav", "--format", EVIL),
        "number": run("predict", "x.wav", "--top", EVIL),
        "label": run("predict", "-c", model, names[0], "--threshold", EVIL + "!=0.5"),
        "output": run("predict", names[0], "-o", EVIL + "/x"),
        "files-from": run("predict", "--files-from", EVIL),
        "engine": run("predict", "-c", model, names[0], "--engine", EVIL),
        "registry": run("predict", "--registry", EVIL, names[0]),
        "recipe": run("train", EVIL),
        "evaluate": run("evaluate", "folder", "--data", str(data), "-c", model),
        "ensemble": run("ensemble", "row", EVIL, model, EVIL),
        "environment": run("checkpoints", "list", env={"ERANNTAG_REGISTRY": EVIL.replace("\0", "")}),
        "debug": run("--debug", "predict", "-c", EVIL, "x.wav"),
        "plot": run("plot", EVIL),
        "average": run("average", EVIL, EVIL + "2", "-o", EVIL),
    }
    for name, result in outputs.items():
        assert harmless(result.output), (name, result.output)
    tables = {name: outputs.pop(name) for name in ("list", "markdown", "show", "header", "labels", "verify")}
    assert all(tables[name].exit_code == 0 for name in ("header", "verify"))  # a registry like this one may be refused
    assert "[red]x[/][link=http://x]y :smile: é" in tables["header"].stdout
    assert {name: each.exit_code for name, each in outputs.items() if each.exit_code not in (1, 2)} == {}
    assert all(name == "debug" or result.stderr.count("\n") == 1 for name, result in outputs.items())


def test_only_terminal_writes_to_a_stream() -> None:
    """Whoever prints by another way shows names as they are."""
    package = Path(terminal.__file__).parent
    raw = re.compile(r"(?<![\w.])print\(|click\.echo\(|sys\.(stdout|stderr)\.(write|buffer)")
    users = {str(path.relative_to(package)) for path in package.rglob("*.py") if raw.search(path.read_text())}
    assert users <= {"terminal.py", "__init__.py", "bench/cold.py"}  # an example; what the bench reads
