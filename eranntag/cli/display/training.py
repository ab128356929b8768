"""Training as people watch it: a moving line or plain ones, then what a run and a cross-validation came to. All on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from eranntag.cli.display.predictions import beside
from eranntag.cli.display.terminal import print_status
from eranntag.results.formats import printable
from eranntag.training.config import KEEP
from eranntag.training.splits import count_shared_recordings
from eranntag.types import Published, Recipe

if TYPE_CHECKING:
    from eranntag.training.cross_validation import Run
    from eranntag.training.loop import Outcome
    from eranntag.training.probe import Probe


@contextmanager
def log(quiet: bool = False) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield a `report` for `training.protocol.runs`: on a terminal one moving line beside the evaluations, else plain lines.

    `quiet` is for all processes but the first: they tell only of the broken clips that they met.
    """
    if quiet:
        yield lambda event: _say_all(_lines(event) if event["event"] == "broken" else ())
        return
    if not sys.stderr.isatty():
        yield _Plain()
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(20))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def report(event: dict[str, Any]) -> None:
            if event["event"] in ("train", "pace"):
                line = printable(" ".join(_lines(event)))
                bar.update(task, description=line, completed=event["iteration"], total=event["total"])
            elif event["event"] == "end":
                bar.stop()  # what comes next is for standard output too
            else:
                bar.start()
                for line in _lines(event):
                    bar.console.print(Text(printable(line)), soft_wrap=True)

        yield report


class _Plain:
    """Lines for a log file. Between those of the history there is one every half minute, the first after ten seconds."""

    def __init__(self) -> None:
        self.quiet_until = time.monotonic() + 10

    def __call__(self, event: dict[str, Any]) -> None:
        if event["event"] == "pace" and time.monotonic() < self.quiet_until:
            return
        _say_all(_lines(event))
        self.quiet_until = time.monotonic() + (10 if event["event"] == "begin" else 30)


def _say_all(lines: Iterable[str]) -> None:
    for line in lines:
        print_status(line)


def _lines(event: dict[str, Any]) -> Iterator[str]:
    kind = event["event"]
    if kind == "data":
        dataset = event["dataset"]
        missing = dataset.missing
        there = f"{dataset.recipe.name}: {len(dataset.examples)} clips"
        yield there + (f", {len(missing)} missing: {_some(missing)}" if missing else "")
        yield from dataset.notes
    elif kind == "begin":
        splits = event["splits"]
        fold = f"without fold {event['fold']}: " if event["fold"] is not None else ""
        counts = f"{len(splits.training)} clips to train on, {len(splits.held_out)} held out, {len(splits.test)} to test"
        yield f"{event['folder']}: {fold}{counts}, seed {event['seed']}"
        yield from _doubts(event)
    elif kind == "broken":
        yield f"eranntag: {event['source']}: {event['reason']} (left out)"
    elif kind in ("train", "pace"):
        numbers = f"  loss {event['loss']:.4f}  rate {event['lr']:.2e}" if kind == "train" else ""
        left = _duration((event["total"] - event["iteration"]) * event["seconds"] / event["iteration"])
        speed = f"{event['clips'] / max(event['seconds'], 1e-9):.1f} clips/s"
        yield f"iteration {event['iteration']}/{event['total']}{numbers}  {speed}  {left} left"
    elif kind == "resume":
        yield f"going on after iteration {event['iteration']}"
    elif kind == "saved":
        yield f"saved after iteration {event['iteration']}: the same command goes on from there"
    elif kind == "evaluate":
        yield f"iteration {event['iteration']}  held-out {_numbers(event)}"
    elif kind == "stopped":
        yield f"stopped at iteration {event['iteration']}: nothing better since iteration {event['best_iteration']}"


def _doubts(event: Mapping[str, Any]) -> Iterator[str]:
    """What makes a run's measures say less than they seem to."""
    if both := count_shared_recordings(event["splits"]):
        yield f"{both} recordings have clips on both sides of the split"
    if silent := event["silent"]:
        yield f"{len(silent)} classes without any clip to train on: {_some(silent)}"
    if known := event["known"]:
        yield f"{known} of the clips to be measured were in the training set of the checkpoint that is fine-tuned: its measures"
        yield "will be too good; leave out the fold that it left out itself"
    if leaked := event["leaked"]:
        yield f"warning: the teacher was trained on {leaked} of the clips to be measured: take one that left them out"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")


def _numbers(event: Mapping[str, Any]) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in event.items() if isinstance(value, float))


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def run(recipe: Recipe, done: Run, paper: tuple[Published, str] | None, base: str = "") -> None:
    """What a run did and came to, in words; `paper` is a row and what was done otherwise."""
    _say_all(_told(recipe, done, base))
    if paper and done.value is not None:
        row, odd = paper
        _compare(done.value, row.value, row.table, row.how, odd)


def _compare(ours: float, paper: float, table: str, how: str, odd: str) -> None:
    print_status(beside(ours, paper, f"{table}, {how}"))
    if odd:
        print_status(f"but with other settings than the paper's: {odd}")


def _told(recipe: Recipe, done: Run, base: str) -> Iterator[str]:
    settings, splits, outcome, metric = done.settings, done.splits, done.outcome, recipe.metric
    clips = f"{len(splits.training) - outcome.left_out} clips of {len(recipe.labels)} classes ({recipe.title})"
    head = "the head it had" if settings.head == KEEP else f"a new {settings.head}"
    how = f"fine-tuned from {base}, with {head}," if base else "trained from scratch"
    yield f"{settings.model} {how} on {clips}: {outcome.iterations} of {settings.iterations} iterations"
    if settings.teacher_weight:
        yield f"soft labels: {settings.teacher_weight:g} of each target by {settings.teacher}"
    if outcome.best is None:
        yield "no clips were held out: nothing was measured during the run, and the last checkpoint is its result"
    else:
        best = f"{outcome.best:.4f} at its best (iteration {outcome.best_iteration})"
        yield f"on {outcome.held_out} held-out clips: {metric} {outcome.last:.4f} at the end, {best}"
        optimistic = "" if done.test is not None else ": a little too good, as in the papers"
        yield f"selected: {f'the best by those clips{optimistic}' if done.select == 'best' else 'the last'}"
        if done.calibrated:
            yield "thresholds: the score from which a class counts as present, best F1 on those clips, is in the checkpoint"
    if done.test is not None:
        yield f"on {len(splits.test)} test clips, which decided nothing: {metric} {done.test:.4f}"


def data(dataset: Any) -> None:
    """How many clips there are, and which are missing, on stderr."""
    _say_all(_lines({"event": "data", "dataset": dataset}))


def probe(recipe: Recipe, done: Probe, base: str, circumstances: Mapping[str, Any]) -> None:
    """What a probe was fitted on and what it reaches, on stderr; `circumstances` are `protocol.circumstances`."""
    _say_all(_doubts(circumstances))
    fold = f"without fold {done.fold}, " if done.fold is not None else ""
    how = "without cross-validation, for lack of recordings"
    if done.regression.log_loss is not None:
        how = f"by cross-validation ({recipe.metric} {done.validated:.4f}, log loss {done.regression.log_loss:.4f})"
    classes = f"{done.trained} clips of {len(recipe.labels)} classes ({recipe.title}, {fold}seed {done.seed})"
    print_status(f"probe on {base}: {classes}, strength C {done.regression.strength:.3g} {how}")
    if done.calibrated:
        print_status(
            "thresholds: the score from which a class counts as present, best F1 in the cross-validation, is in the checkpoint"
        )
    if done.value is not None:
        print_status(f"on {done.measured} clips that it was not fitted on: {recipe.metric} {done.value:.4f}")


def distilled(settings: Mapping[str, Any], outcome: Outcome) -> None:
    """What a run of distillation reached, on stderr."""
    print_status(
        f"{settings['model']} distilled from {settings['teacher']}: {outcome.iterations} iterations of {settings['batch']}"
    )
    if outcome.best is not None:
        best = f"{outcome.best:.4f} at its best (iteration {outcome.best_iteration})"
        print_status(f"{outcome.metric} {outcome.last:.4f} at the end, {best}")


def cross_validation(result: Mapping[str, Any], path: Path) -> None:
    """Mean and standard deviation over the runs, beside the paper's number, on stderr."""
    count = len(result["runs"])
    for name in ("last", "best", "test"):
        if name in result:
            spread = f" +- {result[name]['sd']:.4f}" if result[name]["sd"] is not None else ""
            chosen = "  (selected)" if name == result["selection"] and "test" not in result else ""
            print_status(f"{count} runs, {name}: {result['metric']} {result[name]['mean']:.4f}{spread}{chosen}")
    if paper := result.get("paper"):
        ours = result["test" if "test" in result else result["selection"]]["mean"]
        _compare(ours, paper["value"], paper["table"], paper["how"], paper["other_settings"])
    print_status(str(path))
