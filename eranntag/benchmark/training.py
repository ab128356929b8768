"""A training step: the loop's own (mixup, log-mel, SpecAugment, network, loss, Adam, average), on noise.

Left out: decoding and cropping, which threads do ahead (`eranntag data speed` measures them), evaluations and saves.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
import torch

from eranntag.audio import reader
from eranntag.benchmark import machine
from eranntag.benchmark.timing import Spread, clocked, fitting, rate, spread, timed
from eranntag.inference import devices
from eranntag.recipes.audioset import RECIPE
from eranntag.training import config as settings, initialization
from eranntag.training.data import SampledBatch
from eranntag.training.distributed import Machine
from eranntag.training.loop import Run
from eranntag.types import Batch

STEPS_ON_GPU = 5  # in one measurement: the CPU prepares the next step while a GPU computes


@dataclass(frozen=True)
class Training:
    """Seconds an iteration of `batch` examples (less than `asked` where memory did not suffice), each mixed of
    `clips_per_example` clips of `seconds`. `first_seconds`: the first iteration, compilation included."""

    model: str
    asked: int
    batch: int
    seconds: float
    dtype: str
    device: str
    compiled: bool
    clips_per_example: int
    first_seconds: float
    seconds_per_iteration: Spread
    examples_per_second: Spread
    gpu_bytes: int | None
    machine: dict[str, str]


def measured(
    model: str,
    batch: int = 32,
    seconds: float = 4,
    dtype: str = "float32",
    device: str = "auto",
    compiled: bool = False,
    budget: float = 5.0,
    tell: Callable[[str], None] = lambda _: None,
) -> Training:
    """By the protocol of AudioSet, with its 527 classes. Raises UsageError, and EranntagError where nothing fits."""
    place = torch.device(devices.pick(device))
    torch.backends.cudnn.benchmark = place.type == "cuda"  # as training has it
    steps = STEPS_ON_GPU if place.type == "cuda" else 1

    def measure(size: int) -> tuple[Run, float, list[float], int | None]:
        run = _run(settings.from_recipe(RECIPE, model=model, batch=size, crop_seconds=seconds, dtype=dtype), place, compiled)
        if place.type == "cuda":
            torch.cuda.reset_peak_memory_stats(place)
        stream = repeat(_noise(run))
        first = clocked(lambda: run.step(stream).item())
        times = timed(lambda: [run.step(stream) for _ in range(steps)][-1].item(), budget)
        return run, first, times, torch.cuda.max_memory_allocated(place) if place.type == "cuda" else None

    fitted, (run, first, times, gpu_bytes) = fitting(batch, measure, tell)
    return Training(
        model=model,
        asked=batch,
        batch=fitted,
        seconds=seconds,
        dtype=dtype,
        device=str(place),
        compiled=compiled,
        clips_per_example=run.augment.clips_per_example,
        first_seconds=first,
        seconds_per_iteration=spread([each / steps for each in times]),
        examples_per_second=rate(times, steps * fitted),
        gpu_bytes=gpu_bytes,
        machine=machine.described(str(place)),
    )


def _run(protocol: settings.Settings, device: torch.device, compiled: bool) -> Run:
    network = initialization.network(RECIPE, protocol, None)
    augment, shares = initialization.augmentation(protocol, network), [slice(0, protocol.batch)]
    return Run(RECIPE, protocol, Path(), Machine(device, compiled=compiled), augment, shares, network, lambda _: None)


def _noise(run: Run) -> SampledBatch:
    """One iteration's examples, each clip with a class of its own."""
    config, protocol = run.network.frontend.config, run.settings
    samples = config.padded_samples(round(protocol.crop_seconds * config.sample_rate_hz), run.network.model.frame_multiple)
    clips = protocol.batch * run.augment.clips_per_example
    rngs = [np.random.default_rng([0, number]) for number in range(clips + protocol.batch)]
    waveform = [reader.to_int16(0.1 * rng.standard_normal(samples, np.float32)) for rng in rngs[:clips]]
    target = torch.eye(len(RECIPE.labels))[torch.arange(clips) % len(RECIPE.labels)]
    return SampledBatch(Batch(torch.from_numpy(np.stack(waveform)), target), tuple(rngs[:clips]), tuple(rngs[clips:]))
