"""Figures and pages: of an evaluation, of training runs. The only file that imports matplotlib, an extra.

Colours are Okabe and Ito's and the map is cividis, which the colour-blind can tell apart; lines differ in style, too.
"""

from __future__ import annotations

import base64
import html
import io
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eranntag import atomic
from eranntag.errors import EranntagError, UsageError
from eranntag.records import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from eranntag.evaluation import Result

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", ":", "-.")
NAMED = 60  # classes that a figure has room to name
ORDINARY = ("iteration", "loss", "lr", "seconds")  # what is no measure in a history's row

History = list[dict[str, Any]]


def check(path: Path, option: str, endings: Sequence[str]) -> None:
    """Before any work: UsageError for a file that cannot become a figure, EranntagError without matplotlib."""
    if path.suffix.lower() not in endings:
        raise UsageError(f"{option} {path}: must end in {' or '.join(endings)}")
    if not path.absolute().parent.is_dir() or path.is_dir():
        raise UsageError(f"{option} {path}: must be a file in a folder that exists")
    with _drawing():
        pass


@contextmanager
def _drawing() -> Iterator[type[Figure]]:
    """Yield matplotlib's Figure: without pyplot there is no window and nothing global."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise EranntagError("figures need matplotlib: pip install 'eranntag[plot]'") from None
    with warnings.catch_warnings(), matplotlib.rc_context({"font.size": 9, "text.usetex": False, "savefig.bbox": None}):
        warnings.filterwarnings("ignore", "Glyph .* missing")  # labels may be in any script: a box is drawn
        yield Figure


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _write(path: Path, content: bytes) -> None:
    with atomic.replace(path) as temporary:
        temporary.write_bytes(content)


def _name(text: str, length: int = 32) -> str:
    """A label as matplotlib prints it to the letter: $ would begin a formula, a leading _ hide it from the legend."""
    text = printable(text)
    text = text if len(text) <= length else text[: length - 1] + "…"
    return (" " if text.startswith("_") else "") + text.replace("$", r"\$")


# An evaluation


def evaluation(result: Result, path: Path, command: str = "", paper: bool = False) -> None:
    """Write the figure (.png), or a page that holds it and all numbers (.html)."""
    with _drawing() as new_figure:
        image = _png(_confusion(new_figure, result) if result.single else _precision(new_figure, result))
    page = _page(result, image, command, paper).encode() if path.suffix.lower() == ".html" else b""
    _write(path, page or image)


def _confusion(new_figure: type[Figure], result: Result) -> Figure:
    """The confusion matrix: colours are shares of a row's clips, numbers are clips."""
    counts, classes = result.confusion, len(result.recipe.labels)
    side = max(4.0, 0.24 * min(classes, NAMED) + 2.5)
    figure = new_figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.add_subplot()
    shares = counts / counts.sum(1, keepdims=True).clip(1)
    image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the true class's clips", shrink=0.6)
    axes.set(xlabel="said", ylabel="true")
    title = textwrap.fill(_name(result.summary()[0], 100), round(8 * side))  # about eight letters an inch
    figure.suptitle(title, fontsize=10)
    if classes > NAMED:
        return figure
    names = [_name(label) for label in result.recipe.labels]
    axes.set_xticks(range(classes), names, rotation=90, fontsize=7)
    axes.set_yticks(range(classes), names, fontsize=7)
    for row, column in zip(*counts.nonzero(), strict=True):
        colour = "black" if shares[row, column] > 0.5 else "white"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=7, color=colour)
    return figure


def _precision(new_figure: type[Figure], result: Result) -> Figure:
    """Left the classes' average precision, best on top; right their precision-recall curves."""
    named = len(result.recipe.labels) <= NAMED
    figure = new_figure(figsize=(12, max(5.0, 0.2 * len(result.recipe.labels)) if named else 6), layout="constrained")
    figure.suptitle(_name(result.summary()[0], 100))
    left, right = figure.subplots(1, 2)
    _average_precisions(left, result, named)
    _curves(right, result)
    return figure


def _average_precisions(axes: Axes, result: Result, named: bool) -> None:
    known = [(row["AP"], row["label"]) for row in result.per_class if isfinite(row["AP"])]
    known.sort(key=lambda pair: -pair[0])
    values, labels = [value for value, _ in known], [_name(label) for _, label in known]
    if named:
        axes.barh(range(len(values)), values, color=COLOURS[0])
        axes.set_yticks(range(len(values)), labels, fontsize=8)
        axes.invert_yaxis()
        axes.set(xlabel="average precision", xlim=(0, 1))
        axes.axvline(result.measures["mAP"], color=COLOURS[1], linestyle="--", label=f"mean {result.measures['mAP']:.3f}")
    else:
        axes.fill_between(range(1, len(values) + 1), values, color=COLOURS[0], step="mid")
        axes.set(xlabel="classes, best first", ylabel="average precision", ylim=(0, 1))
        axes.axhline(result.measures["mAP"], color=COLOURS[1], linestyle="--", label=f"mean {result.measures['mAP']:.3f}")
    axes.legend()


def _curves(axes: Axes, result: Result) -> None:
    """Each class by name where they are few, else all in grey; and all pairs of clip and class together."""
    from eranntag.metrics import curve

    few = len(result.recipe.labels) < len(COLOURS)  # the last is for all together
    for index, label in enumerate(result.recipe.labels):
        _, hits, said = curve(result.scores[:, index], result.targets[:, index])
        if len(hits) and few:
            style = STYLES[1 + index % 3]
            axes.plot(hits / hits[-1], hits / said, style, color=COLOURS[index], label=_name(label), marker=".", linewidth=1)
        elif len(hits):
            axes.plot(hits / hits[-1], hits / said, color="0.75", linewidth=0.4)
    _, hits, said = curve(result.scores.ravel(), result.targets.ravel())
    if len(hits):
        axes.plot(hits / hits[-1], hits / said, color=COLOURS[-1], linewidth=2, label="all classes together")
        axes.legend()
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))


def _page(result: Result, image: bytes, command: str, paper: bool) -> str:
    """One file without scripts and links: it needs no network and prints well."""
    checkpoint, summary = result.checkpoint, result.summary()
    facts = {"command": command, "checkpoint": checkpoint.title or checkpoint.name, "data": result.recipe.title}
    alt = "confusion matrix" if result.single else "average precision of the classes, precision-recall curves"
    parts = [f"<h1>{_escape(summary[0])}</h1>", *(f"<p>{_escape(line)}</p>" for line in summary[1:])]
    parts += [f"<p>{name}: <code>{_escape(value)}</code></p>" for name, value in facts.items() if value]
    if paper:
        rows = result.paper()
        parts += ["<h2>The paper</h2>", _table(rows) if rows else f"<p>{_escape(result.unpublished())}</p>"]
    parts += [f'<img alt="{alt}; the numbers are below" src="data:image/png;base64,{base64.b64encode(image).decode()}">']
    if mistakes := [{"true": true, "said": said, "clips": clips} for true, said, clips in result.confusions()]:
        parts += ["<h2>Most frequent confusions</h2>", _table(mistakes)]
    parts += ["<h2>Classes</h2>", _table(result.per_class)]
    return PAGE.format(title=_escape(summary[0]), body="\n".join(parts))


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #111; background: #fff; max-width: 75rem; margin: auto; padding: 1rem }}
h1 {{ font-size: 1.4rem }} h2 {{ font-size: 1.1rem }} img {{ max-width: 100% }} code {{ overflow-wrap: anywhere }}
table {{ border-collapse: collapse }} th, td {{ padding: .1rem .6rem; text-align: right; border-bottom: 1px solid #ccc }}
th.text, td.text {{ text-align: left }}
</style></head><body>
{body}
</body></html>
"""


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    def row(cells: Sequence[Any], tag: str, like: Sequence[Any]) -> str:
        kinds = (' class="text"' if isinstance(value, str) else "" for value in like)
        return (
            "<tr>" + "".join(f"<{tag}{kind}>{_escape(cell)}</{tag}>" for kind, cell in zip(kinds, cells, strict=True)) + "</tr>"
        )

    first = list(rows[0].values())
    body = [row(list(values.values()), "td", list(values.values())) for values in rows]
    return "\n".join(["<table>", row(list(rows[0]), "th", first), *body, "</table>"])


def _escape(value: Any) -> str:
    return html.escape(printable(f"{value:.4f}" if isinstance(value, float) else str(value)))


# Training runs


def history(runs: Mapping[str, History], path: Path) -> None:
    """Three panels over the iterations: loss (held-out loss dashed, where there is one), held-out measure, learning rate."""
    with _drawing() as new_figure:
        figure = new_figure(figsize=(9, 9), layout="constrained")
        loss, held_out, rate = figure.subplots(3, 1, sharex=True)
        measures: dict[str, None] = {}
        for (name, rows), colour, style in zip(runs.items(), cycle(COLOURS), cycle(STYLES)):
            training, evaluated = ([row for row in rows if ("lr" in row) == wanted] for wanted in (True, False))
            measure = _measure(evaluated)
            measures |= {measure: None} if measure else {}
            line = {"color": colour, "linestyle": style, "label": _name(name, 60)}
            _line(loss, training, "loss", line)
            _line(loss, evaluated, "loss", {**line, "linestyle": ":", "label": _name(f"{name}, held-out", 70)})
            _line(held_out, evaluated, measure, {**line, "marker": "."})
            _line(rate, training, "lr", line)
        loss.set(ylabel="loss", title=_name(", ".join(runs), 90))
        held_out.set(ylabel=_name(" / ".join(measures)) + " on held-out clips" if measures else "no evaluation")
        rate.set(ylabel="learning rate", xlabel="iteration")
        for axes in (loss, held_out, rate):
            axes.grid(alpha=0.3)
        if len(loss.lines) > 1:
            loss.legend(fontsize=8)
        _write(path, _png(figure))


def _measure(rows: History) -> str:
    """The first number of an evaluation that is no ordinary column: the one that the run was judged by."""
    names = (name for row in rows for name, value in row.items() if name not in ORDINARY and _is_number(value))
    return next(names, "")


def _line(axes: Axes, rows: History, column: str, line: Mapping[str, Any]) -> None:
    points = [(row["iteration"], row[column]) for row in rows if _is_number(row.get(column))]
    if points:
        axes.plot(*zip(*points, strict=True), linewidth=1.2, **line)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
