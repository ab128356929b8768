"""One training iteration: forward, loss, backward, optimizer, averaged weights."""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

from eranntag.audio import reader
from eranntag.inference.network import DTYPES, Network, memory_format
from eranntag.training import distillation, initialization
from eranntag.training.augment import Augment
from eranntag.training.averaging import ExponentialMovingAverage
from eranntag.training.config import Settings
from eranntag.training.data import SampledBatch
from eranntag.training.distributed import Machine, wrapped
from eranntag.training.losses import loss, reconstruction_error
from eranntag.training.schedules import DIVISOR, SCHEDULES, plateaus
from eranntag.training.state import State
from eranntag.types import Batch, Recipe


class Trainer:
    """The network that is trained, its optimizer and its averaged weights (`state`), and the step that changes them.

    `teacher_embedding_size`: in a distillation that learns the teacher's embedding too.
    """

    def __init__(
        self,
        recipe: Recipe,
        settings: Settings,
        machine: Machine,
        augment: Augment,
        network: Network,
        teacher_embedding_size: int | None = None,
    ) -> None:
        self.recipe, self.settings, self.machine, self.augment = recipe, settings, machine, augment
        self.device = machine.device
        self.network = network.to(self.device)
        self.memory_format = memory_format(network.model, self.device)
        trained = network.trained
        if teacher_embedding_size is not None:
            trained = distillation.Student(trained, network.model.embedding_size, teacher_embedding_size)
        trained = trained.to(self.device).to(memory_format=self.memory_format).train()
        parallel = wrapped(trained, machine.world, self.device)
        self.model: Any = torch.compile(parallel) if machine.compiled else parallel
        optimizer = torch.optim.Adam(trained.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
        average = ExponentialMovingAverage(trained, settings.ema_decay, settings.ema_warm_up)
        self.state = State(trained, average, optimizer)
        averaged = average.model.model if isinstance(average.model, distillation.Student) else average.model
        self._averaged_network = initialization.sharing(network, averaged)

    def step(self, batches: Iterator[SampledBatch]) -> torch.Tensor:
        """The loss of one iteration of Section 3.2: crop, mixup, log-mel, SpecAugment, network, Adam, average.

        Takes the iteration's `accumulate` parts from `batches`; their gradients are averaged.
        """
        state, settings = self.state, self.settings
        state.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for part in range(settings.accumulate):
            last = part == settings.accumulate - 1
            self.seed_dropout(part)
            with nullcontext() if last or self.machine.world.size == 1 else self.model.no_sync():
                value = self.loss(next(batches)) / settings.accumulate
                value.backward()  # type: ignore[no-untyped-call]  # torch has no annotation for it
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
        """Seed torch's generator, from which dropout draws, by (seed, iteration, part, process)."""
        key = [self.settings.seed, 8, self.state.iteration, part, self.machine.world.rank]
        torch.manual_seed(int(np.random.default_rng(key).integers(2**63)))

    def loss(self, sampled: SampledBatch) -> torch.Tensor:
        """The mean loss of a batch: of the targets, and of the embedding and the reconstruction where there are these."""
        batch = sampled.batch.to(self.device)  # 16-bit samples on the way
        batch = Batch(batch.waveform.float() / reader.FULL_SCALE, batch.target, batch.embedding)
        network, dtype = self.network, self.settings.dtype
        frontend = nn.Identity() if network.learned else network.frontend  # a learned one is a part of what is trained
        inputs, target = self.augment.images(batch, frontend, sampled.clip_rngs, sampled.rngs)
        frames = network.frontend.config.frames(inputs.shape[-1]) if network.learned else inputs.shape[-1]
        mask = self.augment.mask(network.frontend.config.rows, frames, sampled.rngs, self.device)
        with torch.autocast(self.device.type, DTYPES[dtype], enabled=dtype != "float32"):
            output = self.model(inputs if network.learned else inputs.contiguous(memory_format=self.memory_format), mask)
        value = loss(output.clip_logits, target, self.recipe.activation)
        if batch.embedding is not None:
            distance = distillation.embedding_distance(output.embedding, batch.embedding)
            value = value + self.settings.embedding_weight * distance
        if output.reconstruction is not None:  # also with weight 0: several processes wait for every parameter's gradient
            image = network.frontend(inputs).detach() if network.learned else inputs
            error = reconstruction_error(output.reconstruction, network.model.standardized(image))
            value = value + self.settings.reconstruction * error
        return value

    def schedule(self, iteration: int) -> tuple[float, float]:
        """(learning rate, Adam's beta1) of an iteration, from 0."""
        settings = self.settings
        rate, beta1 = SCHEDULES[settings.schedule](iteration, settings.iterations, settings.learning_rate)
        if settings.schedule == "plateau":
            rate /= DIVISOR ** plateaus([row[self.recipe.metric] for row in self.state.history if self.recipe.metric in row])
        return rate * min(1.0, iteration / settings.warm_up if settings.warm_up else 1.0), beta1

    def averaged(self, select: str) -> Network:
        """A Network with the averaged weights and the run's numbers; `select` is "last", "best" or a kept iteration's name."""
        self._averaged_network.checkpoint = initialization.measured(
            self.network.checkpoint, self.recipe, self.settings, self.state, select
        )
        return self._averaged_network
