"""What people see: tables, bars, colours. The only file that imports rich; results go to stdout, the rest to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from eranntag import atomic
from eranntag.records import FORMATS, printable
from eranntag.types import Failure, Prediction

if TYPE_CHECKING:
    from eranntag.checkpoints.table import Row
    from eranntag.evaluation import Result


@contextmanager
def results(
    form: str, output: Path | None, top: int | None, threshold: float
) -> Iterator[Callable[[Prediction | Failure], bool]]:
    """Yield `show(result) -> failed`, which writes predictions to `output` or stdout and failures to stderr.

    However the block ends, the document is finished and so valid; only a file is left as it was after an error.
    """
    style = FORMATS[form](top, threshold) if form in FORMATS else _Blocks(top, threshold, color=output is None)
    interruption: BaseException | None = None
    with ExitStack() as stack:
        sys.stdout.flush()
        file = stack.enter_context(open(stack.enter_context(atomic.replace(output)), "wb")) if output else sys.stdout.buffer

        def write(text: str) -> None:
            file.write(text.encode("utf-8", "surrogateescape"))
            file.flush()

        def show(result: Prediction | Failure) -> bool:
            if isinstance(result, Failure):
                failure(result)
                return True
            write(style.record(result))
            return False

        write(style.start())
        try:
            yield show
        except BrokenPipeError:
            raise
        except BaseException as stop:
            if output and not isinstance(stop, KeyboardInterrupt | SystemExit):
                raise  # an error: the file stays as it was
            interruption = stop
        write(style.finish(complete=interruption is None))
    if interruption:
        raise interruption


class _Blocks:
    """For people: the file's name, then a line for each tag."""

    def __init__(self, top: int | None, threshold: float, color: bool) -> None:
        self.top, self.threshold = top, threshold
        self.console = Console(soft_wrap=True, highlight=False) if color else Console(file=sys.stderr, color_system=None)

    def start(self) -> str:
        return ""

    def record(self, prediction: Prediction) -> str:
        text = Text.assemble((printable(prediction.source or "clip"), "bold"), (f"  {prediction.seconds:.1f} s\n", "dim"))
        tags = prediction.top(self.top, self.threshold)
        for tag in tags:
            text.append(f"  {tag.score:.3f}  ", "cyan")
            text.append(f"{printable(tag.label)}\n")
        if not tags:
            text.append("  no tag reaches the threshold\n", "dim")
        with self.console.capture() as captured:
            self.console.print(text, end="", soft_wrap=True)
        return captured.get()

    def finish(self, complete: bool) -> str:
        return ""


def say(line: str) -> None:
    """A line on stderr; if nobody listens there any more, the work and its results still count."""
    try:
        print(line, file=sys.stderr, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def failure(result: Failure) -> None:
    """One line on stderr."""
    say(f"eranntag: {printable(result.source)}: {printable(result.reason)}")


@contextmanager
def progress(counts: Mapping[str, int]) -> Iterator[Callable[[], None]]:
    """Yield `step()`, which shows `counts` on stderr: only on a terminal, and not beside results on the same one."""
    if not sys.stderr.isatty() or sys.stdout.isatty():
        yield lambda: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda: bar.update(task, description=", ".join(f"{count} {name}" for name, count in counts.items()))


@contextmanager
def download_bar() -> Iterator[Callable[[int, int], None] | None]:
    """Yield `report(done, total)` in bytes, drawn on stderr; None without a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: list[Any] = []

        def report(done: int, total: int) -> None:
            if not tasks:
                tasks.append(bar.add_task("downloading", total=total))
            bar.update(tasks[0], completed=done, total=total)

        yield report


@contextmanager
def training_log() -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield a `report` for `training.loop.train`: one plain line an event, on stderr."""

    def report(event: dict[str, Any]) -> None:
        if (line := _training_line(event)) is not None:
            say(line)

    yield report


def _training_line(event: dict[str, Any]) -> str | None:
    if event["event"] == "decode":
        return f"decoded {event['total']} clips" if event["done"] == event["total"] else None
    if event["event"] == "train":
        pace = event["seconds"] / event["iteration"]
        left = (event["total"] - event["iteration"]) * pace / 60
        counted = f"iteration {event['iteration']}/{event['total']}  loss {event['loss']:.4f}  rate {event['lr']:.2e}"
        return f"{counted}  {pace:.2f} s an iteration  {left:.0f} min left"
    numbers = "  ".join(f"{name} {value:.4f}" for name, value in event.items() if isinstance(value, float))
    return f"iteration {event['iteration']}  held-out {numbers}"


def checkpoints(rows: Iterable[Row], default: str) -> None:
    """The table of names on stdout."""
    table = Table(box=None, pad_edge=False)
    for heading, justify in _COLUMNS.items():
        table.add_column(heading, justify=justify, no_wrap=True)
    for row in rows:
        table.add_row(*map(escape, _cells(row, default)))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    print("* the default")


def checkpoints_markdown(rows: Iterable[Row], default: str) -> None:
    """The same as a Markdown table."""
    print("| " + " | ".join(_COLUMNS) + " |")
    print("|" + "|".join("---:" if justify == "right" else "---" for justify in _COLUMNS.values()) + "|")
    for row in rows:
        print("| " + " | ".join(_cells(row, default)).replace("  ", " ") + " |")


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
    return (
        row.name + (" *" if row.name == default else ""),
        str(row.classes),
        f"{row.parameters:,}" if row.parameters else "",
        f"{row.size_bytes / 1e6:.1f} MB" if row.size_bytes else "",
        _measure(row.metrics),
        _measure(row.paper),
        row.weights.partition(":")[0] or "not published",
    )


def _measure(values: Mapping[str, Any]) -> str:
    return f"{values['metric']} {values['value']:.3f}" if "metric" in values and "value" in values else ""


def fields(values: Mapping[str, Any]) -> None:
    """Names and values, a line each, on stdout."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{key} {item}" for key, item in value.items())
        elif isinstance(value, tuple | list):
            value = ", ".join(map(str, value))
        print(f"{name + ':':18} {printable(str(value))}")


def evaluation(result: Result) -> None:
    """Accuracy, the table of classes and the commonest confusions on stdout."""
    fold = f", fold {result.fold}" if result.fold is not None else ""
    print(f"{result.checkpoint} on {result.recipe}{fold}: accuracy {result.accuracy:.4f} ({result.clips} clips)\n")
    if result.trained_on:
        print(f"{result.trained_on} of the clips were trained on: this says little about other sounds; choose --fold\n")
    print(f"{'class':24} {'clips':>5} {'recall':>7} {'precision':>9}")
    for label, clips, recall, precision in result.per_class():
        print(f"{printable(label):24} {clips:5d} {recall:7.2f} {precision:9.2f}")
    print("\nmost frequent confusions (true -> said)")
    for true, said, clips in result.confusions():
        print(f"{clips:4d}  {printable(true)} -> {printable(said)}")
