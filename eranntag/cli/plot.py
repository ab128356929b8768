"""eranntag plot: a training run's history -> curves."""

import json
import math
from pathlib import Path
from typing import Any

import click

from eranntag.cli.display import terminal


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    show_default="RUN/history.png",
    help="Write the figure to FILE, .png.",
)
def command(run: Path, output: Path | None) -> None:
    """Draw the loss, the held-out metric and the learning rate of RUN: a run's folder, or one that holds several."""
    from eranntag.visualization import figures, history

    if not (paths := _histories(run)):
        raise click.UsageError(f"{run}: no training run: neither it nor a folder in it holds a history.jsonl")
    path = output or run / "history.png"
    figures.check(path, "--output", (".png",))
    history.draw({name: read_history(file) for name, file in paths.items()}, path)
    terminal.write_output(f"{path}\n")


def _histories(run: Path) -> dict[str, Path]:
    """Return the history file of each run by the run's name."""
    if (run / "history.jsonl").is_file():
        return {run.resolve().name: run / "history.jsonl"}
    return {path.parent.name: path for path in sorted(run.glob("*/history.jsonl"))}


def read_history(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a history.jsonl. Raises EranntagError for an empty or damaged file."""
    from eranntag.errors import EranntagError
    from eranntag.files import bounded

    lines = bounded.read_text(path).splitlines()
    if not lines:
        raise EranntagError(f"{path}: empty: the run has nothing to show yet")
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            if not math.isfinite(iteration := float(row["iteration"])):
                raise ValueError
            rows.append({**row, "iteration": iteration})
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            damage = f"line {number} of {len(lines)} is no row of a history; it is cut short or damaged"
            raise EranntagError(f"{path}: {damage}") from None
    return rows
