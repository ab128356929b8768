"""The table of checkpoints, for people and as Markdown."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from eranntag.records import printable
from eranntag.terminal import give, tell

if TYPE_CHECKING:
    from eranntag.checkpoints.table import Row


def checkpoints(rows: Iterable[Row], default: str) -> None:
    """The table of names on stdout."""
    table = Table(box=None, pad_edge=False)
    for heading, justify in _COLUMNS.items():
        table.add_column(heading, justify=justify, no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, _cells(row, default)))  # which is no markup
    console = Console(width=None if sys.stdout.isatty() else 160)
    with console.capture() as captured:
        console.print(table)
    give(captured.get(), finished=True)
    tell("* the default")


def checkpoints_markdown(rows: Iterable[Row], default: str) -> None:
    """The same as a Markdown table."""
    tell("| " + " | ".join(_COLUMNS) + " |")
    tell("|" + "|".join("---:" if justify == "right" else "---" for justify in _COLUMNS.values()) + "|")
    for row in rows:
        tell("| " + " | ".join(cell.replace("|", "\\|") for cell in _cells(row, default)).replace("  ", " ") + " |")


_COLUMNS: dict[str, Literal["left", "right"]] = {
    "name": "left",
    "classes": "right",
    "parameters": "right",
    "size": "right",
    "measured": "left",
    "paper": "left",
    "weights": "left",
}


def _cells(row: Row, default: str) -> tuple[str, ...]:
    cells = (
        row.name + (" *" if row.name == default else ""),
        str(row.classes),
        f"{row.parameters:,}" if row.parameters else "",
        f"{row.size_bytes / 1e6:.1f} MB" if row.size_bytes else "",
        _measure(row.metrics),
        _measure(row.paper),
        f"ensemble of {len(row.members)}" if row.members else row.weights.partition(":")[0] or "not published",
    )
    return tuple(map(printable, cells))


def _measure(values: Mapping[str, Any]) -> str:
    return f"{values['metric']} {values['value']:.3f}" if "metric" in values and "value" in values else ""
