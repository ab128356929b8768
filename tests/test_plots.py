"""Figures and pages: what is drawn, that any label is safe, and that damaged histories are one line."""

import base64
import builtins
import dataclasses
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from click.testing import Result as Run

from eranntag import plots
from eranntag.cli import cli
from eranntag.errors import EranntagError, UsageError
from eranntag.evaluation import Result
from eranntag.recipes import esc50
from eranntag.types import Checkpoint

matplotlib = pytest.importorskip("matplotlib")

PNG = b"\x89PNG\r\n\x1a\n"
ODD = ("<script>alert(1)</script>", "$x_", "_hidden", "two\nlines", "a byte \udcff", "猫", "$\\frac{$", "a & b")


def result(checkpoint: Checkpoint, labels: tuple[str, ...], activation: str, clips: int = 60, **changes: Any) -> Result:
    """Random scores that favour the truth; the second class has no clips."""
    rng = np.random.default_rng(0)
    classes = rng.integers(2, len(labels), clips)
    targets = classes[:, None] == np.arange(len(labels))
    scores = (rng.random(targets.shape) / 2 + targets / 4).astype(np.float32)
    metric = "accuracy" if activation == "softmax" else "mAP"
    recipe = dataclasses.replace(esc50.RECIPE, labels=labels, activation=activation, metric=metric)
    checkpoint = dataclasses.replace(checkpoint, labels=labels)
    return Result(checkpoint, recipe, None, scores, targets, **changes)


class Tags(HTMLParser):
    """All the tags of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_page_needs_nothing_else_and_holds_everything(tiny_checkpoint: Checkpoint, tmp_path: Path, activation: str) -> None:
    measured = result(tiny_checkpoint, ODD, activation, missing=3)
    plots.evaluation(measured, tmp_path / "page.html", "eranntag evaluate 'x <b>'", paper=True)
    page = Tags((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert not {"script", "link", "iframe", "b"} & {tag for tag, _ in page.tags}
    sources = [attrs["src"] for tag, attrs in page.tags if tag == "img"]
    assert len(sources) == 1 and sources[0] and base64.b64decode(sources[0].partition("base64,")[2]).startswith(PNG)
    assert all(line in page.text for line in measured.summary())
    for words in (
        "<script>alert(1)</script>",
        "two\\x0alines",
        "a byte \\xff",
        "eranntag evaluate 'x <b>'",
        "no published result",
    ):
        assert words in page.text
    assert ("Most frequent confusions" in page.text) == (activation == "softmax")
    assert sum(tag == "tr" for tag, _ in page.tags) >= 1 + len(ODD)


def test_a_page_shows_the_paper(tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    known = dataclasses.replace(tiny_checkpoint, model={"s_m": 2, "width": 5})
    plots.evaluation(result(known, ODD, "softmax"), tmp_path / "page.html", paper=True)
    text = Tags((tmp_path / "page.html").read_text(encoding="utf-8")).text
    assert "fine-tunedERANN v2, Table 60.9610" in text.replace("\n", "")


@pytest.mark.parametrize(("activation", "classes"), [("softmax", 4), ("softmax", 70), ("sigmoid", 4), ("sigmoid", 70)])
def test_few_and_many_classes_are_drawn(tiny_checkpoint: Checkpoint, tmp_path: Path, activation: str, classes: int) -> None:
    labels = tuple(f"class {index}" for index in range(classes))
    plots.evaluation(result(tiny_checkpoint, labels, activation), tmp_path / "figure.PNG")
    assert (tmp_path / "figure.PNG").read_bytes().startswith(PNG)


def test_fifty_classes_are_legible(tiny_checkpoint: Checkpoint) -> None:
    from matplotlib.figure import Figure

    figure = plots._confusion(Figure, result(tiny_checkpoint, esc50.RECIPE.labels, "softmax", 400))
    axes = figure.axes[0]
    cells = [text for text in axes.texts if text.get_text()]
    assert sum(int(text.get_text()) for text in cells) == 400
    figure.canvas.draw()
    names = [tick.get_window_extent() for tick in axes.get_yticklabels()]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list(esc50.RECIPE.labels)
    assert not any(below.overlaps(above) for above, below in pairwise(names))


def test_clips_without_any_class_are_drawn_too(tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    nothing = dataclasses.replace(result(tiny_checkpoint, ODD, "sigmoid"), targets=np.zeros((60, len(ODD)), bool))
    plots.evaluation(nothing, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(PNG)


def test_a_lack_of_matplotlib_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = builtins.__import__

    def lacking(name: str, *args: Any) -> Any:
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return found(name, *args)

    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(EranntagError, match=re.escape("pip install 'eranntag[plot]'")):
        plots.check(tmp_path / "page.html", "--page", (".html", ".png"))
    with pytest.raises(UsageError, match=r"must end in \.png"):
        plots.check(tmp_path / "page.html", "--output", (".png",))


# Training runs.

TRAINING = [{"iteration": i, "loss": 3.0 / i, "lr": 1e-3, "seconds": 1.0 * i, "grad_norm": 1.0} for i in (50, 100)]
EVALUATED = [{"iteration": 100, "accuracy": 0.5, "loss": 2.0, "note": "x"}]


def write(folder: Path, *rows: dict[str, Any], more: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + more)
    return folder


def plot(*args: str | Path) -> Run:
    return CliRunner().invoke(cli, ["plot", *map(str, args)])


def test_a_runs_curves_are_in_its_folder_and_the_path_is_printed(tmp_path: Path) -> None:
    run = write(tmp_path / "run", *TRAINING, *EVALUATED)
    done = plot(run)
    assert (done.stdout, done.stderr, done.exit_code) == (f"{run}/history.png\n", "", 0)
    assert (run / "history.png").read_bytes().startswith(PNG)
    assert plot(run, "-o", tmp_path / "other.png").stdout == f"{tmp_path}/other.png\n"


def test_what_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Any] = []
    monkeypatch.setattr(plots, "_png", lambda figure: figures.append(figure) or b"")
    plots.history({"_one": [*TRAINING, *EVALUATED], "two": TRAINING}, tmp_path / "history.png")
    loss, held_out, rate = figures[0].axes
    assert [line.get_xydata().tolist() for line in loss.lines] == [
        [[50, 0.06], [100, 0.03]],
        [[100, 2]],
        [[50, 0.06], [100, 0.03]],
    ]
    assert [line.get_xydata().tolist() for line in held_out.lines] == [[[100, 0.5]]]
    assert len(rate.lines) == 2
    assert [text.get_text().strip() for text in loss.get_legend().get_texts()] == ["_one", "_one, held-out", "two"]
    assert held_out.get_ylabel() == "accuracy on held-out clips"


def test_several_runs_share_a_figure(tmp_path: Path) -> None:
    write(tmp_path / "runs" / "a", *TRAINING, *EVALUATED)
    write(tmp_path / "runs" / "b", *TRAINING, {"iteration": 100, "mAP": 0.1})
    (tmp_path / "runs" / "something else").mkdir()
    assert plot(tmp_path / "runs").stdout == f"{tmp_path}/runs/history.png\n"


@pytest.mark.parametrize("more", ['{"iteration": 150, "lo', "7\n", "[]\n", '{"loss": 1}\n', '{"iteration": null}\n', "\n"])
def test_a_damaged_history_is_one_line(tmp_path: Path, more: str) -> None:
    run = write(tmp_path / "run", *TRAINING, more=more)
    damage = "line 3 of 3 is no row of a history; it is cut short or damaged"
    done = plot(run)
    assert (done.exit_code, done.stderr) == (1, f"eranntag: error: {run}/history.jsonl: {damage}\n")
    assert not (run / "history.png").exists()


def test_a_folder_without_a_run_an_empty_history_and_other_endings_are_one_line(tmp_path: Path) -> None:
    missing, empty = plot(tmp_path / "nowhere"), plot(write(tmp_path / "run"))
    assert (missing.exit_code, missing.stderr.count("\n"), "no training run" in missing.stderr) == (2, 1, True)
    assert (empty.exit_code, empty.stderr.count("\n"), "nothing to show yet" in empty.stderr) == (1, 1, True)
    other = plot(write(tmp_path / "run", *TRAINING), "-o", tmp_path / "curves.pdf")
    assert (other.exit_code, "must end in .png" in other.stderr) == (2, True)
    (tmp_path / "run" / "history.jsonl").write_bytes(b"\xff\n")
    assert "cannot be read" in plot(tmp_path / "run").stderr
