"""What people see: results, bars, colours. The only place that imports rich; results go to stdout, the rest to stderr.

Here: what all commands share. `training` shows runs, `tables` checkpoints.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from eranntag.cli.display import terminal
from eranntag.cli.display.terminal import print_status, print_text
from eranntag.inference.sources import STDIN
from eranntag.results.formats import FORMATS, Json, encoded, printable
from eranntag.results.resumable_file import ResumableFile
from eranntag.results.resumable_folder import ResumableFolder
from eranntag.types import Failure, Prediction

if TYPE_CHECKING:
    from eranntag.evaluation.sed import DetectionResult
    from eranntag.evaluation.tagging import TaggingResult

LONGEST_NAME_BYTES = 255  # of a file in a folder
Show = Callable[[Any], bool]


def results(
    form: str, output: ResumableFile | None, top: int | None, threshold: float, beside: bool = False
) -> AbstractContextManager[Show]:
    """A `document` of predictions, of each the `top` tags with at least `threshold`."""
    style = FORMATS[form](top, threshold) if form in FORMATS else Blocks(top, threshold, color=output is None)
    return document(style, output, beside)


@contextmanager
def document(style: Any, output: ResumableFile | None, beside: bool = False) -> Iterator[Show]:
    """Yield `show(result) -> failed`, which writes results to `output` or stdout in `style` (see `results.formats`), and
    failures to stderr.

    However the block ends, the document is finished and so valid; only after an error a file is left for another run to go on.
    Whoever closes the pipe that stdout is has enough: BrokenPipeError, but where something else is made `beside` the document.
    """
    interruption: BaseException | None = None

    def write(text: str, source: str | None = None) -> None:
        if output:
            output.write(encoded(text), source)
            return
        try:
            terminal.write_output(text, finished=isinstance(style, Blocks))
        except BrokenPipeError:
            if not beside:
                raise
            terminal.redirect_to_devnull(sys.stdout)

    if output and isinstance(style, Json):
        style.count = output.records
    if not output or output.is_empty:
        write(style.start())
    try:
        yield showing(lambda result: write(style.record(result), result.source))
    except BrokenPipeError:
        raise
    except BaseException as stop:
        if output and not isinstance(stop, KeyboardInterrupt | SystemExit):
            raise
        interruption = stop
    end = style.finish(complete=interruption is None)
    if output:
        output.finish(encoded(end), complete=interruption is None)
    else:
        write(end)
    if interruption:
        raise interruption


def showing(write: Callable[[Any], object]) -> Show:
    """`show(result) -> failed`: a failure is a line on stderr, what else comes is for `write`."""

    def show(result: Any) -> bool:
        if isinstance(result, Failure):
            failure(result)
            return True
        write(result)
        return False

    return show


@contextmanager
def folder(place: ResumableFolder, suffix: str, content: Callable[[Any], bytes]) -> Iterator[Show]:
    """Yield `show(result) -> failed`, which writes the `content` of a sound's result into `place`, under the sound's name."""

    def show(result: Any) -> bool:
        if not isinstance(result, Failure):
            name = _file_name("stdin" if result.source == STDIN else Path(result.source).stem, suffix)
            if not (refusal := place.write(name, result.source, content(result))):
                return False
            result = Failure(result.source, refusal)
        failure(result)
        return True

    yield show


def _file_name(stem: str, suffix: str) -> str:
    """One that file systems take: instead of what is too long stands the beginning of its SHA-256."""
    name = os.fsencode(stem)
    if len(name) + len(suffix) > LONGEST_NAME_BYTES:
        digest = "-" + hashlib.sha256(name).hexdigest()[:12]
        stem = name[: LONGEST_NAME_BYTES - len(suffix) - len(digest)].decode("utf-8", "ignore") + digest
    return stem + suffix


class Blocks:
    """For people: the file's name, then a line for each tag."""

    def __init__(self, top: int | None, threshold: float, color: bool) -> None:
        self.top, self.threshold = top, threshold
        self.console = Console(soft_wrap=True, highlight=False) if color else Console(file=sys.stderr, color_system=None)

    def start(self) -> str:
        return ""

    def record(self, prediction: Prediction) -> str:
        text = heading(prediction)
        tags = prediction.top(self.top, self.threshold)
        for tag in tags:
            text.append(f"  {tag.score:.3f}  ", "cyan")
            text.append(f"{printable(tag.label)}\n")
        if not tags:
            text.append("  no tag reaches the threshold\n", "dim")
        return self.printed(text)

    def printed(self, text: Text) -> str:
        with self.console.capture() as captured:
            self.console.print(text, end="", soft_wrap=True)
        return captured.get()

    def finish(self, complete: bool) -> str:
        return ""


def heading(result: Any) -> Text:
    """What was heard, and how long it is."""
    return Text.assemble((printable(result.source or "clip"), "bold"), (f"  {result.seconds:.1f} s\n", "dim"))


def failure(result: Failure) -> None:
    """One line on stderr."""
    print_status(f"eranntag: {result.source}: {result.reason}")


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


def packing(shard: str, done: int, total: int, clips_per_second: float) -> None:
    """A line on stderr for a finished shard."""
    left = (total - done) / clips_per_second / 60
    print_status(f"{shard}: {done} of {total} clips  {clips_per_second:.0f} clips/s  {left:.0f} min left")


def fields(values: Mapping[str, Any]) -> None:
    """Names and values, a line each, on stdout."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{key} {item}" for key, item in value.items())
        elif isinstance(value, tuple | list):
            value = ", ".join(map(str, value))
        print_text(f"{name + ':':18} {value}")


def beside(ours: float, paper: float, where: str) -> str:
    return f"ours {ours:.4f}  paper {paper:.3f} ({where})  difference {ours - paper:+.4f}"


def _where(row: Mapping[str, Any]) -> str:
    return f"{row['table']}, {row['how']}"


def evaluation(result: TaggingResult, paper: bool = False) -> None:
    """The measures, the paper's if asked for, the table of classes and the commonest confusions on stdout."""
    print_text(*result.summary(), "")
    if paper:
        rows = [f"{row['metric']}: " + beside(row["ours"], row["paper"], _where(row)) for row in result.paper()]
        print_text(*(rows or [result.unpublished()]), "")
    _classes(result.per_class)
    if mistakes := result.confusions():
        print_text("", "most frequent confusions (true -> said)")
    for true, said, clips in mistakes:
        print_text(f"{clips:4d}  {true} -> {said}")


def found_events(result: DetectionResult) -> None:
    """The measures of events and their table of classes on stdout."""
    print_text("", *result.summary(), "")
    _classes(result.per_class)


def _classes(rows: Sequence[Mapping[str, Any]]) -> None:
    """A table: a line for each class, its label first."""
    label_width = max(24, min(40, max(len(row["label"]) for row in rows)))
    names = [name for name in rows[0] if name != "label"]
    print_text(f"{'class':{label_width}} " + " ".join(f"{name:>9}" for name in names))
    for row in rows:
        cells = (f"{row[name]:{max(9, len(name))}{'d' if isinstance(row[name], int) else '.3f'}}" for name in names)
        print_text(f"{printable(row['label']):{label_width}} {' '.join(cells)}")
