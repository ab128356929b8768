"""Progress on standard error, shown on terminals only."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


@contextmanager
def progress(counts: Mapping[str, int]) -> Iterator[Callable[[], None]]:
    """Yield `refresh()`, which shows `counts`; nothing is shown if results are printed on the same terminal."""
    if not sys.stderr.isatty() or sys.stdout.isatty():
        yield lambda: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda: bar.update(task, description=", ".join(f"{count} {name}" for name, count in counts.items()))


@contextmanager
def counter(name: str) -> Iterator[Callable[[], None]]:
    """Yield `count()`, which adds one to the number that is shown, as in "12 evaluated"."""
    counts = {name: 0}
    with progress(counts) as refresh:

        def count() -> None:
            counts[name] += 1
            refresh()

        yield count


@contextmanager
def download_bar() -> Iterator[Callable[[int, int], None] | None]:
    """Yield `report(done, total)` in bytes; None without a terminal."""
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
