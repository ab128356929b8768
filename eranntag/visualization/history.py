"""Training runs: loss, held-out measure and learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eranntag.visualization.figures import COLORS, STYLES, drawing, literal, png, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NOT_METRICS = ("iteration", "loss", "lr", "seconds")  # columns of a history

History = list[dict[str, Any]]


def draw(runs: Mapping[str, History], path: Path) -> None:
    """Write a figure of three panels over the iterations: loss (held-out loss dotted), held-out metric, learning rate."""
    with drawing() as new_figure:
        figure = new_figure(figsize=(9, 9), layout="constrained")
        loss, held_out, rate = figure.subplots(3, 1, sharex=True)
        metrics: dict[str, None] = {}
        for (name, rows), color, style in zip(runs.items(), cycle(COLORS), cycle(STYLES)):
            training, evaluated = ([row for row in rows if ("lr" in row) == is_training] for is_training in (True, False))
            metric = _metric(evaluated)
            if metric:
                metrics[metric] = None
            line = {"color": color, "linestyle": style, "label": literal(name, 60)}
            _line(loss, training, "loss", line)
            _line(loss, evaluated, "loss", {**line, "linestyle": ":", "label": literal(f"{name}, held-out", 70)})
            _line(held_out, evaluated, metric, {**line, "marker": "."})
            _line(rate, training, "lr", line)
        loss.set(ylabel="loss", title=literal(", ".join(runs), 90))
        held_out.set(ylabel=literal(" / ".join(metrics)) + " on held-out clips" if metrics else "no evaluation")
        rate.set(ylabel="learning rate", xlabel="iteration")
        for axes in (loss, held_out, rate):
            axes.grid(alpha=0.3)
        if len(loss.lines) > 1:
            loss.legend(fontsize=8)
        write(path, png(figure))


def _metric(rows: History) -> str:
    """Return the name of the metric of a run: the first number of an evaluation that is not in NOT_METRICS."""
    names = (name for row in rows for name, value in row.items() if name not in NOT_METRICS and _is_number(value))
    return next(names, "")


def _line(axes: Axes, rows: History, column: str, line: Mapping[str, Any]) -> None:
    points = [(row["iteration"], row[column]) for row in rows if _is_number(row.get(column))]
    if points:
        axes.plot(*zip(*points, strict=True), linewidth=1.2, **line)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
