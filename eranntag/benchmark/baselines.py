"""Other taggers on this machine in the same run: as their authors publish the code, eager, float32, one clip at a time.

Only what is installed is timed, with random weights; nothing is downloaded. A row says what its time holds.
"""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from types import ModuleType

import torch

from eranntag.benchmark import paper
from eranntag.benchmark.plan import Plan
from eranntag.benchmark.tagging import Result
from eranntag.benchmark.timing import Spread, rate, timed
from eranntag.errors import error_reason

CLASSES = 527
Work = Callable[[], object]


@dataclass(frozen=True)
class Peer:
    """`holds`: what is in the time."""

    name: str
    holds: str
    parameters: int
    clips_per_second: Spread
    v100: paper.Speeds | None

    def ratios(self, ours: Result) -> dict[str, float]:
        """How many times as many clips a second `ours` computes, one at a time: eager like this one, and in its engine."""
        theirs = self.clips_per_second.median
        return {"eager": ours.eager.clips_per_second.median / theirs, "engine": 1000 / ours.latency.p50_ms / theirs}


def measured(plan: Plan, device: str, tell: Callable[[str], None]) -> tuple[tuple[Peer, ...], tuple[str, ...]]:
    """What could be timed, and a line for each that could not."""
    found, missing = [], []
    for name, (packages, holds, build) in PEERS.items():
        if absent := [package for package in packages if find_spec(package) is None]:
            missing.append(f"{name}: not installed: pip install {' '.join(absent).replace('_', '-')}")
            continue
        tell(f"{name}, eager in float32")
        try:
            model, given = build(plan.seconds)
            parameters = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
            pace = rate(timed(_work(model, given, device), plan.budget))
            found.append(Peer(name, holds, parameters, pace, paper.V100.get(name)))
        except Exception as error:  # whatever another project's code does, ours is measured
            missing.append(f"{name}: fails: {error_reason(error)}")
    return tuple(found), tuple(missing)


def _work(model: torch.nn.Module, given: torch.Tensor, device: str) -> Work:
    model, given = model.to(device).eval(), given.to(device)

    @torch.inference_mode()
    def work() -> None:
        next(iter(model(given).values())).cpu()  # which waits for a GPU; either returns a dict, logits or scores first

    return work


def _ast(seconds: float) -> tuple[torch.nn.Module, torch.Tensor]:
    """Gong et al., "AST: Audio Spectrogram Transformer", 2021, as transformers has it: 1024 frames of 10 ms for 10 s."""
    from transformers import ASTConfig, ASTForAudioClassification

    config = ASTConfig(max_length=round(102.4 * seconds), num_labels=CLASSES)
    return ASTForAudioClassification(config), torch.randn(1, config.max_length, config.num_mel_bins)


def _cnn14(seconds: float) -> tuple[torch.nn.Module, torch.Tensor]:
    """Kong et al., "PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern Recognition", 2020."""
    model = _panns().Cnn14(32000, 1024, 320, 64, 50, 14000, CLASSES)
    return model, 0.1 * torch.randn(1, round(32000 * seconds))


def _panns() -> ModuleType:
    """panns_inference.models without its package's __init__, which would start a download."""
    name = "panns_inference"
    if name in sys.modules:
        return importlib.import_module(f"{name}.models")
    spec = find_spec(name)
    assert spec is not None
    package = ModuleType(name)
    package.__path__ = list(spec.submodule_search_locations or ())
    sys.modules[name] = package
    try:
        return importlib.import_module(f"{name}.models")
    finally:
        del sys.modules[name]


PEERS: dict[str, tuple[tuple[str, ...], str, Callable[[float], tuple[torch.nn.Module, torch.Tensor]]]] = {
    "AST": (("transformers",), "the model alone, without its filter bank", _ast),
    "CNN14": (("panns_inference", "torchlibrosa", "librosa", "matplotlib"), "log-mel and model", _cnn14),
}
