"""Tagger: a checkpoint that is ready to score sounds. What it has in common however it is executed; `engine` has the ways.

It says what a whole sound is (`scores`), and of most families what each of its frames is (`frame_scores`).
No torch here, so that a light engine starts at once.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain
from typing import Any, overload

import numpy as np

from eranntag import features
from eranntag.audio import reader
from eranntag.errors import EranntagError
from eranntag.inference import arguments, streaming
from eranntag.inference.activations import ACTIVATIONS
from eranntag.inference.arguments import Source, Sources
from eranntag.inference.embedding import Embedder
from eranntag.inference.prepared import Heard, Sound, opened
from eranntag.inference.streaming import Geometry
from eranntag.types import Checkpoint, Clip, Embedding, Prediction

HEARD_BYTES = 1 << 26  # of a sound as it is in the file, however many channels and samples a second that has

FrameScores = Callable[[np.ndarray], Sequence[np.ndarray]]


class Tagger(ABC):
    """`prepare`, `scores` and `tag` are what predict, evaluate and bench use; an engine writes `logits`, and `frame_logits`,
    `columns` and `classify` for the families that have these.

    `frontend` is the front-end's Config. `engine`, `dtype` and `device` name how it runs, `notes` say why. `parallel` calls of
    `scores` may run side by side, and `batch` clips at once are what it likes. `exact()` is the same engine in float32,
    for what a dtype that was not asked for cannot hold. `sha256` are the digests of the files it was loaded from, if any.
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
        self.checkpoint, self.frontend, self.geometry = checkpoint, frontend, geometry
        self.dtype, self.device, self.parallel, self.notes = dtype, device, parallel, notes
        self.exact: Callable[[], Tagger] | None = None

    @property
    def sample_rate_hz(self) -> int:
        """What it hears of a sound of a higher rate is what is left at this one."""
        return self.frontend.sample_rate_hz

    @property
    def labels(self) -> tuple[str, ...]:
        return self.checkpoint.labels

    def waveform(self, clip: Clip) -> np.ndarray:
        """Mono, resampled, zeros up to whole seconds: (samples,) float32. Depends on nothing but the clip."""
        waveform = reader.to_mono(clip, self.frontend.sample_rate_hz)
        padded = self.frontend.padded_samples(len(waveform), self.geometry.frame_multiple)
        return np.pad(waveform, (0, padded - len(waveform)))

    def prepare(self, clip: Clip) -> np.ndarray:
        """The clip as `logits` takes it: its waveform, or the image too where the engine has threads compute that ahead."""
        return self.waveform(clip)

    @abstractmethod
    def logits(self, prepared: np.ndarray) -> np.ndarray:
        """(batch, ...) of prepared clips of one shape -> (batch, classes) float32."""

    @abstractmethod
    def pooled(self, prepared: np.ndarray) -> np.ndarray:
        """(batch, ...) of prepared clips of one shape -> (batch, size) float32: the embedding that the family's head
        classifies (`Output.embedding`)."""

    def columns(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(1, 1, rows, frames) float32 -> mean and maximum of each column of the feature map: twice (1, channels, columns).

        This and `classify` are there where `geometry.context_frames` is.
        """
        raise NotImplementedError

    def classify(self, pooled: np.ndarray) -> np.ndarray:
        """(n, channels), means plus maxima, those of columns or what was pooled of them -> logits (n, classes) float32."""
        raise NotImplementedError

    def column_logits(self, means: np.ndarray, highest: np.ndarray) -> np.ndarray:
        """What `columns` gives, twice (batch, channels, columns) -> (batch, columns, classes).

        Class activation through the head: each column alone is classified, so that its score is what the clip would get
        if it were that column only, and on the scale of clips. (The head is not linear: these are no shares of the clip's.)
        """
        columns = (means + highest).swapaxes(1, 2)  # (batch, columns, channels)
        logits = self.classify(columns.reshape(-1, columns.shape[2]))
        return logits.reshape(*columns.shape[:2], -1)

    def frame_logits(self, prepared: np.ndarray) -> np.ndarray | None:
        """(batch, ...) of prepared clips of one shape -> (batch, frames, classes) float32: `column_logits` where the network
        has columns, else what it says of frames itself; None where it says nothing of them."""
        return None

    def scores(self, prepared: np.ndarray) -> np.ndarray:
        """(batch, ...) of prepared clips of one shape -> probabilities (batch, classes) float32; NaN where there are none."""
        scores = self._probabilities(self.logits(prepared))
        lost = np.isnan(scores).any(1)
        if lost.any() and self.exact is not None:
            scores[lost] = self.exact().scores(prepared[lost])
        return scores

    def embeddings(self, prepared: np.ndarray) -> np.ndarray:
        """(batch, ...) of prepared clips of one shape -> their embeddings (batch, size) float32."""
        vectors = self.pooled(prepared)
        lost = ~np.isfinite(vectors).all(1)
        if lost.any() and self.exact is not None:
            vectors[lost] = self.exact().embeddings(prepared[lost])
        return vectors

    def answers(self, prepared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(batch, ...) of prepared clips of one shape -> their scores and embeddings; engines that can compute both at once."""
        return self.scores(prepared), self.embeddings(prepared)

    @cached_property
    def embedding_size(self) -> int:
        """The length of an embedding. Raises UsageError for an ensemble, which has none."""
        return self.embeddings(self.prepare(self._silence())[None]).shape[1]

    def _silence(self) -> Clip:
        """One sample of it."""
        return Clip(np.zeros((1, 1), np.float32), self.sample_rate_hz)

    @cached_property
    def frame_seconds(self) -> float | None:
        """How long a row of `frame_scores` stands for: whole hops of the front-end. None where the network scores no frames."""
        frames = self.geometry.frame_multiple  # of a column
        if self.geometry.context_frames is None:
            silence = self._silence()
            logits = self.frame_logits(self.prepare(silence)[None])
            if logits is None:
                return None
            frames = round(self.frontend.frames(len(self.waveform(silence))) / logits.shape[1])
        return frames * self.frontend.hop_samples / self.sample_rate_hz

    def frame_scores(self, prepared: np.ndarray) -> Sequence[np.ndarray]:
        """(batch, ...) of prepared clips of one shape -> of each the probabilities (frames, classes) float32, NaN where there
        are none: row k is about the sound from k * `frame_seconds` on. The last rows may be of the zeros that pad it."""
        logits = self.frame_logits(prepared)
        assert logits is not None, "frame_seconds is None"
        scores = self._probabilities(logits)
        lost = np.isnan(scores).any((1, 2))
        if lost.any() and self.exact is not None:
            scores[lost] = self.exact().frame_scores(prepared[lost])
        return scores

    def frame_scores_of(self, heard: Heard, frame_scores: FrameScores | None = None) -> np.ndarray:
        """The `frame_scores` of one sound of any length, (frames, classes); the rest of a long one is read and computed block
        by block, and only the scores are kept.

        They are those of one pass where front-end and family see only so far; else those of windows, each alone, of which
        another function may be asked than our own.
        """
        scores_of = frame_scores or self.frame_scores
        if heard.prepared is not None:
            return scores_of(heard.prepared[None])[0]
        assert heard.blocks is not None
        if self._frames is not None:
            pieces = streaming.columns_of(heard.blocks, self.frontend, self._frames, self.geometry, self.columns)
            return np.concatenate([self._probabilities(self.column_logits(*piece))[0] for piece in pieces])
        return np.concatenate(list(self._frames_of_windows(heard.blocks, scores_of)))

    def _frames_of_windows(self, blocks: Iterator[np.ndarray], scores_of: FrameScores) -> Iterator[np.ndarray]:
        rate = self.sample_rate_hz
        assert self.frame_seconds is not None
        step = round(self.frame_seconds * rate)
        for window in streaming.windows(blocks, max(1, self.geometry.window_seconds * rate // step) * step):
            rows = -(-len(window) // step)  # without those of padding, so that the next window's are in their place
            yield scores_of(self.prepare(Clip(window[None], rate))[None])[0][:rows]

    def _probabilities(self, logits: np.ndarray) -> np.ndarray:
        """(..., classes); a row with a logit that is not finite is all NaN, as a sigmoid would make 1 of infinity."""
        scores = ACTIVATIONS[self.checkpoint.activation](logits)
        scores[~np.isfinite(logits).all(-1)] = np.nan
        return scores

    def prepare_source(self, source: Sound, name: str = "") -> Heard:
        """Read a clip, file, clip of a shard or open stream; of what is longer than a block, or larger than HEARD_BYTES, only
        the beginning.

        `name` replaces a stream's in messages. Raises AudioError when it cannot be read.
        """
        sound, seconds = opened(source, name)
        beginning: list[np.ndarray] = []
        held_bytes = 0
        for block in sound.blocks:
            beginning.append(block)
            held_bytes += block.nbytes
            if seconds() > self.longest_seconds or held_bytes > HEARD_BYTES:
                return self._long(replace(sound, blocks=chain(beginning, sound.blocks)), seconds)
        clip = Clip(np.concatenate(beginning, 1), sound.rate, sound.source)
        return Heard(clip.source, seconds, self.prepare(clip))

    def _long(self, sound: reader.AudioStream, seconds: Callable[[], float]) -> Heard:
        """What `predict_long` takes of a sound that is longer than `longest_seconds`."""
        return Heard(sound.source, seconds, blocks=reader.mono_blocks(sound, self.frontend.sample_rate_hz))

    @property
    def longest_seconds(self) -> float:
        """What is longer is computed in blocks, so that memory is bounded; see `predict_long`."""
        if self._frames is None:
            return self.geometry.window_seconds
        return self.geometry.block_frames / self.frontend.frames_per_second

    @cached_property
    def _frames(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """How pieces of a long sound become images, if the family can take these in pieces."""
        if self.geometry.context_frames is None:
            return None
        return features.framer(self.checkpoint.frontend_family, self.frontend)

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

    def predict_long(self, heard: Heard) -> Prediction:
        """The rest of a long sound is read and computed block by block.

        The result is that of one pass (`inference.streaming`) if front-end and family see only so far; a learned front-end or
        squeeze-and-excitation does not. Then it is the mean of the probabilities of windows, by their length, or for a
        family that says so (2APAE) the highest of them.
        """
        assert heard.blocks is not None
        if self._frames is not None:
            pooled = streaming.pooled(heard.blocks, self.frontend, self._frames, self.geometry, self.columns)
            scores = self._probabilities(self.classify(pooled))[0]
        else:
            scores = self._of_windows(heard.blocks)
        return self.prediction(scores, heard.seconds(), heard.source)

    def _of_windows(self, blocks: Iterator[np.ndarray]) -> np.ndarray:
        scores, lengths = self._by_window(blocks, self.scores)
        pooled = np.max(scores, 0) if self.geometry.highest else np.average(scores, 0, lengths)
        return pooled.astype(np.float32)

    def _by_window(
        self, blocks: Iterator[np.ndarray], function: Callable[[np.ndarray], np.ndarray]
    ) -> tuple[list[np.ndarray], list[int]]:
        """`function`'s row for each window of a long sound, and the windows' lengths in samples."""
        rate, rows, lengths = self.sample_rate_hz, [], []
        for window in streaming.windows(blocks, self.geometry.window_seconds * rate):
            rows.append(function(self.prepare(Clip(window[None], rate))[None])[0])
            lengths.append(len(window))
        return rows, lengths

    def embed_long(self, heard: Heard) -> np.ndarray:
        """The embedding (size,) of a long sound, read block by block: that of one pass where front-end and family allow it, as
        for `predict_long`; else the mean of its windows' embeddings, weighted by their lengths."""
        assert heard.blocks is not None
        if self._frames is not None:
            return streaming.pooled(heard.blocks, self.frontend, self._frames, self.geometry, self.columns)[0]
        vectors, lengths = self._by_window(heard.blocks, self.embeddings)
        return np.average(vectors, 0, lengths).astype(np.float32)

    def prediction(self, scores: np.ndarray, seconds: float, source: str) -> Prediction:
        """A row of `scores` as a Prediction; EranntagError when the network gave no finite numbers."""
        self.check_finite(scores, source)
        return Prediction(self.labels, scores, seconds, source, self.checkpoint.name)

    def check_finite(self, numbers: np.ndarray, source: str, what: str = "scores") -> None:
        """Raises EranntagError where the network's numbers for `source`, `what` they are, are not finite."""
        if not np.isfinite(numbers).all():
            remedy = "; try --dtype float32" if self.dtype != "float32" else ""
            raise EranntagError(f"{source or 'clip'}: the {what} are not finite in {self.dtype}{remedy}")
