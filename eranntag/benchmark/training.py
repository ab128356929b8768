"""The speed of a training iteration on noise: mixup, log-mel, SpecAugment, network, loss, Adam and weight averaging.

Decoding and cropping, which threads do in advance (`eranntag data speed` measures them), evaluations and saves are left out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import torch

from eranntag.audio import reader
from eranntag.benchmark import machine
from eranntag.benchmark.timing import Spread, largest_fitting_batch, rate, spread, time_once, time_repeatedly
from eranntag.inference import devices
from eranntag.recipes.audioset import RECIPE
from eranntag.training import config as settings, initialization
from eranntag.training.data import SampledBatch
from eranntag.training.distributed import Machine
from eranntag.training.trainer import Trainer
from eranntag.types import Batch

STEPS_ON_GPU = 5  # in one measurement: the CPU prepares the next step while a GPU computes


@dataclass(frozen=True)
class Training:
    """Seconds per iteration of `batch` examples (fewer than `asked` if these did not fit into memory), each mixed of
    `clips_per_example` clips of `seconds`. `first_seconds`: the first iteration, with compilation."""

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


def measure(
    model: str,
    batch: int = 32,
    seconds: float = 4,
    dtype: str = "float32",
    device: str = "auto",
    compiled: bool = False,
    budget: float = 5.0,
    log: Callable[[str], None] = lambda _: None,
) -> Training:
    """Return the speed by AudioSet's protocol, with its 527 classes. Raises EranntagError if no example fits into memory."""
    place = torch.device(devices.pick(device))
    torch.backends.cudnn.benchmark = place.type == "cuda"  # as in training
    steps = STEPS_ON_GPU if place.type == "cuda" else 1

    def measure_batch(size: int) -> tuple[Trainer, float, list[float], int | None]:
        run = settings.from_recipe(RECIPE, model=model, batch=size, crop_seconds=seconds, dtype=dtype)
        trainer = _trainer(run, place, compiled)
        if place.type == "cuda":
            torch.cuda.reset_peak_memory_stats(place)
        stream = repeat(_noise(trainer))
        first = time_once(lambda: trainer.step(stream).item())
        times = time_repeatedly(lambda: [trainer.step(stream) for _ in range(steps)][-1].item(), budget)
        return trainer, first, times, torch.cuda.max_memory_allocated(place) if place.type == "cuda" else None

    fitted, (trainer, first, times, gpu_bytes) = largest_fitting_batch(batch, measure_batch, log)
    return Training(
        model=model,
        asked=batch,
        batch=fitted,
        seconds=seconds,
        dtype=dtype,
        device=str(place),
        compiled=compiled,
        clips_per_example=trainer.augment.clips_per_example,
        first_seconds=first,
        seconds_per_iteration=spread([each / steps for each in times]),
        examples_per_second=rate(times, steps * fitted),
        gpu_bytes=gpu_bytes,
        machine=machine.describe(str(place)),
    )


def _trainer(protocol: settings.Settings, device: torch.device, compiled: bool) -> Trainer:
    network = initialization.network(RECIPE, protocol, None)
    augment = initialization.augmentation(protocol, network)
    return Trainer(RECIPE, protocol, Machine(device, compiled=compiled), augment, network)


def _noise(trainer: Trainer) -> SampledBatch:
    """Return the examples of one iteration, each clip with a class of its own."""
    config, protocol = trainer.network.frontend.config, trainer.settings
    samples = config.padded_samples(round(protocol.crop_seconds * config.sample_rate_hz), trainer.network.model.frame_multiple)
    clips = protocol.batch * trainer.augment.clips_per_example
    rngs = [np.random.default_rng([0, number]) for number in range(clips + protocol.batch)]
    waveform = [reader.to_int16(0.1 * rng.standard_normal(samples, np.float32)) for rng in rngs[:clips]]
    target = torch.eye(len(RECIPE.labels))[torch.arange(clips) % len(RECIPE.labels)]
    return SampledBatch(Batch(torch.from_numpy(np.stack(waveform)), target), tuple(rngs[:clips]), tuple(rngs[clips:]))
