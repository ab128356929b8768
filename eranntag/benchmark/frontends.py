"""The front-ends alone: waveforms that are prepared already -> images."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from eranntag import registry
from eranntag.benchmark import machine
from eranntag.benchmark.timing import Spread, fitting, rate, timed
from eranntag.inference import devices


@dataclass(frozen=True)
class Frontend:
    """Milliseconds a clip of `seconds`, `batch` at once (less than `asked` where memory did not suffice)."""

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


def measured(batch: int, seconds: float, device: str, budget: float, tell: Callable[[str], None]) -> tuple[Frontend, ...]:
    """Every front-end of the registry, on noise. Raises UsageError, and EranntagError where not even one clip fits."""
    place = torch.device(devices.pick(device))
    return tuple(_measured(name, batch, seconds, place, budget, tell) for name in registry.names("eranntag.features"))


def _measured(
    name: str, asked: int, seconds: float, place: torch.device, budget: float, tell: Callable[[str], None]
) -> Frontend:
    tell(name)
    module = registry.get("eranntag.features", name)
    frontend = module.Frontend(module.Config()).to(place).eval()
    config = frontend.config
    samples = config.padded_samples(round(seconds * config.sample_rate_hz))

    @torch.inference_mode()
    def measure(batch: int) -> tuple[tuple[int, ...], list[float]]:
        given = 0.1 * torch.randn(batch, samples, device=place)
        shape = tuple(frontend(given).shape)
        return shape, timed(lambda: frontend(given)[-1, -1, -1, -1].item(), budget)  # which waits for a GPU

    batch, (shape, times) = fitting(asked, measure, tell)
    pace = rate(times, batch)  # clips a second
    milliseconds = Spread(1000 / pace.median, 1000 / pace.highest, 1000 / pace.lowest, pace.runs)
    learned = any(True for _ in frontend.parameters())
    described = machine.described(str(place))
    return Frontend(name, shape[2], shape[3], learned, asked, batch, seconds, str(place), milliseconds, described)
