"""What a run needs to resume: one safetensors file, written atomically, never a pickle.

Random numbers are functions of (seed, iteration), so weights, averages, Adam's moments and the history are all there is.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from eranntag.checkpoints import weights
from eranntag.errors import TrainingError
from eranntag.files import atomic
from eranntag.training.averaging import ExponentialMovingAverage
from eranntag.training.config import Settings


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


REMEDY = "use another --out, or --restart to begin again"
WHAT_A_BAD_FILE_RAISES = (SafetensorError, OSError, AttributeError, LookupError, TypeError, ValueError, RecursionError)
NUMBER = int | float
_COUNTERS: dict[str, Any] = {  # and their types, which a damaged file may not have
    "iteration": int,
    "loss_sum": NUMBER,
    "seconds": NUMBER,
    "best": NUMBER,
    "best_iteration": int,
    "waiting": int,
    "history": list,
}


def save(state: State, settings: Settings, path: Path) -> None:
    tensors = {f"model.{name}": tensor for name, tensor in state.model.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in state.average.model.state_dict().items()}
    for index, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{name}": value for name, value in moments.items()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    progress = {"settings": settings.to_dict(), **{name: getattr(state, name) for name in _COUNTERS}}
    progress["sha256"] = _digest(tensors, progress)
    with atomic.replace(path) as temporary:  # a full disk ends the run here and leaves the earlier state
        save_file(tensors, temporary, metadata={"run": json.dumps(progress)})


def resume(state: State, settings: Settings, path: Path) -> None:
    """Continue from `path`. Raises TrainingError when it is another run's, damaged, or no state at all; a pickle is none."""
    try:
        if not path.is_file():
            raise ValueError("no ordinary file")
        with safe_open(path, framework="pt") as file:
            progress = json.loads(file.metadata()["run"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        theirs, counters = dict(progress["settings"]), {name: _counter(name, progress[name]) for name in _COUNTERS}
        digest = progress.pop("sha256")
    except WHAT_A_BAD_FILE_RAISES as error:
        raise TrainingError(f"{path}: not a run that can be resumed ({error}); {REMEDY}") from None
    if digest != _digest(tensors, progress):
        raise TrainingError(f"{path}: does not have the SHA-256 that is noted in it: it is damaged; {REMEDY}")
    if odd := [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]:
        raise TrainingError(f"{path}: {odd[0]} has values that are not finite; {REMEDY}")
    _check_same(theirs, settings.to_dict(), path)
    try:
        _take(state, tensors)
    except (RuntimeError, LookupError, TypeError, ValueError) as error:
        what = str(error).partition("\n")[0].rstrip(":")
        raise TrainingError(f"{path}: does not fit the network ({what}); {REMEDY}") from None
    for name, value in counters.items():
        setattr(state, name, value)


def _counter(name: str, value: Any) -> Any:
    if not isinstance(value, _COUNTERS[name]) or (name == "history" and not all(isinstance(row, dict) for row in value)):
        raise ValueError(f"its {name} is {value!r}")
    return value


def _digest(tensors: dict[str, torch.Tensor], progress: dict[str, Any]) -> str:
    """SHA-256 of all that goes into the file."""
    return hashlib.sha256((json.dumps(progress) + weights.tensors_sha256(tensors)).encode()).hexdigest()


def _take(state: State, tensors: dict[str, torch.Tensor]) -> None:
    state.model.load_state_dict(_part(tensors, "model."))
    state.average.model.load_state_dict(_part(tensors, "average."))
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in _part(tensors, "adam.").items():
        index, _, key = name.partition(".")
        moments.setdefault(int(index), {})[key] = tensor
    state.optimizer.load_state_dict({**state.optimizer.state_dict(), "state": moments})
    for parameter, ours in state.optimizer.state.items():  # in the parameters' memory format, for the fast path
        for key in ("exp_avg", "exp_avg_sq"):
            ours[key] = torch.empty_like(parameter).copy_(_of_shape(parameter, ours[key]))


def _of_shape(parameter: torch.Tensor, moment: torch.Tensor) -> torch.Tensor:
    if moment.shape != parameter.shape:
        raise ValueError(f"a moment of shape {tuple(moment.shape)}, not {tuple(parameter.shape)}")
    return moment


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _check_same(theirs: dict[str, Any], ours: dict[str, Any], path: Path) -> None:
    """Raises TrainingError unless the settings are equal. One that is absent is newer than the run, which had its default."""
    defaults = {field.name: field.default for field in dataclasses.fields(Settings) if field.default is not dataclasses.MISSING}
    theirs = defaults | theirs
    odd = [f"{name} {theirs.get(name)!r} there, {value!r} now" for name, value in ours.items() if theirs.get(name) != value]
    if odd:
        raise TrainingError(f"{path}: a run with other settings ({'; '.join(odd)}); use another --out or --restart")
