"""The embedding of a clip, or of each of its windows: the vector that the network's head classifies.

An Embedder is a `pipeline.Scorer`, as a Tagger is.
"""

import math
from collections.abc import Iterator
from itertools import islice
from typing import Protocol

import numpy as np

from eranntag.audio import reader
from eranntag.errors import UsageError
from eranntag.inference import streaming
from eranntag.inference.batching import batched_by_shape
from eranntag.inference.prepared import AudioSource, LongAudio, Prepared, PreparedClip
from eranntag.types import Checkpoint, Clip, Embedding

EVERY_SECONDS = (0.1, 600.0)  # the length of a window, at least and at most: one is held in memory


class EmbeddingModel(Protocol):
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
    def prepare_source(self, source: AudioSource, name: str = "") -> Prepared: ...
    def embeddings(self, prepared: np.ndarray) -> np.ndarray: ...
    def embed_long(self, audio: LongAudio) -> np.ndarray: ...
    def check_finite(self, numbers: np.ndarray, source: str, what: str = "scores") -> None: ...


class Embedder:
    """Embeds whole clips with `tagger`, or their consecutive windows of `every` seconds, each as a clip of its own.

    `size` is the length of a vector. Raises UsageError for an ensemble, which has no embedding, and for an `every` outside
    EVERY_SECONDS.
    """

    def __init__(self, tagger: EmbeddingModel, every: float | None = None) -> None:
        if every is not None and not EVERY_SECONDS[0] <= every <= EVERY_SECONDS[1]:
            least, most = EVERY_SECONDS
            raise UsageError(f"every {every:g}: windows of {least:g} to {most:g} seconds can be embedded")
        self.tagger, self.size = tagger, tagger.embedding_size
        self.batch, self.parallel = tagger.batch, tagger.parallel
        self.window_samples = None if every is None else round(every * tagger.sample_rate_hz)

    def prepare_source(self, source: AudioSource, name: str = "") -> Prepared:
        if self.window_samples is None:
            return self.tagger.prepare_source(source, name)
        return LongAudio(reader.open_stream(source, name))

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
        vectors = vectors[: max(1, math.ceil(seconds / step - 1e-6))]  # resampling may have added a sample
        return Embedding(vectors, np.arange(len(vectors)) * step, seconds, step, source, name)

    def predict_long(self, audio: LongAudio) -> Embedding:
        """The Embedding of audio of any length; a few windows are in memory."""
        if self.window_samples is None:
            vectors = self.tagger.embed_long(audio)
        else:
            vectors = np.stack(list(self._window_vectors(audio, self.window_samples)))
        return self.prediction(vectors, audio.seconds, audio.source)

    def _window_vectors(self, audio: LongAudio, window_samples: int) -> Iterator[np.ndarray]:
        rate = self.tagger.sample_rate_hz
        windows = streaming.windows(audio.mono_blocks(rate), window_samples)
        prepared = (self.tagger.prepare_source(Clip(window[None], rate, audio.source)) for window in windows)
        for batch in iter(lambda: list(islice(prepared, self.batch)), []):
            arrays = [window.array for window in batch if isinstance(window, PreparedClip)]
            short = iter(batched_by_shape(self.tagger.embeddings, arrays))
            for window in batch:
                yield self.tagger.embed_long(window) if isinstance(window, LongAudio) else next(short)
