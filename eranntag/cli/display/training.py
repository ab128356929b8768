"""Training as people watch it: a moving line or plain ones, then what a run and a cross-validation came to. All on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from eranntag.cli.display.evaluation import comparison
from eranntag.cli.display.terminal import print_status
from eranntag.results.formats import printable
from eranntag.training.config import KEEP
from eranntag.training.events import (
    ClipSkipped,
    DatasetLoaded,
    Evaluated,
    Event,
    IterationDone,
    LossLogged,
    Report,
    RunFinished,
    RunResumed,
    RunStarted,
    StateSaved,
    StoppedEarly,
)
from eranntag.training.splits import SplitReview, count_shared_recordings
from eranntag.types import Published, Recipe

if TYPE_CHECKING:
    from eranntag.training.cross_validation import Run
    from eranntag.training.loop import Outcome
    from eranntag.training.probe import Probe


@contextmanager
def log(quiet: bool = False) -> Iterator[Report]:
    """Yield a `report` for `training.protocol.runs`: on a terminal one moving line beside the evaluations, else plain lines.

    `quiet` is for all processes but the first: they print only the broken clips that they read.
    """
    if quiet:
        yield lambda event: _say_all(_lines(event) if isinstance(event, ClipSkipped) else ())
        return
    if not sys.stderr.isatty():
        yield _Plain()
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(20))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def report(event: Event) -> None:
            if isinstance(event, IterationDone | LossLogged):
                progress = event if isinstance(event, IterationDone) else event.progress
                line = printable(" ".join(_lines(event)))
                bar.update(task, description=line, completed=progress.iteration, total=progress.total)
            elif isinstance(event, RunFinished):
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

    def __call__(self, event: Event) -> None:
        if isinstance(event, IterationDone) and time.monotonic() < self.quiet_until:
            return
        _say_all(_lines(event))
        self.quiet_until = time.monotonic() + (10 if isinstance(event, RunStarted) else 30)


def _say_all(lines: Iterable[str]) -> None:
    for line in lines:
        print_status(line)


def _lines(event: Event) -> Iterator[str]:
    match event:
        case DatasetLoaded(dataset):
            clips = f"{dataset.recipe.name}: {len(dataset.examples)} clips"
            yield clips + (f", {len(dataset.missing)} missing: {_some(dataset.missing)}" if dataset.missing else "")
            yield from dataset.notes
        case RunStarted(folder, fold, seed, review):
            splits = review.splits
            without = f"without fold {fold}: " if fold is not None else ""
            counts = f"{len(splits.training)} clips to train on, {len(splits.held_out)} held out, {len(splits.test)} to test"
            yield f"{folder}: {without}{counts}, seed {seed}"
            yield from _warnings(review)
        case RunResumed(iteration):
            yield f"going on after iteration {iteration}"
        case ClipSkipped(source, reason):
            yield f"eranntag: {source}: {reason} (left out)"
        case IterationDone():
            yield _progress(event)
        case LossLogged(progress, loss, learning_rate):
            yield _progress(progress, f"  loss {loss:.4f}  rate {learning_rate:.2e}")
        case Evaluated(iteration, measures):
            yield f"iteration {iteration}  held-out {_numbers(measures)}"
        case StoppedEarly(iteration, best_iteration):
            yield f"stopped at iteration {iteration}: nothing better since iteration {best_iteration}"
        case StateSaved(iteration):
            yield f"saved after iteration {iteration}: the same command goes on from there"


def _progress(progress: IterationDone, numbers: str = "") -> str:
    left = _duration((progress.total - progress.iteration) * progress.seconds / progress.iteration)
    speed = f"{progress.clips / max(progress.seconds, 1e-9):.1f} clips/s"
    return f"iteration {progress.iteration}/{progress.total}{numbers}  {speed}  {left} left"


def _warnings(review: SplitReview) -> Iterator[str]:
    """The reasons for which a run's measures may mislead."""
    if shared := count_shared_recordings(review.splits):
        yield f"{shared} recordings have clips on both sides of the split"
    if untrained := review.untrained_labels:
        yield f"{len(untrained)} classes without any clip to train on: {_some(untrained)}"
    if seen := review.seen_by_base:
        yield f"{seen} of the clips to be measured were in the training set of the checkpoint that is fine-tuned: its measures"
        yield "will be too good; leave out the fold that it left out itself"
    if seen := review.seen_by_teacher:
        yield f"warning: the teacher was trained on {seen} of the clips to be measured: take one that left them out"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")


def _numbers(measures: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in measures.items() if isinstance(value, float))


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
    print_status(comparison(ours, paper, f"{table}, {how}"))
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
    _say_all(_lines(DatasetLoaded(dataset)))


def probe(recipe: Recipe, done: Probe, base: str, review: SplitReview) -> None:
    """Print what a probe was fitted on and its measures, on stderr."""
    _say_all(_warnings(review))
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
