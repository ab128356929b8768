"""The one training loop: recipe + settings -> checkpoints in a folder, resumable at any moment.

The folder holds `state.safetensors` (to go on from), `last.safetensors` and `best.safetensors` (checkpoints that
`predict` takes, with the averaged weights) and `history.jsonl`.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eranntag import atomic, models, registry
from eranntag.checkpoints import weights
from eranntag.errors import DataError, TrainingError
from eranntag.tagger import DTYPES, Tagger
from eranntag.training import augment
from eranntag.training import state as saved
from eranntag.training.averaging import ExponentialMovingAverage
from eranntag.training.data import Batches, decode
from eranntag.training.losses import loss
from eranntag.training.schedules import SCHEDULES
from eranntag.training.state import Settings, State
from eranntag.types import Checkpoint, Clip, Example, Recipe

SAVE_SECONDS = 60
HISTORY_EVERY = 50  # iterations

Report = Callable[[dict[str, Any]], None]


def train(
    recipe: Recipe,
    examples: Sequence[Example],
    settings: Settings,
    folder: Path,
    device: torch.device,
    compiled: bool = False,
    restart: bool = False,
    report: Report = lambda _: None,
) -> Path:
    """Train to `settings.iterations`, going on from `folder` when a run is there; returns the last checkpoint's path.

    `report` receives a dict with `event` ("decode", "train", "evaluate") and numbers, to be shown. However a run is stopped,
    it goes on from the last whole iteration that was saved, at most a minute ago, and ends with the very same numbers.
    """
    held_out = [example for example in examples if settings.fold is not None and example.fold == settings.fold]
    training = [example for example in examples if settings.fold is None or example.fold != settings.fold]
    if not training:
        raise DataError(f"{recipe.name}: no clips are left to train on without fold {settings.fold}")
    run = _Run(recipe, settings, folder, device, compiled)
    rate = run.tagger.frontend.config.sample_rate_hz
    counted = {"event": "decode", "total": len(training) + len(held_out)}
    waveforms = decode([*training, *held_out], rate, lambda done: report({**counted, "done": done}))
    if restart:
        for name in ("state", "best", "last"):
            (folder / f"{name}.safetensors").unlink(missing_ok=True)
    if (folder / "state.safetensors").exists():
        saved.resume(run.state, settings, folder / "state.safetensors")
    crop_samples = run.tagger.frontend.config.padded_samples(round(settings.crop_seconds * rate))
    batches = Batches(waveforms[: len(training)], training, len(recipe.labels), crop_samples, settings.seed)
    clips = [Clip(wave[None].astype(np.float32) / 32767, rate) for wave in waveforms[len(training) :]]
    run.iterate(batches, clips, [example.targets[0] for example in held_out], report)
    run.save()
    return run.export("last")


class _Run:
    """One run's objects, and the steps of its loop."""

    def __init__(self, recipe: Recipe, settings: Settings, folder: Path, device: torch.device, compiled: bool) -> None:
        self.recipe, self.settings, self.folder, self.device = recipe, settings, folder, device
        torch.manual_seed(settings.seed)
        self.tagger = Tagger(_checkpoint(recipe, settings)).to(device)
        model = self.tagger.model
        folder.mkdir(parents=True, exist_ok=True)
        self.layout = _memory_format(model, device)
        model.to(memory_format=self.layout).train()
        self.network = torch.compile(model) if compiled else model
        optimizer = torch.optim.Adam(model.parameters(), settings.learning_rate)
        average = ExponentialMovingAverage(model, settings.ema_decay, settings.ema_warm_up)
        self.state = State(model, average, optimizer)
        self.saved_at = time.monotonic()

    def iterate(self, batches: Batches, clips: list[Clip], targets: list[int], report: Report) -> None:
        state, settings = self.state, self.settings
        started = time.monotonic() - state.seconds
        while state.iteration < settings.iterations:
            state.loss_sum += self.step(batches)
            state.iteration += 1
            state.seconds = time.monotonic() - started
            last = state.iteration == settings.iterations
            if state.iteration % HISTORY_EVERY == 0 or last:
                self.note(report)
            if clips and (state.iteration % settings.evaluate_every == 0 or last):
                self.evaluate(clips, targets, report)
            if time.monotonic() - self.saved_at > SAVE_SECONDS:
                self.save()

    def step(self, batches: Batches) -> float:
        """One iteration of Section 3.2: crop, mixup, log-mel, SpecAugment, network, Adam, average."""
        state, settings = self.state, self.settings
        config = self.tagger.frontend.config
        rng = np.random.default_rng([settings.seed, 3, state.iteration])
        batch = batches.batch(state.iteration, settings.batch * (2 if settings.mixup else 1))
        batch = dataclasses.replace(batch, waveform=batch.waveform.to(self.device), target=batch.target.to(self.device))
        if settings.mixup:
            ratio = torch.from_numpy(rng.beta(settings.mixup_alpha, settings.mixup_alpha, settings.batch)).float()
            batch = augment.modified_mixup(batch, ratio.to(self.device), config.sample_rate_hz)
        image = self.tagger.frontend(batch.waveform)
        mask = augment.spec_augment(len(image), *image.shape[2:], rng) if settings.spec_augment else torch.ones(1)
        with torch.autocast(self.device.type, DTYPES[settings.dtype], enabled=settings.dtype != "float32"):
            output = self.network(image.contiguous(memory_format=self.layout), mask.to(self.device))
        value = loss(output.clip_logits, batch.target, self.recipe.activation)
        if not np.isfinite(number := value.item()):
            raise TrainingError(f"the loss is {number} at iteration {state.iteration + 1}; lower --lr, or use --dtype float32")
        for group in state.optimizer.param_groups:
            group["lr"], beta1 = self.schedule(state.iteration)
            group["betas"] = (beta1, 0.999)
        state.optimizer.zero_grad(set_to_none=True)
        value.backward()
        state.optimizer.step()
        state.average.update(state.model, state.iteration + 1)
        return number

    def schedule(self, iteration: int) -> tuple[float, float]:
        return SCHEDULES[self.settings.schedule](iteration, self.settings.iterations, self.settings.learning_rate)

    def note(self, report: Report) -> None:
        state = self.state
        rows = (state.iteration - 1) % HISTORY_EVERY + 1
        row = {"iteration": state.iteration, "loss": state.loss_sum / rows, "lr": self.schedule(state.iteration - 1)[0]}
        state.history.append({**row, "seconds": round(state.seconds, 1)})
        state.loss_sum = 0.0
        report({"event": "train", "total": self.settings.iterations, **state.history[-1]})

    def evaluate(self, clips: list[Clip], targets: list[int], report: Report) -> None:
        """Accuracy of the averaged weights on whole held-out clips."""
        tagger = self.averaged()
        right = sum(
            int(tagger.scores(tagger.prepare(clip)[None])[0].argmax()) == target
            for clip, target in zip(clips, targets, strict=True)
        )
        row = {"iteration": self.state.iteration, self.recipe.metric: right / len(clips)}
        self.state.history.append(row)
        report({"event": "evaluate", **row})
        if row[self.recipe.metric] > self.state.best:
            self.state.best = row[self.recipe.metric]
            self.export("best")

    def averaged(self) -> Tagger:
        """A Tagger with the averaged weights and the run's numbers."""
        evaluated = [row for row in self.state.history if self.recipe.metric in row]
        metrics = {}
        if evaluated:
            row, metric = evaluated[-1], self.recipe.metric
            data = f"{self.recipe.name} fold {self.settings.fold}"
            metrics = {"metric": metric, "value": row[metric], "data": data, "iteration": row["iteration"]}
        training = {**dataclasses.asdict(self.settings), "iteration": self.state.iteration}
        tagger = Tagger(dataclasses.replace(self.tagger.checkpoint, metrics=metrics, training=training))
        tagger.model.load_state_dict(self.state.average.model.state_dict())
        return tagger.to(self.device).eval()

    def export(self, name: str) -> Path:
        path = self.folder / f"{name}.safetensors"
        weights.save(self.averaged(), path)
        return path

    def save(self) -> None:
        """The state first: the history is a view of it."""
        saved.save(self.state, self.settings, self.folder / "state.safetensors")
        lines = "".join(json.dumps(row) + "\n" for row in self.state.history)
        atomic.write_text(self.folder / "history.jsonl", lines)
        self.saved_at = time.monotonic()


def _checkpoint(recipe: Recipe, settings: Settings) -> Checkpoint:
    family, config = models.resolve(settings.model)
    frontend = registry.get("eranntag.features", "logmel").Config()
    where = f"without fold {settings.fold}" if settings.fold is not None else "all folds"
    return Checkpoint(
        name=f"{settings.model}-{recipe.name}" + (f"-fold{settings.fold}" if settings.fold is not None else ""),
        family=family,
        model=dataclasses.asdict(config),
        frontend_family="logmel",
        frontend=dataclasses.asdict(frontend),
        labels=recipe.labels,
        activation=recipe.activation,
        title=f"{settings.model} trained on {recipe.title} ({where})",
        data=f"{recipe.title}, {where}",
        licence=recipe.licence,
    )


def _memory_format(model: torch.nn.Module, device: torch.device) -> torch.memory_format:
    """channels_last is 1.5 times as fast, but torch 2.14 corrupts the heap with 8 channels on AVX-512 CPUs."""
    narrowest = min(layer.out_channels for layer in model.modules() if isinstance(layer, torch.nn.Conv2d))
    return torch.channels_last if device.type == "cuda" or narrowest >= 16 else torch.contiguous_format
