"""Figures of an evaluation: the confusion matrix, or precision and recall; alone, or on a page with all numbers."""

from __future__ import annotations

import base64
import html
import textwrap
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eranntag.results.formats import printable
from eranntag.visualization.figures import COLORS, MAP, STYLES, drawing, literal, png, write

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from eranntag.evaluation.tagging import TaggingResult

NAMED = 60  # classes, at most, whose names are drawn


def draw(result: TaggingResult, path: Path, command: str = "", paper: bool = False) -> None:
    """Write the figure (.png), or a page with it and all numbers (.html), to `path`."""
    with drawing() as new_figure:
        image = png(_confusion(new_figure, result) if result.single else _precision(new_figure, result))
    page = _page(result, image, command, paper).encode() if path.suffix.lower() == ".html" else b""
    write(path, page or image)


def _confusion(new_figure: type[Figure], result: TaggingResult) -> Figure:
    """Return the figure of the confusion matrix: colors are shares of a row's clips, numbers are clips."""
    counts, classes = result.confusion, len(result.recipe.labels)
    side = max(4.0, 0.24 * min(classes, NAMED) + 2.5)
    figure = new_figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.add_subplot()
    shares = counts / counts.sum(1, keepdims=True).clip(1)
    image = axes.imshow(shares, cmap=MAP, vmin=0, vmax=1)
    figure.colorbar(image, label="share of the true class's clips", shrink=0.6)
    axes.set(xlabel="predicted", ylabel="true")
    title = textwrap.fill(literal(result.summary()[0], 100), round(8 * side))  # about eight letters an inch
    figure.suptitle(title, fontsize=10)
    if classes > NAMED:
        return figure
    names = [literal(label) for label in result.recipe.labels]
    axes.set_xticks(range(classes), names, rotation=90, fontsize=7)
    axes.set_yticks(range(classes), names, fontsize=7)
    for row, column in zip(*counts.nonzero(), strict=True):
        color = "black" if shares[row, column] > 0.5 else "white"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=7, color=color)
    return figure


def _precision(new_figure: type[Figure], result: TaggingResult) -> Figure:
    """Return the figure of the classes' average precision, best on top, and of their precision-recall curves."""
    named = len(result.recipe.labels) <= NAMED
    figure = new_figure(figsize=(12, max(5.0, 0.2 * len(result.recipe.labels)) if named else 6), layout="constrained")
    figure.suptitle(literal(result.summary()[0], 100))
    left, right = figure.subplots(1, 2)
    _average_precisions(left, result, named)
    _curves(right, result)
    return figure


def _average_precisions(axes: Axes, result: TaggingResult, named: bool) -> None:
    known = [(row["AP"], row["label"]) for row in result.per_class if isfinite(row["AP"])]
    known.sort(key=lambda pair: -pair[0])
    values, labels = [value for value, _ in known], [literal(label) for _, label in known]
    if named:
        axes.barh(range(len(values)), values, color=COLORS[0])
        axes.set_yticks(range(len(values)), labels, fontsize=8)
        axes.invert_yaxis()
        axes.set(xlabel="average precision", xlim=(0, 1))
        axes.axvline(result.measures["mAP"], color=COLORS[1], linestyle="--", label=f"mean {result.measures['mAP']:.3f}")
    else:
        axes.fill_between(range(1, len(values) + 1), values, color=COLORS[0], step="mid")
        axes.set(xlabel="classes, best first", ylabel="average precision", ylim=(0, 1))
        axes.axhline(result.measures["mAP"], color=COLORS[1], linestyle="--", label=f"mean {result.measures['mAP']:.3f}")
    axes.legend()


def _curves(axes: Axes, result: TaggingResult) -> None:
    """Draw the curve of each class, by name if there are few, and the curve of all pairs of clip and class together."""
    few = len(result.recipe.labels) < len(COLORS)  # the last color is for all classes together
    for index, label in enumerate(result.recipe.labels):
        style: dict[str, Any] = {"color": "0.75", "linewidth": 0.4}
        if few:
            style = {"color": COLORS[index], "linestyle": STYLES[1 + index % 3], "linewidth": 1, "marker": "."}
            style["label"] = literal(label)
        _curve(axes, result.scores[:, index], result.targets[:, index], style)
    together = {"color": COLORS[-1], "linewidth": 2, "label": "all classes together"}
    if _curve(axes, result.scores.ravel(), result.targets.ravel(), together):
        axes.legend()
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))


def _curve(axes: Axes, scores: np.ndarray, targets: np.ndarray, style: Mapping[str, Any]) -> bool:
    """Draw precision over recall; return False, with nothing drawn, if there is no positive clip."""
    from eranntag.evaluation.metrics import counts_by_threshold

    _, true_positives, predicted_positives = counts_by_threshold(scores, targets)
    if not len(true_positives):
        return False
    axes.plot(true_positives / true_positives[-1], true_positives / predicted_positives, **style)
    return True


def _page(result: TaggingResult, image: bytes, command: str, paper: bool) -> str:
    """Return the page as HTML, without scripts and links: it needs no network and prints well."""
    checkpoint, summary = result.checkpoint, result.summary()
    facts = {"command": command, "checkpoint": checkpoint.title or checkpoint.name, "data": result.recipe.title}
    alt = "confusion matrix" if result.single else "average precision of the classes, precision-recall curves"
    parts = [f"<h1>{_escape(summary[0])}</h1>", *(f"<p>{_escape(line)}</p>" for line in summary[1:])]
    parts += [f"<p>{name}: <code>{_escape(value)}</code></p>" for name, value in facts.items() if value]
    if paper:
        rows = result.paper()
        parts += ["<h2>The paper</h2>", _table(rows) if rows else f"<p>{_escape(result.unpublished())}</p>"]
    parts += [f'<img alt="{alt}; the numbers are below" src="data:image/png;base64,{base64.b64encode(image).decode()}">']
    if mistakes := [{"true": true, "predicted": predicted, "clips": clips} for true, predicted, clips in result.confusions()]:
        parts += ["<h2>Most frequent confusions</h2>", _table(mistakes)]
    parts += ["<h2>Classes</h2>", _table(result.per_class)]
    return PAGE.format(title=_escape(summary[0]), body="\n".join(parts))


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="generator" content="eranntag">
<meta name="viewport" content="width=device-width"><title>{title}</title>
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
