"""What is measured: a checkpoint, or an architecture with random weights, which is as fast."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eranntag import models, registry
from eranntag.checkpoints import catalog, header, loading, weights
from eranntag.engines import verify
from eranntag.errors import UsageError
from eranntag.inference.network import Network
from eranntag.recipes.audioset import RECIPE
from eranntag.training import config, initialization

SEED = 0
LOGIT, DEVIATION = -5.0, 0.5  # AudioSet's clips have 2 or 3 of the 527 classes: most probabilities are near 0


@dataclass(frozen=True)
class Subject:
    """A checkpoint by `name`; `architecture` is the paper's name of its model; an ensemble, in `registry`, has no `path`."""

    name: str
    path: Path | None
    architecture: str
    random: bool = False
    registry: str | None = None

    @property
    def checkpoint(self) -> str:
        """The value of `predict -c`."""
        return str(self.path or self.name)


def find(name: str | None, folder: Path, user_registry: str | None = None, offline: bool = False) -> Subject:
    """Return the subject of a checkpoint's name, file or `hf:` address, or of an architecture's name.

    Random weights of an architecture are written into `folder`. Raises what `loading.find` raises.
    """
    if name is not None and not _is_checkpoint(name, user_registry):
        try:
            models.resolve(name)
        except UsageError:
            pass  # the error about checkpoints, below, suggests similar names
        else:
            path = folder / f"{name}.safetensors"
            weights.save(random_network(name), path)
            return Subject(name, path, _architecture(path), random=True)
    found = loading.find_all(name, user_registry, offline)
    architectures = [_architecture(each.path) for each in found]
    if len(found) == 1:
        return Subject(found[0].name, found[0].path, architectures[0])
    called = name or catalog.load_catalog(user_registry).default
    return Subject(called, None, " + ".join(architectures), registry=user_registry)


def _is_checkpoint(name: str, user_registry: str | None) -> bool:
    return name.startswith("hf:") or os.path.exists(name) or name in catalog.load_catalog(user_registry).rows


def _architecture(path: Path) -> str:
    spec = header.read_checkpoint(path)
    try:
        return models.name_of(spec.family, registry.get("eranntag.models", spec.family).Config(**spec.model))
    except TypeError:  # loading it raises the error
        return ""


def random_network(architecture: str) -> Network:
    """Return a network for AudioSet's 527 classes with seeded random weights and realistic outputs.

    Engines compare reduced precision with float32 on built-in sounds and refuse it if scores differ; trained weights pass. So
    that random ones do, BatchNorm gets the statistics of these sounds, and their logits the mean LOGIT and the standard
    deviation DEVIATION.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        network = initialization.network(
            RECIPE, config.from_recipe(RECIPE, architecture, seed=SEED, pretrained=False), None
        ).train()
        sounds = [clip.waveform[0] for clip in verify.signals(network.frontend.config.sample_rate_hz)]
        waveforms = torch.from_numpy(np.stack(sounds))
        norms: list[Any] = [module for module in network.modules() if hasattr(module, "running_mean")]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = None  # the plain average: one batch is enough
        network(waveforms)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        logits = network.eval()(waveforms).clip_logits
        linear = [module for module in network.modules() if isinstance(module, torch.nn.Linear)]
        scores = next(layer for layer in linear if layer.out_features % logits.shape[1] == 0)  # PSLA's attention comes after
        scale = DEVIATION / logits.std()
        scores.weight *= scale
        scores.bias.sub_(logits.mean()).mul_(scale).add_(LOGIT)
    return network
