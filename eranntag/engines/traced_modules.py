"""The parts of a model that are compiled or exported, as torch modules from tensors to tensors."""

from typing import Any

from torch import Tensor, nn


class _Part(nn.Module):
    """A part of `model`, a model of `eranntag.models`."""

    model: Any

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


class Logits(_Part):
    """image (batch, 1, rows, frames) -> logits (batch, classes)"""

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.model(image).clip_logits
        return logits


class Body(_Part):
    """image -> logits, and mean and maximum of each column (batch, channels, columns)"""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        means, highest = self.model.columns(image)
        return self.model.classify(means.mean(-1) + highest.max(-1).values), means, highest


class Framed(_Part):
    """image -> logits, embedding (batch, size), and logits of each frame (batch, frames, classes) where the family has them"""

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        output = self.model(image)
        found = (output.clip_logits, output.embedding)
        return found if output.frame_logits is None else (*found, output.frame_logits)


class Scored(_Part):
    """image -> logits and probabilities (batch, classes), embedding (batch, size)"""

    def __init__(self, model: nn.Module, activation: str) -> None:
        super().__init__(model)
        self.activation = {"softmax": nn.Softmax(-1), "sigmoid": nn.Sigmoid()}[activation]

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        output = self.model(image)
        return output.clip_logits, self.activation(output.clip_logits), output.embedding


class Head(_Part):
    """pooled (batch, channels) -> logits (batch, classes)"""

    def forward(self, pooled: Tensor) -> Tensor:
        logits: Tensor = self.model.classify(pooled)
        return logits
