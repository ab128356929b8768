"""The one training loop: the objects of a run, and its steps.

Its folder holds `state.safetensors` (to go on from), `last.safetensors` and `best.safetensors` (checkpoints that
`predict` takes, with the averaged weights), `iteration-*.safetensors` of those that `keep_every` asks for, and `history.jsonl`.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from eranntag.audio import reader
from eranntag.checkpoints import weights
from eranntag.engines.eager import Eager
from eranntag.errors import TrainingError
from eranntag.files import atomic
from eranntag.inference.network import DTYPES, Network, memory_format
from eranntag.training import distillation, initialization, run_directory, signals, state as saved
from eranntag.training.agreement import Agreement
from eranntag.training.augment import Augment
from eranntag.training.averaging import ExponentialMovingAverage
from eranntag.training.config import Settings
from eranntag.training.data import KEEP_BYTES, Batches, SampledBatch, WaveformCache, tell_broken
from eranntag.training.distillation import Lesson
from eranntag.training.distributed import Machine, neighbours, wrapped
from eranntag.training.losses import loss, reconstruction_error
from eranntag.training.samplers import SAMPLERS, WithPartners
from eranntag.training.schedules import DIVISOR, SCHEDULES, plateaus
from eranntag.training.soft_labels import SoftLabels
from eranntag.training.splits import Splits
from eranntag.training.state import State
from eranntag.training.validation import Validation
from eranntag.types import Batch, Recipe

SAVE_SECONDS = 60

Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Outcome:
    """What a run came to: `last` and `best` of the `held_out` clips that could be read, None without any. `left_out` clips of
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


class Run:
    """One run's objects, and the steps of its loop."""

    def __init__(
        self,
        recipe: Recipe,
        settings: Settings,
        folder: Path,
        machine: Machine,
        augment: Augment,
        shares: list[slice],
        network: Network,
        report: Report,
        lesson: Lesson | None = None,
        soft_labels: SoftLabels | None = None,
    ) -> None:
        self.recipe, self.settings, self.folder, self.machine = recipe, settings, folder, machine
        self.augment, self.shares, self.device = augment, shares, machine.device
        self.report, self.lesson, self.soft_labels = report, lesson, soft_labels
        self.network = network.to(self.device)
        self.layout = memory_format(self.network.model, self.device)
        trained = self.network.trained
        if settings.embedding_weight and lesson:
            trained = distillation.Student(trained, self.network.model.embedding_size, lesson.teacher.tagger.embedding_size)
        trained = trained.to(self.device, memory_format=self.layout).train()
        parallel = wrapped(trained, machine.world, self.device)
        self.model = torch.compile(parallel) if machine.compiled else parallel
        optimizer = torch.optim.Adam(trained.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
        average = ExponentialMovingAverage(trained, settings.ema_decay, settings.ema_warm_up)
        self.state = State(trained, average, optimizer)
        averaged = average.model.model if isinstance(average.model, distillation.Student) else average.model
        self.evaluated = initialization.sharing(self.network, averaged)
        self.losses: list[torch.Tensor] = []  # of the iterations since they were last looked at
        self.note_every = max(1, min(50, settings.iterations // 20))
        self.saved_at = time.monotonic()

    def go(self, splits: Splits) -> Outcome:
        rate, world = self.network.frontend.config.sample_rate_hz, self.machine.world
        keep = KEEP_BYTES // neighbours()
        sounds = WaveformCache(splits.training, rate, keep, tell_broken(self.report))
        held_out = WaveformCache(splits.held_out, rate, keep // 4, tell_broken(self.report))
        self.validation: Validation | Agreement = Validation(held_out, self.recipe.metric, world, self.machine.workers)
        if self.lesson:
            self.validation = Agreement(self.validation, self.lesson.teacher.tagger, self.lesson.zero_shot)
        if self.state.iteration:
            self.report({"event": "resume", "iteration": self.state.iteration})
        if not self.finished():
            if not self.state.iteration:
                self.save()  # before hours of work: is there room? And no checkpoint is ever without a state
            with signals.postponed() if world.size == 1 else nullcontext(lambda: None) as asked:
                self.iterate(self.stream(sounds), asked)
            self.export("last")
            self.save()  # after the checkpoint: a state that is finished has one
        state, metric = self.state, self.recipe.metric
        evaluated = [row for row in state.history if metric in row]
        last, best, clips = (evaluated[-1][metric], state.best, evaluated[-1]["clips"]) if evaluated else (None, None, 0)
        left_out = len(sounds.broken)
        return Outcome(self.folder, metric, last, best, state.best_iteration, state.iteration, clips, left_out)

    def finished(self) -> bool:
        stopped = 0 < self.settings.patience <= self.state.waiting
        return stopped or self.state.iteration >= self.settings.iterations

    def stream(self, sounds: WaveformCache) -> Iterator[SampledBatch]:
        """The drawn examples from here to the end of the run: the accumulated parts of each iteration."""
        settings, config = self.settings, self.network.frontend.config
        crop_samples = config.padded_samples(
            round(settings.crop_seconds * config.sample_rate_hz), self.network.model.frame_multiple
        )
        sampler = SAMPLERS[settings.sampler]([example.targets for example in sounds.examples], settings.seed)
        if self.lesson:
            lesson = self.lesson.batches(sounds, sampler, crop_samples, settings.seed, settings.batch)
            return lesson.stream(self.state.iteration, settings.iterations, self.shares, self.machine.workers)
        classes, together = len(self.recipe.labels), self.augment.clips_per_example
        if settings.mixup_partner == "uniform" and together == 2:
            sampler = WithPartners(sampler, len(sounds), settings.seed)
        batches = Batches(sounds, classes, sampler, crop_samples, settings.seed, settings.batch, together, self.soft_labels)
        return batches.stream(self.state.iteration, settings.iterations, self.shares, self.machine.workers)

    def iterate(self, stream: Iterator[SampledBatch], asked: Callable[[], Callable[[], None] | None]) -> None:
        """To the end, or until `asked` says that somebody wants it to stop, which then is done."""
        state, settings = self.state, self.settings
        started = time.monotonic() - state.seconds
        while not self.finished():
            self.losses.append(self.step(stream))
            state.iteration += 1
            state.seconds = time.monotonic() - started
            last = state.iteration == settings.iterations
            noted = state.iteration % self.note_every == 0 or last
            evaluated = state.iteration % settings.evaluate_every == 0 or last
            kept = settings.keep_every > 0 and state.iteration % settings.keep_every == 0
            if noted or evaluated or kept or self.device.type == "cpu":
                self.look_at_losses()
            if noted:
                self.note()
            else:
                self.report({"event": "pace", **self.pace()})
            if evaluated:
                self.evaluate()
            if kept:
                self.export(run_directory.kept(state.iteration))
            # where not all processes have just looked at the losses, one alone cannot
            if time.monotonic() - self.saved_at > SAVE_SECONDS and (noted or self.machine.world.size == 1):
                self.save()
            if stop := asked():
                self.save()
                self.report({"event": "saved", "iteration": state.iteration})
                stop()

    def step(self, stream: Iterator[SampledBatch]) -> torch.Tensor:
        """One iteration of Section 3.2: crop, mixup, log-mel, SpecAugment, network, Adam, average. Returns the loss."""
        state, settings = self.state, self.settings
        state.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for part in range(settings.accumulate):
            last = part == settings.accumulate - 1
            self.seed_dropout(part)
            with nullcontext() if last or self.machine.world.size == 1 else self.model.no_sync():
                value = self.loss(next(stream)) / settings.accumulate
                value.backward()
            total += value.detach()
        if settings.clip_gradients:
            torch.nn.utils.clip_grad_norm_(state.model.parameters(), settings.clip_gradients)
        for group in state.optimizer.param_groups:
            group["lr"], beta1 = self.schedule(state.iteration)
            group["betas"] = (beta1, 0.999)
        state.optimizer.step()
        state.average.update(state.model, state.iteration + 1)
        return total

    def seed_dropout(self, part: int) -> None:
        """Dropout draws from torch's own generator, which thus is a function of (seed, iteration) too, for each process."""
        key = [self.settings.seed, 8, self.state.iteration, part, self.machine.world.rank]
        torch.manual_seed(int(np.random.default_rng(key).integers(2**63)))

    def loss(self, drawn: SampledBatch) -> torch.Tensor:
        batch = drawn.batch.to(self.device)  # 16-bit samples on the way
        batch = Batch(batch.waveform.float() / reader.FULL_SCALE, batch.target, batch.embedding)
        network, dtype = self.network, self.settings.dtype
        frontend = nn.Identity() if network.learned else network.frontend  # a learned one is a part of what is trained
        given, target = self.augment.images(batch, frontend, drawn.clip_rngs, drawn.rngs)
        frames = network.frontend.config.frames(given.shape[-1]) if network.learned else given.shape[-1]
        mask = self.augment.mask(network.frontend.config.rows, frames, drawn.rngs, self.device)
        with torch.autocast(self.device.type, DTYPES[dtype], enabled=dtype != "float32"):
            output = self.model(given if network.learned else given.contiguous(memory_format=self.layout), mask)
        value = loss(output.clip_logits, target, self.recipe.activation)
        if batch.embedding is not None:
            distance = distillation.embedding_distance(output.embedding, batch.embedding)
            value = value + self.settings.embedding_weight * distance
        if output.reconstruction is not None:  # also 0 of it: several processes wait for every parameter's gradient
            image = network.frontend(given).detach() if network.learned else given
            error = reconstruction_error(output.reconstruction, network.model.standardized(image))
            value = value + self.settings.reconstruction * error
        return value

    def schedule(self, iteration: int) -> tuple[float, float]:
        settings = self.settings
        rate, beta1 = SCHEDULES[settings.schedule](iteration, settings.iterations, settings.learning_rate)
        if settings.schedule == "plateau":
            rate /= DIVISOR ** plateaus([row[self.recipe.metric] for row in self.state.history if self.recipe.metric in row])
        return rate * min(1.0, iteration / settings.warm_up if settings.warm_up else 1.0), beta1

    def look_at_losses(self) -> None:
        """TrainingError unless they are finite: nothing is saved after one that is not."""
        if not self.losses:
            return
        values = self.machine.world.mean(torch.stack(self.losses)).tolist()
        for place, value in enumerate(values, self.state.iteration - len(values) + 1):
            if not np.isfinite(value):
                raise TrainingError(f"the loss is {value} at iteration {place}; lower --lr, or use --dtype float32")
            self.state.loss_sum += value
        self.losses.clear()

    def note(self) -> None:
        state = self.state
        rows = (state.iteration - 1) % self.note_every + 1
        row = {"iteration": state.iteration, "loss": state.loss_sum / rows, "lr": self.schedule(state.iteration - 1)[0]}
        state.history.append({**row, "seconds": round(state.seconds, 1)})
        state.loss_sum = 0.0
        self.report({"event": "train", **self.pace(), **state.history[-1]})

    def pace(self) -> dict[str, Any]:
        clips = self.state.iteration * self.settings.batch * self.augment.clips_per_example
        numbers = {"iteration": self.state.iteration, "total": self.settings.iterations}
        return {**numbers, "clips": clips, "seconds": self.state.seconds}

    def evaluate(self) -> None:
        """The metric of the averaged weights on whole held-out clips."""
        state, metric = self.state, self.recipe.metric
        measured = self.validation.measure(Eager(self.averaged("last")))
        if not measured:
            return
        row = {"iteration": state.iteration, **measured}
        state.history.append(row)
        self.report({"event": "evaluate", **row})
        state.waiting += 1
        if row[metric] > state.best:
            state.best, state.best_iteration, state.waiting = row[metric], state.iteration, 0
            self.export("best")
        self.export("last")
        if self.finished() and state.iteration < self.settings.iterations:
            self.report({"event": "stopped", "iteration": state.iteration, "best_iteration": state.best_iteration})

    def averaged(self, select: str) -> Network:
        """A Network with the averaged weights and the run's numbers."""
        self.evaluated.checkpoint = initialization.measured(
            self.network.checkpoint, self.recipe, self.settings, self.state, select
        )
        return self.evaluated

    def export(self, select: str) -> None:
        if self.machine.world.first:
            with run_directory.writing(self.folder):
                weights.save(self.averaged(select), self.folder / f"{select}.safetensors")

    def save(self) -> None:
        self.look_at_losses()
        if self.machine.world.first:
            with run_directory.writing(self.folder):
                saved.save(self.state, self.settings, self.folder / run_directory.STATE)
        self.write_history()
        self.saved_at = time.monotonic()

    def write_history(self) -> None:
        """After the state, of which it is a view: never ahead of it, and behind it only until a killed run is gone on with."""
        if self.machine.world.first:
            with run_directory.writing(self.folder):
                atomic.write_text(
                    self.folder / run_directory.HISTORY, "".join(json.dumps(row) + "\n" for row in self.state.history)
                )
