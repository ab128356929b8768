"""The embedding of a sound, or of each of its windows: the vector that the network's head classifies.

`predict.predict` takes an Embedder in a Tagger's place.
"""

import math
from collections.abc import Iterator
from itertools import groupby, islice
from typing import Protocol

import numpy as np

from eranntag.errors import UsageError
from eranntag.inference import streaming
from eranntag.inference.prepared import Heard, Sound, in_blocks
from eranntag.types import Checkpoint, Clip, Embedding

EVERY_SECONDS = (0.1, 600.0)  # the length of a window, at least and at most: one is held in memory


class Model(Protocol):
    """What an Embedder needs of a Tagger."""

    @property
    def batch(self) -> int: ...
    @property
    def parallel(self) -> int: ...
    @property
    def checkpoint(self) -> Checkpoint: ...
    @property
    def sample_rate_hz(self) -> int: ...
    @property
    def embedding_size(self) -> int: ...
    def prepare_source(self, source: Sound, name: str = "") -> Heard: ...
    def embeddings(self, prepared: np.ndarray) -> np.ndarray: ...
    def embed_long(self, heard: Heard) -> np.ndarray: ...
    def check_finite(self, numbers: np.ndarray, source: str, what: str = "scores") -> None: ...


class Embedder:
    """Embeds whole sounds with `tagger`, or their consecutive windows of `every` seconds, each as a sound of its own.

    `size` is the length of a vector. Raises UsageError for an ensemble, which has no embedding, and for an `every` outside
    EVERY_SECONDS.
    """

    def __init__(self, tagger: Model, every: float | None = None) -> None:
        if every is not None and not EVERY_SECONDS[0] <= every <= EVERY_SECONDS[1]:
            least, most = EVERY_SECONDS
            raise UsageError(f"every {every:g}: windows of {least:g} to {most:g} seconds can be embedded")
        self.tagger, self.size = tagger, tagger.embedding_size
        self.batch, self.parallel = tagger.batch, tagger.parallel
        self.window_samples = None if every is None else round(every * tagger.sample_rate_hz)

    def prepare_source(self, source: Sound, name: str = "") -> Heard:
        if self.window_samples is None:
            return self.tagger.prepare_source(source, name)
        return in_blocks(source, name, self.tagger.sample_rate_hz)

    def scores(self, prepared: np.ndarray) -> np.ndarray:
        """(batch, ...) of prepared clips of one shape -> (batch, size)."""
        return self.tagger.embeddings(prepared)

    def prediction(self, scores: np.ndarray, seconds: float, source: str) -> Embedding:
        """The Embedding of a row of `scores`, or of (windows, size). EranntagError when the numbers are not finite."""
        self.tagger.check_finite(scores, source, "embeddings")
        vectors, name = np.atleast_2d(scores), self.tagger.checkpoint.name
        if self.window_samples is None:
            return Embedding(vectors, np.zeros(1), seconds, None, source, name)
        step = self.window_samples / self.tagger.sample_rate_hz
        vectors = vectors[: max(1, math.ceil(seconds / step - 1e-6))]  # resampling may have made a sample more
        return Embedding(vectors, np.arange(len(vectors)) * step, seconds, step, source, name)

    def predict_long(self, heard: Heard) -> Embedding:
        """The Embedding of a sound of any length in blocks; a few windows are in memory."""
        vectors = self.tagger.embed_long(heard) if self.window_samples is None else np.stack(list(self._vectors(heard)))
        return self.prediction(vectors, heard.seconds(), heard.source)

    def _vectors(self, heard: Heard) -> Iterator[np.ndarray]:
        assert heard.blocks is not None and self.window_samples is not None
        rate = self.tagger.sample_rate_hz
        windows = streaming.windows(heard.blocks, self.window_samples)
        each = (self.tagger.prepare_source(Clip(window[None], rate, heard.source)) for window in windows)
        for batch in iter(lambda: list(islice(each, self.batch)), []):
            for shape, group in groupby(batch, lambda window: None if window.prepared is None else window.prepared.shape):
                if shape is None:
                    yield from map(self.tagger.embed_long, group)
                else:
                    yield from self.tagger.embeddings(np.stack([window.prepared for window in group]))
