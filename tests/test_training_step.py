"""From a recipe to a training step: the calls in docs/architecture.md, one step, and what the loop does after it."""

import inspect
import re
import sys
import threading
from importlib import import_module
from itertools import repeat
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np
import pytest
import torch
from runs import CHECKOUT, TINY, command, esc50 as ten_clips

from eranntag.recipes import esc50
from eranntag.training import initialization
from eranntag.training.config import from_recipe
from eranntag.training.data import SampledBatch
from eranntag.training.distributed import Machine
from eranntag.training.events import Evaluated, Event
from eranntag.training.loop import TrainingLoop
from eranntag.training.trainer import Trainer
from eranntag.types import Batch


def documented_calls() -> list[str]:
    """The names in the numbered list of the section "Recipe to training step"."""
    text = (CHECKOUT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = text.partition("## Recipe to training step\n")[2].partition("\n## ")[0]
    return re.findall(r"^\d+\. `([\w.]+)`", section, re.MULTILINE)


def code_of(name: str) -> CodeType:
    """The code of a function, or of a class's `__init__`, by its name below `eranntag`."""
    parts = ["eranntag", *name.split(".")]
    depth = next(n for n in range(len(parts), 0, -1) if is_module(".".join(parts[:n])))
    found: Any = import_module(".".join(parts[:depth]))
    for part in parts[depth:]:
        found = getattr(found, part)
    code: CodeType = inspect.unwrap(found.__init__ if isinstance(found, type) else found).__code__
    return code


def is_module(name: str) -> bool:
    try:
        import_module(name)
    except ModuleNotFoundError:
        return False
    return True


def test_a_training_command_makes_the_documented_calls_in_their_order(tmp_path: Path) -> None:
    names = documented_calls()
    codes = {code_of(name): name for name in names}
    assert len(names) == len(codes) > 10
    first_calls: list[str] = []

    def trace(frame: FrameType, event: str, _: Any) -> None:
        name = codes.get(frame.f_code) if event == "call" else None
        if name and name not in first_calls:
            first_calls.append(name)

    data = ten_clips(tmp_path / "ESC-50-master")
    options = ("--model", "erann-0-1", "--fold", 1, "--iterations", 2, "--batch", 2, "--evaluate-every", 1, *TINY)
    sys.setprofile(trace)
    threading.setprofile(trace)
    try:
        result = command("train", "esc50", "--data", data, "--out", tmp_path / "run", *options)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]  # None ends it
    assert result.exit_code == 0, result.stderr
    assert first_calls == names


def trainer(accumulate: int = 1) -> Trainer:
    changes = {"batch": 4, "crop_seconds": 1.0, "mixup": "none", "augment": (), "accumulate": accumulate}
    settings = from_recipe(esc50.RECIPE, "erann-0-1", **changes)
    network = initialization.network(esc50.RECIPE, settings, None)
    augment = initialization.augmentation(settings, network)
    return Trainer(esc50.RECIPE, settings, Machine(torch.device("cpu")), augment, network)


def gradients(accumulate: int) -> tuple[float, torch.Tensor]:
    """The loss and all gradients of one step whose parts are the same two clips."""
    rngs = tuple(np.random.default_rng(index) for index in range(2))
    noise = torch.from_numpy(np.random.default_rng(2).integers(-3000, 3000, (2, 44100), np.int16))
    part = SampledBatch(Batch(noise, torch.eye(50)[[3, 7]]), rngs, rngs)
    ours = trainer(accumulate)
    loss = ours.step(repeat(part)).item()
    gradients = [parameter.grad.flatten() for parameter in ours.state.model.parameters() if parameter.grad is not None]
    return loss, torch.cat(gradients)


def test_the_gradients_of_accumulated_parts_are_averaged() -> None:
    loss, expected = gradients(1)
    assert expected.norm() > 0
    for accumulate in (2, 4):
        found_loss, found = gradients(accumulate)
        assert found_loss == pytest.approx(loss, rel=1e-5)
        assert (found - expected).norm() < 1e-4 * expected.norm()


def test_the_first_of_equally_good_checkpoints_is_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([0.5, 0.75, 0.75, 0.5, 0.75])
    events: list[Event] = []
    exported: list[tuple[str, int]] = []
    loop = TrainingLoop(trainer(), tmp_path, events.append)
    monkeypatch.setattr(loop, "export", lambda name: exported.append((name, loop.state.iteration)))
    loop.validation = type("", (), {"measure": lambda self, tagger: {"accuracy": next(values), "clips": 8}})()
    for iteration in range(1, 6):
        loop.state.iteration = iteration
        loop.evaluate()
    assert (loop.state.best, loop.state.best_iteration, loop.state.waiting) == (0.75, 2, 3)
    assert [iteration for name, iteration in exported if name == "best"] == [1, 2]
    assert [event.iteration for event in events if isinstance(event, Evaluated)] == [1, 2, 3, 4, 5]
