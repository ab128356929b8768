"""The result of label enhancement, on standard output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eranntag.cli.display.terminal import print_text
from eranntag.results.formats import printable

if TYPE_CHECKING:
    from eranntag.training.label_enhancement.enhance import Enhancement


def print_enhancement(result: Enhancement) -> None:
    """Print the totals, then a line for each class; a class without clips has no threshold."""
    print_text(*result.summary(), "")
    width = max(24, min(40, max(map(len, result.recipe.labels))))
    print_text(f"{'class':{width}} {'positives':>9} {'threshold':>9} {'added':>9} {'%':>9}")
    for row in result.per_class:
        threshold, percent = (row[name] if row["positives"] else float("nan") for name in ("threshold", "percent"))
        print_text(f"{printable(row['label']):{width}} {row['positives']:9d} {threshold:9.4f} {row['added']:9d} {percent:9.1f}")
