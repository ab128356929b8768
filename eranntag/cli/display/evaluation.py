"""The metrics of an evaluation, on standard output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from eranntag.cli.display.terminal import print_text
from eranntag.results.formats import printable

if TYPE_CHECKING:
    from eranntag.evaluation.sed import DetectionResult
    from eranntag.evaluation.tagging import TaggingResult


def comparison(ours: float, paper: float, where: str) -> str:
    """Return a line that compares a metric with the paper's, which is published at `where`."""
    return f"ours {ours:.4f}  paper {paper:.3f} ({where})  difference {ours - paper:+.4f}"


def print_tagging(result: TaggingResult, paper: bool = False) -> None:
    """Print the metrics, the paper's if `paper`, the table of classes and the most frequent confusions."""
    print_text(*result.summary(), "")
    if paper:
        lines = []
        for row in result.paper():
            where = f"{row['table']}, {row['how']}"
            lines.append(f"{row['metric']}: {comparison(row['ours'], row['paper'], where)}")
        print_text(*(lines or [result.unpublished()]), "")
    _print_classes(result.per_class)
    if confusions := result.confusions():
        print_text("", "most frequent confusions (true -> predicted)")
    for true, predicted, clips in confusions:
        print_text(f"{clips:4d}  {true} -> {predicted}")


def print_detection(result: DetectionResult) -> None:
    """Print the metrics of events and their table of classes."""
    print_text("", *result.summary(), "")
    _print_classes(result.per_class)


def _print_classes(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a line for each class, its label first."""
    label_width = max(24, min(40, max(len(row["label"]) for row in rows)))
    names = [name for name in rows[0] if name != "label"]
    print_text(f"{'class':{label_width}} " + " ".join(f"{name:>9}" for name in names))
    for row in rows:
        cells = (f"{row[name]:{max(9, len(name))}{'d' if isinstance(row[name], int) else '.3f'}}" for name in names)
        print_text(f"{printable(row['label']):{label_width}} {' '.join(cells)}")
