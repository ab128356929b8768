"""Tagger: a checkpoint that is ready to score clips. It has what the pipeline, evaluation and the benchmark use.

`network_tagger.NetworkTagger` computes one network, in one of the engines, and `ensemble.Ensemble` fuses several.
No torch here, so that a light engine starts at once.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, overload

import numpy as np

from eranntag.audio import reader
from eranntag.errors import EranntagError
from eranntag.inference import arguments
from eranntag.inference.arguments import Source, Sources
from eranntag.inference.embedding import Embedder
from eranntag.inference.prepared import AudioSource, LongAudio, Prepared, PreparedClip
from eranntag.inference.streaming import Geometry
from eranntag.types import Checkpoint, Clip, Embedding, Prediction

SHORT_BYTES = 1 << 26  # of decoded audio with all its channels, at most; what is larger is LongAudio

FrameScores = Callable[[np.ndarray], Sequence[np.ndarray] | np.ndarray]


class Tagger(ABC):
    """Scores whole clips (`scores`), and with most families each of their frames (`frame_scores`).

    `frontend` is the front-end's Config. `engine`, `dtype` and `device` name how it is executed, and `notes` explain that. Up
    to `parallel` calls of `scores` may run side by side, and `batch` clips at once are the fastest. `sha256` are the digests
    of the files it was loaded from, if any.
    """

    engine = ""
    batch = 1
    sha256: tuple[str, ...] = ()

    def __init__(
        self,
        checkpoint: Checkpoint,
        frontend: Any,
        geometry: Geometry,
        dtype: str = "float32",
        device: str = "cpu",
        parallel: int = 1,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.checkpoint = checkpoint
        self.frontend = frontend
        self.geometry = geometry
        self.dtype = dtype
        self.device = device
        self.parallel = parallel
        self.notes = notes

    @property
    def sample_rate_hz(self) -> int:
        """The sample rate of the model input in Hz; audio is resampled to it."""
        return int(self.frontend.sample_rate_hz)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.checkpoint.labels

    @property
    @abstractmethod
    def longest_seconds(self) -> float:
        """The length up to which a clip is computed at once; longer audio is computed in blocks, so that memory is bounded."""

    @property
    @abstractmethod
    def frame_seconds(self) -> float | None:
        """The duration of a row of `frame_scores`; None where frames are not scored."""

    @property
    @abstractmethod
    def embedding_size(self) -> int:
        """The length of an embedding. Raises UsageError for an ensemble, which has none."""

    @abstractmethod
    def prepare(self, clip: Clip) -> np.ndarray:
        """The clip as `scores` takes it, without the batch axis."""

    @abstractmethod
    def scores(self, prepared: np.ndarray) -> np.ndarray:
        """(batch, ...) of prepared clips of one shape -> probabilities (batch, classes) float32; NaN where there are none."""

    @abstractmethod
    def frame_scores(self, prepared: np.ndarray) -> Sequence[np.ndarray] | np.ndarray:
        """(batch, ...) of prepared clips of one shape -> of each the probabilities (frames, classes) float32, NaN where there
        are none: row k scores the audio from k * `frame_seconds` on. The last rows may be of the zeros that pad it."""

    @abstractmethod
    def frame_scores_of(self, audio: Prepared, frame_scores: FrameScores | None = None) -> np.ndarray:
        """The `frame_scores` of one clip of any length: (frames, classes). Of LongAudio only the scores are kept.

        Exact if the receptive field is finite; otherwise computed on independent windows, with `frame_scores` if it is
        passed.
        """

    @abstractmethod
    def predict_long(self, audio: LongAudio) -> Prediction:
        """The tags of audio that is decoded and computed block by block."""

    @abstractmethod
    def embeddings(self, prepared: np.ndarray) -> np.ndarray:
        """(batch, ...) of prepared clips of one shape -> their embeddings (batch, size) float32."""

    @abstractmethod
    def embed_long(self, audio: LongAudio) -> np.ndarray:
        """The embedding (size,) of audio that is decoded and computed block by block."""

    def waveform(self, clip: Clip) -> np.ndarray:
        """Mono, resampled, zeros up to whole seconds: (samples,) float32. Depends on nothing but the clip."""
        waveform = reader.to_mono(clip, self.sample_rate_hz)
        padded = self.frontend.padded_samples(len(waveform), self.geometry.frame_multiple)
        return np.pad(waveform, (0, padded - len(waveform)))

    def scores_and_embeddings(self, prepared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(batch, ...) of prepared clips of one shape -> their scores and embeddings, at once where the engine can."""
        return self.scores(prepared), self.embeddings(prepared)

    def prepare_source(self, source: AudioSource, name: str = "") -> Prepared:
        """A clip, file, clip of a shard or open stream as a PreparedClip; as LongAudio, of which only the beginning was read,
        if it is longer than `longest_seconds` or larger than SHORT_BYTES.

        `name` replaces a stream's in messages. Raises AudioError when it cannot be read.
        """
        stream = reader.open_stream(source, name)
        beginning: list[np.ndarray] = []
        samples = decoded_bytes = 0
        for block in stream.blocks:
            beginning.append(block)
            samples += block.shape[1]
            decoded_bytes += block.nbytes
            if samples / stream.rate > self.longest_seconds or decoded_bytes > SHORT_BYTES:
                return LongAudio(replace(stream, blocks=chain(beginning, stream.blocks)))
        clip = Clip(np.concatenate(beginning, 1), stream.rate, stream.source)
        return PreparedClip(clip.source, clip.seconds, self.prepare(clip))

    @overload
    def tag(self, source: Source, sample_rate: int | None = None, name: str = "") -> Prediction: ...
    @overload
    def tag(self, source: Sources, sample_rate: int | None = None, name: str = "") -> list[Prediction]: ...
    def tag(self, source: Source | Sources, sample_rate: int | None = None, name: str = "") -> Prediction | list[Prediction]:
        """The tags of a path, open binary file, Clip or array, of any length; of a list of them the list of their tags.

        An array is (samples,) or (channels, samples), floats, with its `sample_rate` in Hz. `name` replaces that of an array or
        open file. Raises UsageError for what is no sound, AudioError when one cannot be read (`eranntag.inference.arguments`).
        """
        return arguments.results(self, source, sample_rate, name)

    @overload
    def embed(self, source: Source, sample_rate: int | None = None, every: float | None = None) -> Embedding: ...
    @overload
    def embed(self, source: Sources, sample_rate: int | None = None, every: float | None = None) -> list[Embedding]: ...
    def embed(
        self, source: Source | Sources, sample_rate: int | None = None, every: float | None = None
    ) -> Embedding | list[Embedding]:
        """The embedding of what `tag` takes, or of its windows of `every` seconds. Raises UsageError for an ensemble."""
        return arguments.results(Embedder(self, every), source, sample_rate)

    def prediction(self, scores: np.ndarray, seconds: float, source: str) -> Prediction:
        """A row of `scores` as a Prediction; EranntagError when they are not finite."""
        self.check_finite(scores, source)
        return Prediction(self.labels, scores, seconds, source, self.checkpoint.name)

    def check_finite(self, numbers: np.ndarray, source: str, what: str = "scores") -> None:
        """Raises EranntagError where `numbers`, the `what` of `source`, are not finite."""
        if not np.isfinite(numbers).all():
            remedy = "; try --dtype float32" if self.dtype != "float32" else ""
            raise EranntagError(f"{source or 'clip'}: the {what} are not finite in {self.dtype}{remedy}")
