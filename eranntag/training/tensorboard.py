"""The run's numbers for TensorBoard, where that is installed."""

from collections.abc import Mapping
from typing import Any

from eranntag.errors import UsageError
from eranntag.training.events import Evaluated, Event, LossLogged, Report, RunFinished, RunStarted


def also(report: Report) -> Report:
    """A report that writes FOLDER/tensorboard beside what `report` does. UsageError without the package."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UsageError("--tensorboard needs a package: pip install tensorboard") from None
    writers: list[Any] = []

    def both(event: Event) -> None:
        report(event)
        match event:
            case RunStarted(folder):
                writers[:] = [SummaryWriter(f"{folder}/tensorboard")]
            case RunFinished():
                writers.pop().close()
            case LossLogged(progress, loss, learning_rate):
                write({"loss": loss, "lr": learning_rate}, progress.iteration)
            case Evaluated(iteration, measures):
                write(measures, iteration)

    def write(values: Mapping[str, float], iteration: int) -> None:
        for name, value in values.items():
            if isinstance(value, float):
                writers[0].add_scalar(name, value, iteration)
        writers[0].flush()

    return both
