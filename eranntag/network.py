"""Network: front-end + model in torch, the thing that is trained and saved. `engine` makes Taggers of it."""

import torch
from torch import Tensor, nn

from eranntag import registry
from eranntag.errors import CheckpointError
from eranntag.tagger import ACTIVATIONS
from eranntag.types import Checkpoint, Output

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Network(nn.Module):
    """Composes any front-end and any model family as `checkpoint` says; random weights until some are loaded.

    Raises CheckpointError when the checkpoint's configuration is impossible.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        features = registry.get("eranntag.features", checkpoint.frontend_family)
        family = registry.get("eranntag.models", checkpoint.family)
        if checkpoint.activation not in ACTIVATIONS:
            raise CheckpointError(f"{checkpoint.name}: activation {checkpoint.activation!r} is not {'|'.join(ACTIVATIONS)}")
        try:
            self.frontend = features.Frontend(features.Config(**checkpoint.frontend))
            config = family.Config(**checkpoint.model)
            self.model = family.Model(config, self.frontend.config.rows, len(checkpoint.labels))
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"{checkpoint.name}: impossible configuration: {error}") from None
        self.checkpoint = checkpoint

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def forward(self, waveform: Tensor) -> Output:
        """(batch, samples), padded as `Tagger.prepare` does, at the front-end's rate -> Output of logits."""
        return self.model(self.frontend(waveform))


def memory_format(model: nn.Module, device: torch.device) -> torch.memory_format:
    """channels_last is 1.5 times as fast, but torch 2.14 corrupts the heap with 8 channels on AVX-512 CPUs."""
    narrowest = min((layer.out_channels for layer in model.modules() if isinstance(layer, nn.Conv2d)), default=16)
    return torch.channels_last if device.type == "cuda" or narrowest >= 16 else torch.contiguous_format
