"""Ensemble: a Tagger whose scores are the fused scores of several Taggers.

Members may differ in family, front-end, sample rate and the order of their labels; their classes and activations must be the
same. What comes before the networks is computed once for all members whose networks take the same input.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import soundfile

from eranntag import features
from eranntag.audio import reader
from eranntag.errors import AudioError, CheckpointError, UsageError
from eranntag.inference import fusion
from eranntag.inference.batching import batched_by_shape
from eranntag.inference.network_tagger import NetworkTagger
from eranntag.inference.pipeline import predict_one
from eranntag.inference.prepared import LongAudio, Prepared, PreparedClip
from eranntag.inference.tagger import FrameScores, Tagger
from eranntag.types import Checkpoint, Clip, Prediction

FAMILY = "ensemble"


class Ensemble(Tagger):
    """Fuses `members` by `rule`, one of `fusion.RULES`; `weights` are those of the weighted average, none: all equal.

    Raises CheckpointError when the members do not fit together.
    """

    def __init__(
        self, name: str, members: Sequence[Tagger], rule: str = fusion.WEIGHTED, weights: Sequence[float] = (), title: str = ""
    ) -> None:
        checkpoint = described(name, [member.checkpoint for member in members], rule, weights, title)
        self.members, self.rule, self.weights = tuple(members), rule, tuple(weights)
        self._groups = _groups(self.members)
        first = members[0]
        super().__init__(
            checkpoint,
            first.frontend,
            replace(first.geometry, clip_gate=False),
            _joined([member.dtype for member in members]),
            _joined([member.device for member in members]),
            min(member.parallel for member in members),
            tuple(f"{member.checkpoint.name}: {note}" for member in members for note in member.notes),
        )
        self.engine = _joined([member.engine for member in members])
        self.batch = max(member.batch for member in members)

    def prepare(self, clip: Clip) -> np.ndarray:
        """(groups,) of objects: the input of each group of members."""
        at_rate: dict[int, Clip] = {}
        prepared = np.empty(len(self._groups), object)
        for index, group in enumerate(self._groups):
            rate = group[0].frontend.sample_rate_hz
            if rate not in at_rate:
                at_rate[rate] = Clip(reader.to_mono(clip, rate)[None], rate, clip.source)
            prepared[index] = group[0].prepare(at_rate[rate])
        return prepared

    @property
    def embedding_size(self) -> int:
        """Raises UsageError: the members' embeddings are of different spaces."""
        members = ", ".join(member.checkpoint.name for member in self.members)
        raise UsageError(f"{self.checkpoint.name}: an ensemble has no embedding; name a member: {members}")

    def embeddings(self, prepared: np.ndarray) -> np.ndarray:
        """Raises UsageError as `embedding_size`."""
        return np.zeros((len(prepared), self.embedding_size), np.float32)

    def embed_long(self, audio: LongAudio) -> np.ndarray:
        """Raises UsageError as `embedding_size`."""
        return np.zeros(self.embedding_size, np.float32)

    def scores(self, prepared: np.ndarray) -> np.ndarray:
        """(batch, groups) of `prepare` -> probabilities (batch, classes) float32; NaN where a member has none."""
        return self._fused(self.member_scores(prepared))

    def member_scores(self, prepared: np.ndarray) -> np.ndarray:
        """(batch, groups) of `prepare` -> (members, batch, classes), in the order of this ensemble's labels."""
        columns = self._columns(prepared)
        return self._ordered([np.stack(batched_by_shape(member.scores, columns[member])) for member in self.members])

    @property
    def sample_rate_hz(self) -> int:
        """The highest of the members'."""
        return max(member.sample_rate_hz for member in self.members)

    @property
    def frame_seconds(self) -> float | None:
        """The finest of the members'; None where one of them scores no frames."""
        durations = self._member_frame_seconds()
        return min(durations) if len(durations) == len(self.members) else None

    def _member_frame_seconds(self) -> list[float]:
        """Those of the members that score frames."""
        return [seconds for member in self.members if (seconds := member.frame_seconds) is not None]

    def frame_scores(self, prepared: np.ndarray) -> Sequence[np.ndarray]:
        """(batch, groups) of `prepare` -> of each clip (frames, classes), as the members' are fused frame by frame."""
        columns = self._columns(prepared)
        by_member = [batched_by_shape(member.frame_scores, columns[member]) for member in self.members]
        return [self._fused_frames(clip) for clip in zip(*by_member, strict=True)]

    def frame_scores_of(self, audio: Prepared, frame_scores: FrameScores | None = None) -> np.ndarray:
        """(frames, classes); LongAudio is decoded once, and each member computes it as it does alone."""
        if isinstance(audio, PreparedClip):
            return (frame_scores or self.frame_scores)(audio.array[None])[0]
        return self._fused_frames([member.frame_scores_of(its) for member, its in self._spooled(audio)])

    def _fused_frames(self, by_member: Sequence[np.ndarray]) -> np.ndarray:
        """Each member's (frames, classes) -> (frames, classes): each of the finest member's frames is fused with the frame of
        the others in which its middle lies."""
        durations = self._member_frame_seconds()
        finest = int(np.argmin(durations))
        middles = (np.arange(len(by_member[finest])) + 0.5) * durations[finest]
        aligned = []
        for scores, seconds in zip(by_member, durations, strict=True):
            rows = (middles / seconds).astype(int)
            aligned.append(scores[np.minimum(rows, len(scores) - 1)])
        return self._fused(self._ordered(aligned))

    def _columns(self, prepared: np.ndarray) -> dict[Tagger, np.ndarray]:
        """The input of each member from (batch, groups): (batch,) of arrays."""
        return {member: column for group, column in zip(self._groups, prepared.T, strict=True) for member in group}

    @property
    def longest_seconds(self) -> float:
        """The shortest of the members'."""
        return min(member.longest_seconds for member in self.members)

    def predict_long(self, audio: LongAudio) -> Prediction:
        """The members' scores of long audio, each computed as the member does alone, fused."""
        return self.prediction(self._fused(self.member_scores_long(audio))[0], audio.seconds, audio.source)

    def member_scores_long(self, audio: LongAudio) -> np.ndarray:
        """(members, 1, classes) of long audio, in the order of this ensemble's labels."""
        return self._ordered([predict_one(member, its).scores[None] for member, its in self._spooled(audio)])

    def _spooled(self, audio: LongAudio) -> Iterator[tuple[Tagger, Prepared]]:
        """Each member and what it computes of long audio, which is decoded once, into a temporary file (mono, float32)."""
        with tempfile.TemporaryDirectory(prefix="eranntag-") as folder:
            path = os.path.join(folder, "sound.w64")  # a format without a limit on its size
            _spool(audio, path)
            for member in self.members:
                prepared = member.prepare_source(path, audio.source)
                if isinstance(prepared, LongAudio):
                    prepared.cancelled = audio.cancelled
                yield member, prepared

    def _fused(self, evidence: np.ndarray) -> np.ndarray:
        """(members, batch, classes) -> (batch, classes) float32; NaN where a member has no score."""
        whole = np.isfinite(evidence).all((0, 2))
        scores = np.full(evidence.shape[1:], np.nan, np.float32)
        scores[whole] = fusion.fuse(evidence[:, whole], self.rule, self.checkpoint.activation, self.weights)
        return scores

    def _ordered(self, member_scores: Sequence[np.ndarray]) -> np.ndarray:
        """Each member's (batch, classes), in the order of its own labels -> (members, batch, classes), in the first one's."""
        orders = ([member.labels.index(label) for label in self.checkpoint.labels] for member in self.members)
        return np.stack([scores[:, order] for scores, order in zip(member_scores, orders, strict=True)])


def check_classes(name: str, members: Sequence[Checkpoint]) -> None:
    """Raises CheckpointError unless all have the same classes and the same activation."""
    first = members[0]
    for other in members[1:]:
        if odd := sorted(set(first.labels) ^ set(other.labels)):
            raise CheckpointError(f"{name}: of {first.name} and {other.name} only one has the class {odd[0]!r}")
        if first.activation != other.activation:
            ways = f"{first.name} gives {first.activation}, {other.name} {other.activation} scores"
            raise CheckpointError(f"{name}: its members do not fit together: {ways}")


def described(
    name: str, members: Sequence[Checkpoint], rule: str = fusion.WEIGHTED, weights: Sequence[float] = (), title: str = ""
) -> Checkpoint:
    """The Checkpoint of an ensemble; its `bases` are all the runs that its members come from. Raises CheckpointError when the
    members do not fit together."""
    if wrong := fusion.rule_error(len(members), rule, weights):
        raise CheckpointError(f"{name}: {wrong}")
    check_classes(name, members)
    names, first = [member.name for member in members], members[0]
    runs = [run for member in members for run in (member.training, *member.training.get("bases", ()))]
    bases = [{key: value for key, value in run.items() if key != "bases"} for run in runs]
    return Checkpoint(
        name=name,
        family=FAMILY,
        model={"members": names, "fusion": rule, "fusion_weights": list(weights)},
        frontend_family=first.frontend_family,
        frontend=first.frontend,
        labels=first.labels,
        activation=first.activation,
        title=title or f"{rule} of {', '.join(names)}",
        data=_joined([member.data for member in members], "; "),
        licence=_joined([member.licence for member in members], "; "),
        source=_joined([member.source for member in members], "; "),
        training={"bases": [base for base in bases if base]},
    )


def _groups(members: Sequence[Tagger]) -> list[list[Tagger]]:
    """Members whose `prepare` is the same function of a clip: its waveform, or an image with nothing learned in it, which a
    numpy twin has not."""
    groups: dict[Any, list[Tagger]] = {}
    for index, member in enumerate(members):
        family = member.checkpoint.frontend_family
        known = type(member).prepare is NetworkTagger.prepare or features.twin(family) is not None
        key = (type(member).prepare, family, member.frontend, member.geometry.frame_multiple, -1 if known else index)
        groups.setdefault(key, []).append(member)
    return list(groups.values())


def _spool(audio: LongAudio, path: str) -> None:
    rate = audio.stream.rate
    try:
        with soundfile.SoundFile(path, "w", rate, 1, "FLOAT", format="W64") as file:
            for block in audio.mono_blocks(rate):
                file.write(block)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{audio.source}: cannot be copied to {tempfile.gettempdir()} ({error.error_string})") from None


def _joined(texts: Sequence[str], by: str = " and ") -> str:
    return by.join(dict.fromkeys(filter(None, texts)))
