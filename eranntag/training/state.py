"""What a run needs to go on: one safetensors file, written atomically, never a pickle.

Random numbers are functions of (seed, iteration), so weights, averages, Adam's moments and the history are all there is.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from eranntag import atomic
from eranntag.errors import TrainingError
from eranntag.training.averaging import ExponentialMovingAverage
from eranntag.training.settings import Settings


@dataclass
class State:
    """A run in progress: `iteration` counts those done; `loss_sum` is over those since the last history row, `best` of the
    evaluations was at `best_iteration`, and `waiting` came after it."""

    model: torch.nn.Module
    average: ExponentialMovingAverage
    optimizer: torch.optim.Optimizer
    iteration: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    best: float = -1.0
    best_iteration: int = 0
    waiting: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)


_COUNTERS = ("iteration", "loss_sum", "seconds", "best", "best_iteration", "waiting", "history")


def save(state: State, settings: Settings, path: Path) -> None:
    tensors = {f"model.{name}": tensor for name, tensor in state.model.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in state.average.model.state_dict().items()}
    for index, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{name}": value for name, value in moments.items()}
    progress = {"settings": settings.to_dict(), **{name: getattr(state, name) for name in _COUNTERS}}
    with atomic.replace(path) as temporary:  # a full disk ends the run here and leaves the earlier state
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(contiguous, temporary, metadata={"run": json.dumps(progress)})


def resume(state: State, settings: Settings, path: Path) -> None:
    """Continue from `path`. Raises TrainingError when it is another run's or cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            progress = json.loads(file.metadata()["run"])
            theirs, counters = progress["settings"], {name: progress[name] for name in _COUNTERS}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
        raise TrainingError(f"{path}: not a run that can be resumed ({error}); use another --out or --restart") from None
    _check_same(theirs, settings.to_dict(), path)
    for name, value in counters.items():
        setattr(state, name, value)
    state.model.load_state_dict(_part(tensors, "model."))
    state.average.model.load_state_dict(_part(tensors, "average."))
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in _part(tensors, "adam.").items():
        index, _, key = name.partition(".")
        moments.setdefault(int(index), {})[key] = tensor
    state.optimizer.load_state_dict({**state.optimizer.state_dict(), "state": moments})
    for parameter, ours in state.optimizer.state.items():  # in the parameters' memory format, for the fast path
        for key in ("exp_avg", "exp_avg_sq"):
            ours[key] = torch.empty_like(parameter).copy_(ours[key])


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _check_same(theirs: dict[str, Any], ours: dict[str, Any], path: Path) -> None:
    """A setting that a run does not know is newer than the run, which then had its default."""
    defaults = {field.name: field.default for field in dataclasses.fields(Settings) if field.default is not dataclasses.MISSING}
    theirs = defaults | theirs
    odd = [f"{name} {theirs.get(name)!r} there, {value!r} now" for name, value in ours.items() if theirs.get(name) != value]
    if odd:
        raise TrainingError(f"{path}: a run with other settings ({'; '.join(odd)}); use another --out or --restart")
