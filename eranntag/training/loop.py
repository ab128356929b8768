"""A run from its beginning to its end: data + settings -> checkpoints in a folder, resumable at any moment.

The folder holds `state.safetensors` (to resume from), `last.safetensors` and `best.safetensors` (checkpoints for `predict`,
with the averaged weights), `iteration-*.safetensors` every `keep_every` iterations, and `history.jsonl`.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from eranntag import models
from eranntag.checkpoints import weights
from eranntag.engines.eager import Eager
from eranntag.errors import TrainingError
from eranntag.files import atomic
from eranntag.inference.network import Network
from eranntag.training import initialization, run_directory, signals, state as saved
from eranntag.training.agreement import Agreement
from eranntag.training.config import Settings
from eranntag.training.data import KEEP_BYTES, Batches, SampledBatch, WaveformCache, report_skipped
from eranntag.training.distillation import Lesson
from eranntag.training.distributed import Machine, local_world_size
from eranntag.training.events import Evaluated, IterationDone, LossLogged, Report, RunResumed, StateSaved, StoppedEarly
from eranntag.training.samplers import SAMPLERS, WithPartners
from eranntag.training.soft_labels import SoftLabels
from eranntag.training.splits import Splits
from eranntag.training.trainer import Trainer
from eranntag.training.validation import Validation
from eranntag.types import Recipe

SAVE_SECONDS = 60


@dataclass(frozen=True)
class Outcome:
    """The result of a run: `last` and `best` of the `held_out` clips that could be read, None without any. `left_out` clips of
    the training part could not."""

    folder: Path
    metric: str
    last: float | None
    best: float | None
    best_iteration: int
    iterations: int
    held_out: int = 0
    left_out: int = 0

    def checkpoint(self, select: str) -> Path:
        """`select` is "last" or "best"; without an evaluation there is no best."""
        return self.folder / f"{select if self.best is not None else 'last'}.safetensors"


def train(
    recipe: Recipe,
    splits: Splits,
    settings: Settings,
    folder: Path,
    machine: Machine,
    held: ExitStack,
    base: Network | None = None,
    restart: bool = False,
    report: Report = lambda _: None,
    lesson: Lesson | None = None,
    soft_labels: SoftLabels | None = None,
) -> Outcome:
    """Train to `settings.iterations`, or resume the run in `folder`. `base` is fine-tuned; without one the network is new. The
    folder is locked until `held` ends. With a `lesson` its teacher labels the clips (distillation); `soft_labels` mixes a
    teacher's scores into the clips' own targets.

    However a run is stopped, it resumes from the last whole iteration that was saved, at most a minute ago (several processes:
    at the first row of the history after that minute), and ends with the same numbers.
    """
    resumed = (folder / run_directory.STATE).exists() and not restart
    network = initialization.network(recipe, settings, base, settings.pretrained and not resumed)
    if not (base or resumed) and isinstance(network.model, models.StandardizingModel):
        initialization.standardize(network, splits.training, machine)
    augment = initialization.augmentation(settings, network)
    shares = machine.world.shares(settings.batch, settings.accumulate)
    run_directory.begin(folder, machine.world, restart, held)
    teacher_size = lesson.teacher.tagger.embedding_size if lesson and settings.embedding_weight else None
    trainer = Trainer(recipe, settings, machine, augment, network, teacher_size)
    loop = TrainingLoop(trainer, folder, report)
    if machine.world.gather([(folder / run_directory.STATE).exists()])[0]:
        saved.resume(trainer.state, settings, folder / run_directory.STATE)
        loop.write_history()  # the run may have ended between the two
    if len(set(machine.world.gather([trainer.state.iteration]))) > 1:
        raise TrainingError(f"{folder}: the processes see different states there; it must be one folder for all of them")
    outcome = loop.run(splits, shares, lesson, soft_labels)
    machine.world.wait()
    return outcome


class TrainingLoop:
    """Repeats the step of `trainer`, logs, evaluates and saves, in `folder`."""

    def __init__(self, trainer: Trainer, folder: Path, report: Report) -> None:
        self.trainer, self.folder, self.report = trainer, folder, report
        self.recipe, self.settings, self.state = trainer.recipe, trainer.settings, trainer.state
        self.machine = trainer.machine
        self.losses: list[torch.Tensor] = []  # of the iterations since `check_losses`
        self.log_every = max(1, min(50, self.settings.iterations // 20))
        self.saved_at = time.monotonic()

    def run(
        self, splits: Splits, shares: list[slice], lesson: Lesson | None = None, soft_labels: SoftLabels | None = None
    ) -> Outcome:
        """Iterate to the end. `shares`: this process's parts of a batch."""
        rate_hz = self.trainer.network.frontend.config.sample_rate_hz
        keep_bytes = KEEP_BYTES // local_world_size()
        training = WaveformCache(splits.training, rate_hz, keep_bytes, report_skipped(self.report))
        held_out = WaveformCache(splits.held_out, rate_hz, keep_bytes // 4, report_skipped(self.report))
        self.validation: Validation | Agreement
        self.validation = Validation(held_out, self.recipe.metric, self.machine.world, self.machine.workers)
        if lesson:
            self.validation = Agreement(self.validation, lesson.teacher.tagger, lesson.zero_shot)
        if self.state.iteration:
            self.report(RunResumed(self.state.iteration))
        if not self.finished():
            if not self.state.iteration:
                self.save()  # before hours of work: is there room? And no checkpoint is ever without a state
            with signals.postponed() if self.machine.world.size == 1 else nullcontext(lambda: None) as pending_stop:
                self.iterate(self.batches(training, shares, lesson, soft_labels), pending_stop)
            self.export("last")
            self.save()  # after the checkpoint: a state that is finished has one
        return self.outcome(left_out=len(training.broken))

    def finished(self) -> bool:
        return self.stopped_early() or self.state.iteration >= self.settings.iterations

    def stopped_early(self) -> bool:
        return 0 < self.settings.patience <= self.state.waiting

    def batches(
        self, waveforms: WaveformCache, shares: list[slice], lesson: Lesson | None, soft_labels: SoftLabels | None
    ) -> Iterator[SampledBatch]:
        """The training examples from here to the end of the run: the accumulated parts of each iteration."""
        settings, network = self.settings, self.trainer.network
        config, clips_per_example = network.frontend.config, self.trainer.augment.clips_per_example
        crop_samples = config.padded_samples(round(settings.crop_seconds * config.sample_rate_hz), network.model.frame_multiple)
        sampler = SAMPLERS[settings.sampler]([example.targets for example in waveforms.examples], settings.seed)
        if lesson:
            source = lesson.batches(waveforms, sampler, crop_samples, settings.seed, settings.batch)
            return source.stream(self.state.iteration, settings.iterations, shares, self.machine.workers)
        if settings.mixup_partner == "uniform" and clips_per_example == 2:
            sampler = WithPartners(sampler, len(waveforms), settings.seed)
        sizes = crop_samples, settings.seed, settings.batch, clips_per_example
        labeled = Batches(waveforms, len(self.recipe.labels), sampler, *sizes, soft_labels)
        return labeled.stream(self.state.iteration, settings.iterations, shares, self.machine.workers)

    def iterate(
        self, batches: Iterator[SampledBatch], pending_stop: Callable[[], Callable[[], None] | None] = lambda: None
    ) -> None:
        """Iterate to the end, or until `pending_stop` returns a function, which is called after the state is saved."""
        state, settings = self.state, self.settings
        started = time.monotonic() - state.seconds
        while not self.finished():
            self.losses.append(self.trainer.step(batches))
            state.iteration += 1
            state.seconds = time.monotonic() - started
            last = state.iteration == settings.iterations
            logs = state.iteration % self.log_every == 0 or last
            evaluates = state.iteration % settings.evaluate_every == 0 or last
            keeps = settings.keep_every > 0 and state.iteration % settings.keep_every == 0
            if logs or evaluates or keeps or self.trainer.device.type == "cpu":
                self.check_losses()
            if logs:
                self.log()
            else:
                self.report(self.progress())
            if evaluates:
                self.evaluate()
            if keeps:
                self.export(run_directory.kept(state.iteration))
            # several processes check their losses together, so one alone cannot save
            if time.monotonic() - self.saved_at > SAVE_SECONDS and (logs or self.machine.world.size == 1):
                self.save()
            if stop := pending_stop():
                self.save()
                self.report(StateSaved(state.iteration))
                stop()

    def check_losses(self) -> None:
        """Add up the losses since the last check. Raises TrainingError unless they are finite: nothing is saved after that."""
        if not self.losses:
            return
        values = self.machine.world.mean(torch.stack(self.losses)).tolist()
        for iteration, value in enumerate(values, self.state.iteration - len(values) + 1):
            if not np.isfinite(value):
                raise TrainingError(f"the loss is {value} at iteration {iteration}; lower --lr, or use --dtype float32")
            self.state.loss_sum += value
        self.losses.clear()

    def log(self) -> None:
        """Add a row to the history: the mean loss since the row before."""
        state = self.state
        loss = state.loss_sum / ((state.iteration - 1) % self.log_every + 1)
        learning_rate, _ = self.trainer.schedule(state.iteration - 1)
        row = {"iteration": state.iteration, "loss": loss, "lr": learning_rate, "seconds": round(state.seconds, 1)}
        state.history.append(row)
        state.loss_sum = 0.0
        self.report(LossLogged(self.progress(), loss, learning_rate))

    def progress(self) -> IterationDone:
        clips = self.state.iteration * self.settings.batch * self.trainer.augment.clips_per_example
        return IterationDone(self.state.iteration, self.settings.iterations, clips, self.state.seconds)

    def evaluate(self) -> None:
        """Measure the averaged weights on whole held-out clips. The first of several equally good checkpoints is the best."""
        state, metric = self.state, self.recipe.metric
        measures = self.validation.measure(Eager(self.trainer.averaged("last")))
        if not measures:
            return
        state.history.append({"iteration": state.iteration, **measures})
        self.report(Evaluated(state.iteration, measures))
        state.waiting += 1
        if measures[metric] > state.best:
            state.best, state.best_iteration, state.waiting = measures[metric], state.iteration, 0
            self.export("best")
        self.export("last")
        if self.stopped_early() and state.iteration < self.settings.iterations:
            self.report(StoppedEarly(state.iteration, state.best_iteration))

    def export(self, name: str) -> None:
        if self.machine.world.first:
            with run_directory.writing(self.folder):
                weights.save(self.trainer.averaged(name), self.folder / f"{name}.safetensors")

    def save(self) -> None:
        """Write the state, and after it the history, which is a view of it and never ahead of it."""
        self.check_losses()
        if self.machine.world.first:
            with run_directory.writing(self.folder):
                saved.save(self.state, self.settings, self.folder / run_directory.STATE)
        self.write_history()
        self.saved_at = time.monotonic()

    def write_history(self) -> None:
        if self.machine.world.first:
            with run_directory.writing(self.folder):
                lines = "".join(json.dumps(row) + "\n" for row in self.state.history)
                atomic.write_text(self.folder / run_directory.HISTORY, lines)

    def outcome(self, left_out: int) -> Outcome:
        state, metric = self.state, self.recipe.metric
        evaluated = [row for row in state.history if metric in row]
        if not evaluated:
            return Outcome(self.folder, metric, None, None, state.best_iteration, state.iteration, 0, left_out)
        last, clips = evaluated[-1][metric], evaluated[-1]["clips"]
        return Outcome(self.folder, metric, last, state.best, state.best_iteration, state.iteration, clips, left_out)
