"""NetworkTagger: one network as a Tagger, in whichever engine computes its logits."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np

from eranntag import features
from eranntag.inference import streaming
from eranntag.inference.activations import ACTIVATIONS
from eranntag.inference.prepared import LongAudio, Prepared, PreparedClip
from eranntag.inference.tagger import FrameScores, Tagger
from eranntag.types import Clip, Prediction


class NetworkTagger(Tagger):
    """An engine implements `logits`, `pooled`, `frame_logits`, and for families with columns `columns` and `classify`.

    `exact()` is the same engine in float32, for clips whose numbers a dtype that was chosen automatically cannot hold.
    """

    exact: Callable[[], Tagger] | None = None

    @abstractmethod
    def logits(self, prepared: np.ndarray) -> np.ndarray:
        """(batch, ...) of prepared clips of one shape -> (batch, classes) float32."""

    @abstractmethod
    def pooled(self, prepared: np.ndarray) -> np.ndarray:
        """(batch, ...) of prepared clips of one shape -> (batch, size) float32: the embedding that the family's head
        classifies (`Output.embedding`)."""

    @abstractmethod
    def frame_logits(self, prepared: np.ndarray) -> np.ndarray | None:
        """(batch, ...) of prepared clips of one shape -> (batch, frames, classes) float32: `column_logits` where the network
        has columns, else its own logits of frames; None where it has none."""

    @abstractmethod
    def columns(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(1, 1, rows, frames) float32 -> mean and maximum of each column of the feature map: twice (1, channels, columns).

        This and `classify` are called where `geometry.context_frames` is not None.
        """

    @abstractmethod
    def classify(self, pooled: np.ndarray) -> np.ndarray:
        """(n, channels), means plus maxima, of columns or pooled over them -> logits (n, classes) float32."""

    def prepare(self, clip: Clip) -> np.ndarray:
        """The waveform of the clip, or its image where the engine has threads compute that ahead."""
        return self.waveform(clip)

    def column_logits(self, means: np.ndarray, highest: np.ndarray) -> np.ndarray:
        """The two results of `columns`, (batch, channels, columns) each -> (batch, columns, classes).

        Class activation through the head: each column alone is classified, so that its score is what the clip would get
        if it were that column only, and on the scale of clips. (The head is not linear: these are no shares of the clip's.)
        """
        columns = (means + highest).swapaxes(1, 2)  # (batch, columns, channels)
        logits = self.classify(columns.reshape(-1, columns.shape[2]))
        return logits.reshape(*columns.shape[:2], -1)

    def scores(self, prepared: np.ndarray) -> np.ndarray:
        scores = self._probabilities(self.logits(prepared))
        lost = np.isnan(scores).any(1)
        if lost.any() and self.exact is not None:
            scores[lost] = self.exact().scores(prepared[lost])
        return scores

    def embeddings(self, prepared: np.ndarray) -> np.ndarray:
        vectors = self.pooled(prepared)
        lost = ~np.isfinite(vectors).all(1)
        if lost.any() and self.exact is not None:
            vectors[lost] = self.exact().embeddings(prepared[lost])
        return vectors

    @cached_property
    def embedding_size(self) -> int:
        return int(self.embeddings(self.prepare(self._silence())[None]).shape[1])

    def _silence(self) -> Clip:
        """A clip of one sample."""
        return Clip(np.zeros((1, 1), np.float32), self.sample_rate_hz)

    @cached_property
    def frame_seconds(self) -> float | None:
        frames = self.geometry.frame_multiple  # of a column
        if self.geometry.context_frames is None:
            silence = self._silence()
            logits = self.frame_logits(self.prepare(silence)[None])
            if logits is None:
                return None
            frames = round(self.frontend.frames(len(self.waveform(silence))) / logits.shape[1])
        return float(frames * self.frontend.hop_samples / self.sample_rate_hz)

    def frame_scores(self, prepared: np.ndarray) -> np.ndarray:
        logits = self.frame_logits(prepared)
        assert logits is not None, "frame_seconds is None"
        scores = self._probabilities(logits)
        lost = np.isnan(scores).any((1, 2))
        if lost.any() and self.exact is not None:
            scores[lost] = self.exact().frame_scores(prepared[lost])
        return scores

    def _probabilities(self, logits: np.ndarray) -> np.ndarray:
        """(..., classes); a row with a logit that is not finite is all NaN, as a sigmoid would make 1 of infinity."""
        scores = ACTIVATIONS[self.checkpoint.activation](logits)
        scores[~np.isfinite(logits).all(-1)] = np.nan
        return scores

    # Long audio: exact where the image can be cut (`streaming`), else in independent windows

    @property
    def longest_seconds(self) -> float:
        if self._frames is None:
            return self.geometry.window_seconds
        return float(self.geometry.block_frames / self.frontend.frames_per_second)

    @cached_property
    def _frames(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """The function from a piece of waveform to its image, if the family can take the image of long audio in pieces."""
        if self.geometry.context_frames is None:
            return None
        return features.framer(self.checkpoint.frontend_family, self.frontend)

    def predict_long(self, audio: LongAudio) -> Prediction:
        """The tags of audio that is decoded and computed block by block.

        Exact if the receptive field is finite; a learned front-end or squeeze-and-excitation has no finite one. Then the scores
        are the mean of the probabilities of windows, weighted by their lengths, or for `aggregate` "max" the highest of them.
        """
        blocks = audio.mono_blocks(self.sample_rate_hz)
        if self._frames is not None:
            pooled = streaming.pooled(blocks, self.frontend, self._frames, self.geometry, self.columns)
            scores = self._probabilities(self.classify(pooled))[0]
        else:
            windows, lengths = self._by_window(blocks, self.scores)
            scores = np.max(windows, 0) if self.geometry.aggregate == "max" else np.average(windows, 0, lengths)
        return self.prediction(scores.astype(np.float32), audio.seconds, audio.source)

    def embed_long(self, audio: LongAudio) -> np.ndarray:
        """The embedding (size,) of audio that is decoded block by block: exact where `predict_long` is, else the mean of its
        windows' embeddings, weighted by their lengths."""
        blocks = audio.mono_blocks(self.sample_rate_hz)
        if self._frames is not None:
            vector: np.ndarray = streaming.pooled(blocks, self.frontend, self._frames, self.geometry, self.columns)[0]
            return vector
        vectors, lengths = self._by_window(blocks, self.embeddings)
        vector = np.average(vectors, 0, lengths).astype(np.float32)
        return vector

    def frame_scores_of(self, audio: Prepared, frame_scores: FrameScores | None = None) -> np.ndarray:
        frame_scores = frame_scores or self.frame_scores
        if isinstance(audio, PreparedClip):
            return frame_scores(audio.array[None])[0]
        blocks = audio.mono_blocks(self.sample_rate_hz)
        if self._frames is not None:
            pieces = streaming.columns_of(blocks, self.frontend, self._frames, self.geometry, self.columns)
            return np.concatenate([self._probabilities(self.column_logits(*piece))[0] for piece in pieces])
        return np.concatenate(list(self._frames_of_windows(blocks, frame_scores)))

    def _frames_of_windows(self, blocks: Iterator[np.ndarray], frame_scores: FrameScores) -> Iterator[np.ndarray]:
        rate = self.sample_rate_hz
        assert self.frame_seconds is not None
        step = round(self.frame_seconds * rate)
        for window in streaming.windows(blocks, max(1, self.geometry.window_seconds * rate // step) * step):
            rows = -(-len(window) // step)  # without those of padding, so that the next window's are in their place
            yield frame_scores(self.prepare(Clip(window[None], rate))[None])[0][:rows]

    def _by_window(
        self, blocks: Iterator[np.ndarray], function: Callable[[np.ndarray], np.ndarray]
    ) -> tuple[list[Any], list[int]]:
        """`function`'s row for each window of long audio, and the windows' lengths in samples."""
        rate = self.sample_rate_hz
        rows = []
        lengths = []
        for window in streaming.windows(blocks, self.geometry.window_seconds * rate):
            rows.append(function(self.prepare(Clip(window[None], rate))[None])[0])
            lengths.append(len(window))
        return rows, lengths
