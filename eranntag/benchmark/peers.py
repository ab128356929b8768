"""Other taggers on the same machine: their authors' code, eager, in float32, one clip at a time, with random weights.

Only installed packages are measured; nothing is downloaded.
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
from eranntag.benchmark.timing import Spread, rate, time_repeatedly
from eranntag.errors import error_reason

CLASSES = 527
Work = Callable[[], object]


@dataclass(frozen=True)
class Peer:
    """The speed of another tagger; `holds` describes what is in the time."""

    name: str
    holds: str
    parameters: int
    clips_per_second: Spread
    v100: paper.Speeds | None

    def ratios(self, ours: Result) -> dict[str, float]:
        """Return the speed of `ours` relative to this one, one clip at a time: eager as well, and in its own engine."""
        theirs = self.clips_per_second.median
        return {"eager": ours.eager.clips_per_second.median / theirs, "engine": 1000 / ours.latency.p50_ms / theirs}


def measure(plan: Plan, device: str, log: Callable[[str], None]) -> tuple[tuple[Peer, ...], tuple[str, ...]]:
    """Return the peers that could be measured, and a line about each of the others."""
    found, missing = [], []
    for name, (packages, holds, build) in PEERS.items():
        if absent := [package for package in packages if find_spec(package) is None]:
            missing.append(f"{name}: not installed: pip install {' '.join(absent).replace('_', '-')}")
            continue
        log(f"{name}, eager in float32")
        try:
            model, inputs = build(plan.seconds)
            parameters = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
            pace = rate(time_repeatedly(_forward(model, inputs, device), plan.budget))
            found.append(Peer(name, holds, parameters, pace, paper.V100.get(name)))
        except Exception as error:  # errors of other projects' code do not end the benchmark
            missing.append(f"{name}: fails: {error_reason(error)}")
    return tuple(found), tuple(missing)


def _forward(model: torch.nn.Module, inputs: torch.Tensor, device: str) -> Work:
    model, inputs = model.to(device).eval(), inputs.to(device)

    @torch.inference_mode()
    def work() -> None:
        next(iter(model(inputs).values())).cpu()  # .cpu() waits for the GPU; both models return a dict, logits or scores first

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
    """Return panns_inference.models without running its package's __init__, which would start a download."""
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
