"""Figures and pages: what is drawn, that any label is safe, and that damaged histories are one line."""

import base64
import builtins
import dataclasses
import json
import re
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner, Result as Run

from eranntag.audio import reader
from eranntag.checkpoints import weights
from eranntag.cli import cli
from eranntag.engines.eager import Eager
from eranntag.errors import EranntagError, UsageError
from eranntag.evaluation.tagging import TaggingResult
from eranntag.inference.detector import Detection
from eranntag.inference.network import Network
from eranntag.inference.tagger import Tagger
from eranntag.recipes import esc50
from eranntag.results.formats import printable
from eranntag.types import Checkpoint, Event, Prediction
from eranntag.visualization import attention, clip as sound, evaluation, figures as plots, history, preview as previews, ticks
from eranntag.visualization.figures import literal
from eranntag.visualization.preview import ClipPreview
from eranntag.visualization.spectrogram import band_edges_hz
from eranntag.visualization.timeline import View

matplotlib = pytest.importorskip("matplotlib")

PNG = b"\x89PNG\r\n\x1a\n"
ODD = ("<script>alert(1)</script>", "$x_", "_hidden", "two\nlines", "a byte \udcff", "猫", "$\\frac{$", "a & b")


def result(checkpoint: Checkpoint, labels: tuple[str, ...], activation: str, clips: int = 60, **changes: Any) -> TaggingResult:
    """Random scores that favour the truth; the second class has no clips."""
    rng = np.random.default_rng(0)
    classes = rng.integers(2, len(labels), clips)
    targets = classes[:, None] == np.arange(len(labels))
    scores = (rng.random(targets.shape) / 2 + targets / 4).astype(np.float32)
    metric = "accuracy" if activation == "softmax" else "mAP"
    recipe = dataclasses.replace(esc50.RECIPE, labels=labels, activation=activation, metric=metric)
    checkpoint = dataclasses.replace(checkpoint, labels=labels)
    return TaggingResult(checkpoint, recipe, None, scores, targets, **changes)


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
    evaluation.draw(measured, tmp_path / "page.html", "eranntag evaluate 'x <b>'", paper=True)
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
    evaluation.draw(result(known, ODD, "softmax"), tmp_path / "page.html", paper=True)
    text = Tags((tmp_path / "page.html").read_text(encoding="utf-8")).text
    assert "fine-tunedERANN v2, Table 6accuracy0.9610" in text.replace("\n", "")


@pytest.mark.parametrize(("activation", "classes"), [("softmax", 4), ("softmax", 70), ("sigmoid", 4), ("sigmoid", 70)])
def test_few_and_many_classes_are_drawn(tiny_checkpoint: Checkpoint, tmp_path: Path, activation: str, classes: int) -> None:
    labels = tuple(f"class {index}" for index in range(classes))
    evaluation.draw(result(tiny_checkpoint, labels, activation), tmp_path / "figure.PNG")
    assert (tmp_path / "figure.PNG").read_bytes().startswith(PNG)


def test_fifty_classes_are_legible(tiny_checkpoint: Checkpoint) -> None:
    from matplotlib.figure import Figure

    figure = evaluation._confusion(Figure, result(tiny_checkpoint, esc50.RECIPE.labels, "softmax", 400))
    axes = figure.axes[0]
    cells = [text for text in axes.texts if text.get_text()]
    assert sum(int(text.get_text()) for text in cells) == 400
    figure.canvas.draw()
    names = [tick.get_window_extent() for tick in axes.get_yticklabels()]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list(esc50.RECIPE.labels)
    assert not any(below.overlaps(above) for above, below in pairwise(names))


def test_clips_without_any_class_are_drawn_too(tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    nothing = dataclasses.replace(result(tiny_checkpoint, ODD, "sigmoid"), targets=np.zeros((60, len(ODD)), bool))
    evaluation.draw(nothing, tmp_path / "figure.png")
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
    monkeypatch.setattr(history, "png", lambda figure: figures.append(figure) or b"")
    history.draw({"_one": [*TRAINING, *EVALUATED], "two": TRAINING}, tmp_path / "history.png")
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


# WaveformCache.

NAMES = ("$x_ <b>", "_hidden", "two\nlines", "a \u202e turn", "猫", "$\\frac{$", "a & b", "plain")


def view(seconds: float = 4.0, source: str = "folder/$a_b$.wav", labels: tuple[str, ...] = NAMES) -> View:
    """The first label sounds in the second half, the third at its beginning."""
    lanes = np.zeros((len(labels), 40), np.float32)
    lanes[0, 20:] = lanes[2, :10] = 0.75
    events = (
        Event(labels[2], 0, seconds / 4, 0.75),
        Event(labels[0], seconds / 2, seconds, 0.75),
        Event("elsewhere", 0, 1, 0.9),
    )
    scores = np.linspace(0.9, 0, len(labels) + 1, dtype=np.float32)
    prediction = Prediction((*labels, "elsewhere"), scores, seconds, source, "tiny")
    return View(prediction, Detection(events, seconds, 0.5, 22050.0, source, "tiny"), labels, lanes)


def preview(seconds: float = 4.0, hz: float = 2000) -> ClipPreview:
    """Silence, but for a band around `hz` in the third quarter."""
    image = np.full((64, 200), -100, np.float32)
    image[np.abs(band_edges_hz(22050.0)[1:-1] - hz).argmin(), 100:150] = 20
    return ClipPreview(image, b"")


def drawn(picture: Any) -> tuple[Any, np.ndarray]:
    """The figure, and its pixels (height, width, 3) in 0 .. 255, the first row on top."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with plots.drawing():
        figure = sound._figure(Figure, *picture)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return figure, np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def color(figure: Any, pixels: np.ndarray, axes: Any, x: float, y: float) -> Any:
    """At a point in the axes' units; parts in 0 .. 1."""
    column, row = axes.transData.transform((x, y))
    return pytest.approx(pixels[len(pixels) - 1 - round(row), round(column)] / 255, abs=0.01)


def map_color(name: str, value: float) -> tuple[float, ...]:
    return tuple(matplotlib.colormaps[name](value)[:3])


def labelled(axes: Any, text: str) -> float:
    """Where the vertical axis says so."""
    return float(axes.get_yticks()[[label.get_text() for label in axes.get_yticklabels()].index(text)])


def test_a_sound_is_bright_where_it_sounds_and_its_events_are_above_it() -> None:
    from matplotlib.colors import to_rgb

    figure, pixels = drawn((view(), preview()))
    below, above = figure.axes[:2]
    place = labelled(below, "2 kHz")
    loud, silent, bar = map_color("cividis", 1.0), map_color("cividis", 0.0), to_rgb(plots.COLORS[4])
    for x, y, expected in (
        (2.5, place, loud),
        *((x, y, silent) for x, y in ((1.5, place), (3.5, place), (2.5, 64 - place), (2.5, place + 4), (2.5, place - 4))),
    ):
        assert color(figure, pixels, below, x, y) == expected
    white, heat = map_color("Blues", 0.0), map_color("Blues", 0.75)
    for x, y, expected in (
        (1, 0.22, white),
        (3, 0.22, bar),
        (0.5, 2.22, bar),
        (3, 2.22, white),
        (1, -0.25, white),
        (3, -0.25, heat),
    ):
        assert color(figure, pixels, above, x, y) == expected
    assert below.get_xlim() == above.get_xlim() == (0, 4)
    assert below.get_position().x0 == above.get_position().x0 and below.get_position().x1 == above.get_position().x1


def test_labels_and_names_are_drawn_to_the_letter_and_apart() -> None:
    figure, _ = drawn((view(), preview()))
    texts = figure.axes[1].get_yticklabels()
    expected = [printable(name) for name in NAMES]
    expected[1] = " _hidden"
    assert [text.get_text().replace(r"\$", "$").rsplit("  ", 1)[0] for text in texts] == expected
    assert all(text.get_text().count("$") == text.get_text().count(r"\$") for text in texts)
    assert texts[0].get_text().endswith("  0.900")
    extents = [text.get_window_extent() for text in texts]
    assert not any(below.overlaps(above) for above, below in pairwise(extents))
    assert min(extent.x0 for extent in extents) >= 0
    assert figure.get_suptitle() == "\\$a_b\\$.wav\n4.00 s, tiny, 3 events, of which those of 1 more label have no room"


@pytest.mark.parametrize("seconds", [0.004, 1.0, 4.2, 89.0, 421.5, 3601.0, 6 * 3600 + 1.0, 500 * 3600.0])
def test_times_are_few_apart_and_within_the_sound(seconds: float) -> None:
    figure, _ = drawn((view(seconds), preview(seconds)))
    axes = figure.axes[0]
    ticks, texts = axes.get_xticks(), axes.get_xticklabels()
    assert 3 <= len(ticks) <= 14 and ticks[0] == 0 and ticks[-1] <= seconds * 1.001
    extents = [text.get_window_extent() for text in texts]
    assert not any(left.overlaps(right) for left, right in pairwise(extents))
    if seconds == 421.5:
        assert [text.get_text() for text in texts] == [f"{minute}:00" for minute in range(8)]
    assert len({text.get_text() for text in texts}) == len(texts)


@pytest.mark.parametrize("highest_hz", [22050.0, 11025.0, 4000.0, 500.0, 50.0])
def test_frequencies_are_where_their_bands_are(highest_hz: float) -> None:
    edges = band_edges_hz(highest_hz)
    places, texts = ticks.octave_ticks(edges)
    assert 2 <= len(places) <= 9 and all(0.5 <= place <= 63.5 for place in places)
    for place, text in zip(places, texts, strict=True):
        number, unit = text.split()
        hz = float(number) * {"Hz": 1, "kHz": 1000}[unit]
        assert edges[int(place)] < hz < edges[int(place) + 2]
    assert min(-np.diff(places)) > 3


# 2APAE.

FRAMES = 32  # of a window: 1.024 s


@pytest.fixture(scope="module")
def apae_network() -> Network:
    checkpoint = Checkpoint(
        name="weak",
        family="apae",
        model={"pooling": "two-step", "frames": FRAMES},
        frontend_family="melmag",
        frontend={},
        labels=NAMES,
        activation="sigmoid",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Network(checkpoint).eval()


def attended(network: Network, path: Path, seconds: float) -> Any:
    from matplotlib.figure import Figure

    prediction = Prediction(NAMES, np.zeros(8, np.float32), seconds, str(path), "weak")
    explained = attention.explain(network, str(path))
    with plots.drawing():
        return attention._figure(Figure, network, explained, prediction), explained


def test_the_seven_panels_are_those_of_the_first_window(apae_network: Network, wav: Callable[..., Path]) -> None:
    """Of a sound whose tone begins in the middle of the window, and which goes on behind it."""
    time = np.arange(5 * 32000) / 32000
    path = wav(
        "tone.wav", 1e-3 * np.random.default_rng(0).standard_normal(len(time)) + (time > 0.512) * np.sin(6283 * time), 32000
    )
    figure, _ = attended(apae_network, path, 5.0)
    with torch.inference_mode():  # as its family says, of the whole sound
        image = apae_network.frontend(torch.from_numpy(np.asarray(soundfile.read(path, dtype="float32")[0]))[None])
        expected = apae_network.model.explain(image[..., :FRAMES])
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert len(panels) == 7
    shown = [np.asarray(axes.images[0].get_array()) for axes in panels[:6]]
    steps, best = expected.steps, int(expected.steps.clip_scores[0].argmax())
    wanted = [expected.image[0, 0], expected.reconstruction[0, 0], steps.frequency_attention[0, best]]
    for ours, theirs in zip(shown[:3], wanted, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=1e-4)
    assert literal(NAMES[best]) in panels[2].get_title()
    np.testing.assert_allclose(shown[4], steps.frame_scores[0].numpy(), rtol=0, atol=1e-5)
    np.testing.assert_allclose(shown[5].sum(1), 1, rtol=0, atol=1e-5)  # A2, over the frames
    np.testing.assert_allclose(shown[2].sum(0), 1, rtol=0, atol=1e-5)  # A1, over the bands
    np.testing.assert_allclose([bar.get_width() for bar in panels[6].patches], steps.clip_scores[0].numpy(), atol=1e-5)
    assert panels[0].images[0].origin == "lower"
    assert abs(shown[0][:, 20].argmax() + 0.5 - labelled(panels[0], "1 kHz")) < 1
    assert shown[0].max(0)[18:].min() > shown[0].max(0)[:14].max() + 3
    assert "the first 1.02 s of 5.00 s" in figure.get_suptitle()


def test_the_panels_are_of_the_labels_that_are_kept(apae_network: Network, wav: Callable[..., Path]) -> None:
    from matplotlib.figure import Figure

    path = str(wav("noise.wav", 0.1 * np.random.default_rng(0).standard_normal(40000), 32000))
    explained = attention.explain(apae_network, path)
    kept = (NAMES[1], NAMES[6])
    with plots.drawing():
        figure = attention._figure(
            Figure, apae_network, explained, Prediction(kept, np.zeros(2, np.float32), 1.25, path, "weak")
        )
    panels = [axes for axes in figure.axes if axes.get_title()]
    scores = explained.steps.clip_scores[0].numpy()[[1, 6]]
    np.testing.assert_allclose([bar.get_width() for bar in panels[6].patches], scores, atol=1e-6)
    assert [text.get_text() for text in panels[4].get_yticklabels()] == [literal(label, 24) for label in kept]
    assert literal(kept[int(scores.argmax())]) in panels[2].get_title()


def test_a_short_sounds_end_is_marked(apae_network: Network, wav: Callable[..., Path]) -> None:
    figure, explained = attended(apae_network, wav("short.wav", 0.1 * np.ones(16000), 32000), 0.5)
    assert explained.image.shape[-1] == FRAMES
    marks = [line.get_xdata()[0] for axes in figure.axes for line in axes.lines]
    assert marks == [0.5] * 6 and "0.5 s and" in figure.get_suptitle()


def test_only_two_steps_of_attention_are_explained(apae_network: Network, tiny_checkpoint: Checkpoint) -> None:
    def has(**model: Any) -> bool:
        return attention.has_attention(dataclasses.replace(apae_network.checkpoint, model=model))

    assert has() and has(pooling="two-step") and has(pooling="two-step-literal")
    assert not (has(pooling="mean") or has(pooling="atrous") or attention.has_attention(tiny_checkpoint))


# The option --plot.


@pytest.fixture
def model(tiny_tagger: Eager, tmp_path: Path) -> str:
    weights.save(tiny_tagger.network, tmp_path / "tiny.safetensors")
    return str(tmp_path / "tiny.safetensors")


def tag(*args: str | Path) -> Run:
    return CliRunner().invoke(cli, [*map(str, args), "--engine", "eager"])


@pytest.mark.parametrize(
    "command", [("predict", "--threshold", "dog=0.1"), ("detect", "--threshold", "0.4"), ("predict", "--format", "json")]
)
def test_results_are_the_same_with_a_picture(
    command: tuple[str, ...], model: str, wav: Callable[..., Path], tmp_path: Path
) -> None:
    clip = wav("clip.wav", 0.1 * np.random.default_rng(0).standard_normal(70000))
    plain = tag(*command, clip, "-c", model)
    pictured = tag(*command, clip, "-c", model, "--plot", tmp_path / "clip.PNG")
    assert plain.exit_code == 0 and plain.stdout
    assert (pictured.exit_code, pictured.stdout_bytes, pictured.stderr) == (0, plain.stdout_bytes, plain.stderr)
    assert (tmp_path / "clip.PNG").read_bytes().startswith(PNG)


def test_a_page_has_the_sounds_that_did_not_fail(model: str, wav: Callable[..., Path], tmp_path: Path) -> None:
    clips = [wav(f"clip{index}.wav", 0.1 * np.random.default_rng(index).standard_normal(50000)) for index in range(2)]
    sounds = (clips[0], tmp_path / "absent.wav", clips[1])
    plain, page = tag("detect", *sounds, "-c", model), tmp_path / "page.html"
    pictured = tag("detect", *sounds, "-c", model, "--plot", page)
    assert (pictured.exit_code, pictured.stdout_bytes, pictured.stderr) == (3, plain.stdout_bytes, plain.stderr)
    text = page.read_text(encoding="utf-8")
    titles = {Path(title).name for _, attrs in Tags(text).tags if (title := attrs.get("title"))}
    assert {"clip0.wav", "clip1.wav"} <= titles and "absent.wav" not in titles


def test_a_sound_that_cannot_be_read_again_fails_without_its_tags(
    model: str, wav: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = wav("clip.wav", 0.1 * np.random.default_rng(0).standard_normal(50000))
    plain = tag("predict", clip, "-c", model)
    monkeypatch.setattr(previews, "render_preview", lambda source, stop, with_mp3: reader.read(tmp_path / "gone.wav"))
    pictured = tag("predict", clip, "-c", model, "--plot", tmp_path / "clip.png")
    assert (pictured.exit_code, pictured.stdout_bytes) == (3, plain.stdout_bytes)
    assert "no such file" in pictured.stderr and not (tmp_path / "clip.png").exists()


def test_two_steps_of_attention_have_a_picture_of_their_own(
    apae_network: Network, wav: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the checkpoint's file to the figure's."""
    weights.save(apae_network, tmp_path / "weak.safetensors")
    clip = wav("clip.wav", 0.1 * np.random.default_rng(0).standard_normal(32000), 32000)
    done: list[str] = []
    original = attention.draw
    monkeypatch.setattr(attention, "draw", lambda *given: (done.append(given[1].source), original(*given)))
    assert tag("predict", clip, "-c", tmp_path / "weak.safetensors", "--plot", tmp_path / "a.png").exit_code == 0
    assert done == [str(clip)] and (tmp_path / "a.png").read_bytes().startswith(PNG)


def test_what_cannot_be_drawn_is_told_before_any_work(
    tmp_path: Path, wav: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, png = wav("clip.wav", np.zeros(100)), tmp_path / "a.png"
    wrong = {
        "a .png shows one sound; name FILE.html": [
            (clip, clip, "--plot", png),
            (tmp_path, "--plot", png),
            ("*.wav", "--plot", png),
        ],
        "standard input": [("-", "--plot", png)],
        "must end in .png or .html": [(clip, "--plot", clip), (clip, "--plot", tmp_path / "page")],
        "a folder that exists": [(clip, "--plot", tmp_path / "no" / "a.html")],
        "two files": [(clip, "--plot", png, "-o", png)],
    }
    for words, commands in wrong.items():
        for command in commands:
            for name in ("predict", "detect"):
                done = tag(name, *command, "-c", "absent.safetensors")
                assert (done.exit_code, done.stderr.count("\n"), words in done.stderr) == (2, 1, True), (command, done.stderr)
    lists = tag("predict", "--files-from", clip.with_suffix(".txt"), "--plot", png)
    assert lists.exit_code == 2
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = tag("detect", clip, "--plot", png, "-c", "absent.safetensors")
    assert (done.exit_code, "pip install 'eranntag[plot]'" in done.stderr) == (1, True)


def test_predict_draws_windows_of_a_network_that_scores_no_frames(
    model: str, wav: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(Tagger, "frame_seconds", property(lambda tagger: None))
    done = tag("predict", wav("clip.wav", np.zeros(50000)), "-c", model, "--plot", tmp_path / "a.png")
    assert done.exit_code == 0 and (tmp_path / "a.png").stat().st_size > 1000


def test_only_an_earlier_picture_is_replaced(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for path, other in ((tmp_path / "x.png", tmp_path / "y.png"), (tmp_path / "x.html", tmp_path / "y.html")):
        path.write_bytes(b"of somebody else")
        with pytest.raises(UsageError, match="is there, and no earlier picture of eranntag's; move it away"):
            plots.check_file(path, "--plot", (".png", ".html"))
        other.touch()
        plots.check_file(other, "--plot", (".png", ".html"))
    with plots.drawing() as Figure:  # noqa: N806
        (tmp_path / "x.png").write_bytes(plots.png(Figure()))
    plots.check_file(tmp_path / "x.png", "--plot", (".png",))
    (tmp_path / "x.png").unlink()
    (tmp_path / "x.png").symlink_to("nowhere")
    with pytest.raises(UsageError, match="is there"):
        plots.check_file(tmp_path / "x.png", "--plot", (".png",))
