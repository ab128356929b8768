"""The events that a run reports: a frozen dataclass for each kind of event. `cli.display.training` prints them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from eranntag.training.splits import SplitReview
from eranntag.types import Dataset


@dataclass(frozen=True)
class DatasetLoaded:
    dataset: Dataset


@dataclass(frozen=True)
class RunStarted:
    folder: Path
    fold: int | None
    seed: int
    review: SplitReview


@dataclass(frozen=True)
class RunResumed:
    iteration: int


@dataclass(frozen=True)
class ClipSkipped:
    """A clip that cannot be decoded is left out."""

    source: str
    reason: str


@dataclass(frozen=True)
class IterationDone:
    """`iteration` of `total` are done: `clips` clips in `seconds`."""

    iteration: int
    total: int
    clips: int
    seconds: float


@dataclass(frozen=True)
class LossLogged:
    """A row of the history: the mean loss since the row before, and the learning rate."""

    progress: IterationDone
    loss: float
    learning_rate: float


@dataclass(frozen=True)
class Evaluated:
    """`measures` of the averaged weights on held-out clips, and `clips`, how many of these could be read."""

    iteration: int
    measures: Mapping[str, float]


@dataclass(frozen=True)
class StoppedEarly:
    iteration: int
    best_iteration: int


@dataclass(frozen=True)
class StateSaved:
    """The state was saved because the process was asked to end."""

    iteration: int


@dataclass(frozen=True)
class RunFinished:
    folder: Path


Event = (
    DatasetLoaded
    | RunStarted
    | RunResumed
    | ClipSkipped
    | IterationDone
    | LossLogged
    | Evaluated
    | StoppedEarly
    | StateSaved
    | RunFinished
)
Report = Callable[[Event], None]
