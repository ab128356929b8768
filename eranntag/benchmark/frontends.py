"""The speed of front-ends alone, from waveforms to images."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from eranntag import registry
from eranntag.benchmark import machine
from eranntag.benchmark.timing import Spread, largest_fitting_batch, rate, time_repeatedly
from eranntag.inference import devices


@dataclass(frozen=True)
class Frontend:
    """Milliseconds per clip of `seconds` in batches of `batch` (smaller than `asked` if that did not fit into memory)."""

    name: str
    rows: int
    frames: int
    learned: bool
    asked: int
    batch: int
    seconds: float
    device: str
    milliseconds: Spread
    machine: dict[str, str]


def measure(batch: int, seconds: float, device: str, budget: float, log: Callable[[str], None]) -> tuple[Frontend, ...]:
    """Return the speed of every front-end on noise. Raises EranntagError if not even one clip fits into memory."""
    place = torch.device(devices.pick(device))
    return tuple(_measure_one(name, batch, seconds, place, budget, log) for name in registry.names("eranntag.features"))


def _measure_one(
    name: str, asked: int, seconds: float, place: torch.device, budget: float, log: Callable[[str], None]
) -> Frontend:
    log(name)
    module = registry.get("eranntag.features", name)
    frontend = module.Frontend(module.Config()).to(place).eval()
    config = frontend.config
    samples = config.padded_samples(round(seconds * config.sample_rate_hz))

    @torch.inference_mode()
    def measure_batch(batch: int) -> tuple[tuple[int, ...], list[float]]:
        noise = 0.1 * torch.randn(batch, samples, device=place)
        shape = tuple(frontend(noise).shape)
        return shape, time_repeatedly(lambda: frontend(noise)[-1, -1, -1, -1].item(), budget)  # .item() waits for the GPU

    batch, (shape, times) = largest_fitting_batch(asked, measure_batch, log)
    pace = rate(times, batch)  # clips a second
    milliseconds = Spread(1000 / pace.median, 1000 / pace.highest, 1000 / pace.lowest, pace.runs)
    learned = any(True for _ in frontend.parameters())
    return Frontend(
        name, shape[2], shape[3], learned, asked, batch, seconds, str(place), milliseconds, machine.describe(str(place))
    )
