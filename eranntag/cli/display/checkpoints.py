"""The tables of checkpoints and of the papers' models, for people and as Markdown."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from eranntag.cli.display.terminal import print_text, write_output
from eranntag.results.formats import printable

if TYPE_CHECKING:
    from eranntag.checkpoints.catalog import Paper, Row

Columns = Mapping[str, Literal["left", "right"]]

CHECKPOINTS: Columns = {
    "name": "left",
    "labels": "left",
    "result": "left",
    "parameters": "right",
    "size": "right",
    "sample rate": "right",
    "license": "left",
    "weights": "left",
}
PAPERS: Columns = {
    "name": "left",
    "classes": "right",
    "parameters": "right",
    "paper": "left",
    "source": "left",
    "trained by": "left",
}


def print_table(columns: Columns, rows: Iterable[Sequence[str]], notes: Sequence[str] = ()) -> None:
    """Print a table on standard output, with `notes` below it."""
    table = Table(box=None, pad_edge=False)
    for heading, justify in columns.items():
        table.add_column(heading, justify=justify, no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))  # so that no cell is markup
    console = Console(width=None if sys.stdout.isatty() else 240)
    with console.capture() as captured:
        console.print(table)
    write_output(captured.get(), finished=True)
    print_text(*notes)


def print_markdown(columns: Columns, rows: Iterable[Sequence[str]], notes: Sequence[str] = ()) -> None:
    """Print the table as Markdown, without `notes`."""
    print_text("| " + " | ".join(columns) + " |")
    print_text("|" + "|".join("---:" if justify == "right" else "---" for justify in columns.values()) + "|")
    for row in rows:
        print_text("| " + " | ".join(cell.replace("|", "\\|") for cell in row).replace("  ", " ") + " |")


def checkpoint_cells(row: Row, place: str, default: str) -> tuple[str, ...]:
    """Return the cells of a checkpoint in the table CHECKPOINTS; `place` is where its weights are."""
    cells = (
        row.name + (" *" if row.name == default else ""),
        f"{row.labels} ({row.classes})" if row.labels else f"{row.classes} classes",
        _metric(row.metrics) or _metric(row.paper),
        f"{row.parameters:,}" if row.parameters else "",
        f"{row.size_bytes / 1e6:.1f} MB" if row.size_bytes else "",
        f"{row.sample_rate_hz / 1000:g} kHz" if row.sample_rate_hz else "",
        row.licence,
        f"ensemble of {len(row.members)}" if row.members else place,
    )
    return tuple(map(printable, cells))


def paper_cells(row: Paper) -> tuple[str, ...]:
    """Return the cells of a paper's model in the table PAPERS."""
    parameters = f"{row.parameters:,}" if row.parameters else ""
    cells = (row.name, str(row.classes), parameters, _metric(row.paper), row.source, row.command)
    return tuple(map(printable, cells))


def _metric(values: Mapping[str, Any]) -> str:
    return f"{values['metric']} {values['value']:.3f}" if "metric" in values and "value" in values else ""
