"""The run's numbers for TensorBoard, where that is installed."""

from typing import Any

from eranntag.errors import UsageError
from eranntag.training.loop import Report


def also(report: Report) -> Report:
    """A report that writes FOLDER/tensorboard beside what `report` does. UsageError without the package."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UsageError("--tensorboard needs a package: pip install tensorboard") from None
    writers: list[Any] = []

    def both(event: dict[str, Any]) -> None:
        report(event)
        if event["event"] == "begin":
            writers[:] = [SummaryWriter(f"{event['folder']}/tensorboard")]
        elif event["event"] == "end":
            writers.pop().close()
        elif event["event"] in ("train", "evaluate"):
            for name, value in event.items():
                if isinstance(value, float) and name != "seconds":
                    writers[0].add_scalar(name, value, event["iteration"])
            writers[0].flush()

    return both
