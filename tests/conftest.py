"""What several test files need: oracles, data sets, a tiny Tagger, sound files."""

import copy
import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from eranntag.engines.eager import Eager
from eranntag.features.logmel import Config
from eranntag.inference.network import Network
from eranntag.types import Checkpoint

CHECKOUT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("ERANNTAG_SHARED") or CHECKOUT.parent / "shared")
DATA = Path(os.environ.get("ERANNTAG_DATA") or SHARED / "data")

torch.set_num_threads(1)  # tiny networks gain nothing from more, and lose much beside another process
os.fsync = lambda handle: None  # of no power cut in this process, but for those that tests make up; some ms each


def float32_tolerance(compute: Callable[[np.ndarray], Any], given: np.ndarray, terms: int) -> float:
    """How far two ways to compute `compute(given)` in float32 may differ.

    It is what a change of every input by its last place does, times the roundings of both: FFTs, blocked and pairwise sums
    round once on each of log2(`terms`) levels.
    """
    signs = np.random.default_rng(0).choice((-1, 1), given.shape)
    moved = (given * (1 + np.finfo(np.float32).eps * signs)).astype(np.float32)
    difference = np.abs(np.asarray(compute(moved)) - np.asarray(compute(given))).max()
    return float(2 * np.log2(terms) * difference)


@pytest.fixture(scope="session")
def oracle() -> Callable[[str], Any]:
    """`oracle(name)`: the numbers of shared/spec/oracles/NAME.json."""

    def load(name: str) -> Any:
        path = SHARED / "spec" / "oracles" / f"{name}.json"
        if not path.is_file():
            pytest.skip(f"{path} is absent; ERANNTAG_SHARED can name its folder")
        return json.loads(path.read_text(encoding="utf-8"))

    return load


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of the real data sets (esc50/, ravdess/, audioset/)."""
    if not DATA.is_dir():
        pytest.skip(f"{DATA} is absent; ERANNTAG_DATA can name another folder")
    return DATA


@pytest.fixture
def tiny_checkpoint() -> Checkpoint:
    """ERANN-2-1 (0.8 M parameters) with four classes."""
    return Checkpoint(
        name="tiny",
        family="erann",
        model={"s_m": 2, "width": 1, "shortcut_bn": True},
        frontend_family="logmel",
        frontend=dataclasses.asdict(Config()),
        labels=("dog", "rain", "siren", "door, slamming"),
        activation="sigmoid",
    )


@pytest.fixture
def tiny_tagger(tiny_checkpoint: Checkpoint, tiny_taggers: dict[str, Eager]) -> Eager:
    """Seeded random weights; BatchNorm knows the statistics of noise, so that scores are not saturated."""
    key = repr(tiny_checkpoint)
    if key not in tiny_taggers:
        tiny_taggers[key] = _tiny(tiny_checkpoint)
    return copy.deepcopy(tiny_taggers[key])


@pytest.fixture(scope="session")
def tiny_taggers() -> dict[str, Eager]:
    """Those that have been made, by their checkpoint; a test gets a copy, which it may change."""
    return {}


def _tiny(tiny_checkpoint: Checkpoint) -> Eager:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        network = Network(tiny_checkpoint).train()
        norms = [layer for layer in network.modules() if hasattr(layer, "running_mean")]
        for norm in norms:
            norm.momentum = None  # a cumulative average: one forward is enough
        network(0.1 * torch.randn(2, 44100))
        for norm in norms:
            norm.momentum = 0.1
    return Eager(network.eval())


@pytest.fixture
def wav(tmp_path: Path) -> Callable[..., Path]:
    """`wav(name, waveform, rate, **options of soundfile.write)` writes (samples,) or (samples, channels)."""

    def write(name: str, waveform: np.ndarray, rate: int = 44100, **options: Any) -> Path:
        path = tmp_path / name
        soundfile.write(path, waveform, rate, **options)
        return path

    return write
