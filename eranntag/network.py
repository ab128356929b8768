"""Network: front-end + model in torch, the thing that is trained and saved. `engine` makes Taggers of it."""

import torch
from torch import Tensor, nn

from eranntag import registry
from eranntag.errors import CheckpointError
from eranntag.tagger import ACTIVATIONS
from eranntag.types import Checkpoint, Output

OF_FRONTEND = "frontend."  # no module of a model is called so
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
    def learned(self) -> bool:
        """Whether the front-end has parameters, which are trained and saved with the model's."""
        return any(True for _ in self.frontend.parameters())

    @property
    def trained(self) -> nn.Module:
        """What a run trains: the model, or all of the network where the front-end is learned."""
        return self if self.learned else self.model

    def tensors(self) -> dict[str, Tensor]:
        """What a weight file holds: the model's tensors by their own names, a learned front-end's as `frontend.NAME`."""
        return {**self.model.state_dict(), **{f"{OF_FRONTEND}{name}": t for name, t in self.frontend.state_dict().items()}}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `tensors`; all must be there, in their shapes."""
        learned = {name: tensor for name, tensor in tensors.items() if name.startswith(OF_FRONTEND)}
        self.frontend.load_state_dict({name.removeprefix(OF_FRONTEND): tensor for name, tensor in learned.items()})
        self.model.load_state_dict({name: tensor for name, tensor in tensors.items() if name not in learned})

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def forward(self, waveform: Tensor, mask: Tensor | None = None) -> Output:
        """(batch, samples), padded as `Tagger.prepare` does, at the front-end's rate -> Output of logits.

        `mask` is the model's: ones and zeros of the image's shape.
        """
        return self.model(self.frontend(waveform), mask)


def memory_format(model: nn.Module, device: torch.device) -> torch.memory_format:
    """channels_last is 1.5 times as fast, but torch 2.14 corrupts the heap with 8 channels on AVX-512 CPUs."""
    narrowest = min((layer.out_channels for layer in model.modules() if isinstance(layer, nn.Conv2d)), default=16)
    return torch.channels_last if device.type == "cuda" or narrowest >= 16 else torch.contiguous_format
