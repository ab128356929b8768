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
from eranntag.types import Failure, Prediction, Published, Recipe

if TYPE_CHECKING:
    from eranntag.checkpoints.table import Row
    from eranntag.evaluation import Result
    from eranntag.training.protocol import Run


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
def training_log(quiet: bool = False) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield a `report` for `training.protocol.runs`: on a terminal one moving line beside the evaluations, else plain lines."""
    if quiet:
        yield lambda event: None
        return
    if not sys.stderr.isatty():
        yield lambda event: _say_all(_training_lines(event))
        return
    with Progress(TextColumn("{task.description}"), BarColumn(20), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def report(event: dict[str, Any]) -> None:
            if event["event"] == "train":
                line = escape(" ".join(_training_lines(event)))
                bar.update(task, description=line, completed=event["iteration"], total=event["total"])
            else:
                for line in _training_lines(event):
                    bar.console.print(Text(line), soft_wrap=True)

        yield report


def _say_all(lines: Iterable[str]) -> None:
    for line in lines:
        say(line)


def _training_lines(event: dict[str, Any]) -> Iterator[str]:
    kind = event["event"]
    if kind == "data":
        missing = event["missing"]
        named = ", ".join(map(printable, missing[:5])) + (" ..." if len(missing) > 5 else "")
        yield f"{event['recipe']}: {event['clips']} clips" + (f", {len(missing)} missing: {named}" if missing else "")
    elif kind == "begin":
        fold = f"fold {event['fold']} held out, " if event["fold"] is not None else ""
        yield f"{event['folder']}: {fold}{event['training']} clips to train on, seed {event['seed']}"
    elif kind == "broken":
        yield f"eranntag: {printable(event['source'])}: {printable(event['reason'])} (left out)"
    elif kind == "train":
        pace = event["seconds"] / event["iteration"]
        counted = f"iteration {event['iteration']}/{event['total']}  loss {event['loss']:.4f}  rate {event['lr']:.2e}"
        left = _duration((event["total"] - event["iteration"]) * pace)
        yield f"{counted}  {event['clips'] / max(event['seconds'], 1e-9):.1f} clips/s  {left} left"
    elif kind == "evaluate":
        yield f"iteration {event['iteration']}  held-out {_numbers(event)}"
    elif kind == "stopped":
        yield f"stopped at iteration {event['iteration']}: nothing better since iteration {event['best_iteration']}"


def _numbers(event: Mapping[str, Any]) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in event.items() if isinstance(value, float))


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def run(recipe: Recipe, done: Run, paper: Published | None, base: str = "") -> None:
    """What a run did and came to, in words, on stderr."""
    settings, division, outcome = done.settings, done.division, done.outcome
    clips = f"{len(division.training)} clips of {len(recipe.labels)} classes ({printable(recipe.title)})"
    how = f"fine-tuned {base}: new {settings.head}, everything else kept and trained on" if base else "trained from scratch:"
    say(f"{settings.model} {how} {clips}, {outcome.iterations} of {settings.iterations} iterations")
    if outcome.best is not None:
        held = "held-out clips, which the training never saw"
        say(f"{len(division.held_out)} {held}: {recipe.metric} {outcome.last:.4f} at the end, {outcome.best:.4f} at its best (iteration {outcome.best_iteration})")
        chosen = "its best, by those very clips" + ("" if done.test is not None else ": a little too good, as in the papers")
        say(f"selected: {chosen if done.select == 'best' else 'the last'}")
    if done.test is not None:
        say(f"{len(division.test)} test clips, which decided nothing: {recipe.metric} {done.test:.4f}")
    if paper and done.value is not None:
        say(_beside(done.value, paper.value, f"{paper.table}, {paper.how}"))


def cross_validation(result: Mapping[str, Any], path: Path) -> None:
    """Mean and standard deviation over the runs, beside the paper's number, on stderr."""
    count = len(result["runs"])
    for name in ("last", "best", "test"):
        if name in result:
            spread = f" +- {result[name]['sd']:.4f}" if result[name]["sd"] is not None else ""
            chosen = "  (selected)" if name == result["selection"] and "test" not in result else ""
            say(f"{count} runs, {name}: {result['metric']} {result[name]['mean']:.4f}{spread}{chosen}")
    if paper := result.get("paper"):
        ours = result["test" if "test" in result else result["selection"]]["mean"]
        say(_beside(ours, paper["value"], f"{paper['table']}, {paper['how']}"))
    say(str(path))


def _beside(ours: float, paper: float, where: str) -> str:
    return f"ours {ours:.4f}  paper {paper:.3f} ({where})  difference {ours - paper:+.4f}"


def packing(shard: str, done: int, total: int, clips_per_second: float) -> None:
    """A line on stderr for a finished shard."""
    left = (total - done) / clips_per_second / 60
    say(f"{shard}: {done} of {total} clips  {clips_per_second:.0f} clips/s  {left:.0f} min left")


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


def evaluation(result: Result, paper: bool = False) -> None:
    """The measures, the paper's if asked for, the table of classes and the commonest confusions on stdout."""
    print("\n".join(map(printable, result.summary())) + "\n")
    if paper:
        rows = [_beside(row["ours"], row["paper"], f"{row['table']}, {row['how']}") for row in result.paper()]
        print("\n".join(rows or [result.unpublished()]) + "\n")
    width = max(24, min(40, max(map(len, result.recipe.labels))))
    print(f"{'class':{width}} " + " ".join(f"{name:>9}" for name in result.per_class[0] if name != "label"))
    for row in result.per_class:
        values = (f"{value:9d}" if isinstance(value, int) else f"{value:9.3f}" for value in list(row.values())[1:])
        print(f"{printable(row['label']):{width}} {' '.join(values)}")
    if mistakes := result.confusions():
        print("\nmost frequent confusions (true -> said)")
    for true, said, clips in mistakes:
        print(f"{clips:4d}  {printable(true)} -> {printable(said)}")
