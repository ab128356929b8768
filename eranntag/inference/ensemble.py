"""Ensemble: several Taggers score the same sound, and their scores are fused. It has the interface of a Tagger.

Members may differ in family, front-end, sample rate and the order of their labels; they must know the same classes and give
scores of the same kind. What comes before the networks is computed once for all whose networks take the same.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat, takewhile
from typing import Any

import numpy as np
import soundfile

from eranntag import features
from eranntag.audio import reader
from eranntag.errors import AudioError, CheckpointError, UsageError
from eranntag.inference import fusion
from eranntag.inference.pipeline import predict_one
from eranntag.inference.prepared import Heard
from eranntag.inference.tagger import FrameScores, Tagger
from eranntag.types import Checkpoint, Clip, Prediction

FAMILY = "ensemble"


@dataclass(frozen=True)
class Long(Heard):
    """A long sound: `blocks` are mono at its own `rate` (Hz). They go on after its end, empty, for ever: whoever still computes
    takes one now and then, which fails when nobody waits for the result any more."""

    rate: int = 0


class Ensemble(Tagger):
    """`members` are fused by `rule`, one of `fusion.RULES`; `weights` are the weighted average's, none: all equal.

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
            replace(first.geometry, gated=False),
            _joined([member.dtype for member in members]),
            _joined([member.device for member in members]),
            min(member.parallel for member in members),
            tuple(f"{member.checkpoint.name}: {note}" for member in members for note in member.notes),
        )
        self.engine = _joined([member.engine for member in members])
        self.batch = max(member.batch for member in members)

    def prepare(self, clip: Clip) -> np.ndarray:
        """(groups,) of objects: what each group of members takes."""
        at_rate: dict[int, Clip] = {}
        prepared = np.empty(len(self._groups), object)
        for index, group in enumerate(self._groups):
            rate = group[0].frontend.sample_rate_hz
            if rate not in at_rate:
                at_rate[rate] = Clip(reader.to_mono(clip, rate)[None], rate, clip.source)
            prepared[index] = group[0].prepare(at_rate[rate])
        return prepared

    def logits(self, prepared: np.ndarray) -> np.ndarray:
        raise NotImplementedError("an ensemble has probabilities alone")

    def pooled(self, prepared: np.ndarray) -> np.ndarray:
        """Raises UsageError: the members' embeddings are of different spaces."""
        members = ", ".join(member.checkpoint.name for member in self.members)
        raise UsageError(f"{self.checkpoint.name}: an ensemble has no embedding; name a member: {members}")

    def scores(self, prepared: np.ndarray) -> np.ndarray:
        """(batch, groups) of `prepare` -> probabilities (batch, classes) float32; NaN where a member has none."""
        return self._fused(self.member_scores(prepared))

    def member_scores(self, prepared: np.ndarray) -> np.ndarray:
        """(batch, groups) of `prepare` -> (members, batch, classes), in the order of this ensemble's labels."""
        columns = self._columns(prepared)
        return self._ordered([np.stack(_each(member.scores, columns[member])) for member in self.members])

    @property
    def sample_rate_hz(self) -> int:
        """The highest of the members'."""
        return max(member.sample_rate_hz for member in self.members)

    @property
    def frame_seconds(self) -> float | None:  # type: ignore[override]  # which is computed once
        """The finest of the members'; None where one of them scores no frames."""
        finest = [member.frame_seconds for member in self.members]
        return None if None in finest else min(finest)

    def frame_scores(self, prepared: np.ndarray) -> Sequence[np.ndarray]:
        """(batch, groups) of `prepare` -> of each clip (frames, classes), as the members' are fused frame by frame."""
        columns = self._columns(prepared)
        said = [_each(member.frame_scores, columns[member]) for member in self.members]
        return [self._fused_frames(clip) for clip in zip(*said, strict=True)]

    def frame_scores_of(self, heard: Heard, frame_scores: FrameScores | None = None) -> np.ndarray:
        """(frames, classes); a long sound is spooled as for `predict_long`, and each member has its own way with it."""
        if heard.prepared is not None:
            return (frame_scores or self.frame_scores)(heard.prepared[None])[0]
        return self._fused_frames([member.frame_scores_of(its) for member, its in self._spooled(heard)])

    def _fused_frames(self, said: Sequence[np.ndarray]) -> np.ndarray:
        """Each member's (frames, classes) -> (frames, classes): for each of the finest one's frames, what the others say of the
        frame of theirs in which its middle lies."""
        finest = min(range(len(said)), key=lambda index: self.members[index].frame_seconds)
        middles = (np.arange(len(said[finest])) + 0.5) * self.frame_seconds
        at = [(middles / member.frame_seconds).astype(int) for member in self.members]
        return self._fused(self._ordered([its[np.minimum(rows, len(its) - 1)] for its, rows in zip(said, at, strict=True)]))

    def _columns(self, prepared: np.ndarray) -> dict[Tagger, np.ndarray]:
        """What each member takes of (batch, groups): (batch,) of arrays."""
        return {member: column for group, column in zip(self._groups, prepared.T, strict=True) for member in group}

    def _long(self, sound: reader.AudioStream, seconds: Callable[[], float]) -> Heard:
        asked = repeat(np.zeros(0, np.float32))
        return Long(sound.source, seconds, blocks=chain(reader.mono_blocks(sound, sound.rate), asked), rate=sound.rate)

    @property
    def longest_seconds(self) -> float:
        """The shortest of the members'."""
        return min(member.longest_seconds for member in self.members)

    def predict_long(self, heard: Heard) -> Prediction:
        """Each member's own way with a long sound, fused."""
        return self.prediction(self._fused(self.member_scores_long(heard))[0], heard.seconds(), heard.source)

    def member_scores_long(self, heard: Heard) -> np.ndarray:
        """(members, 1, classes) of a long sound, in the order of this ensemble's labels."""
        return self._ordered([predict_one(member, its).scores[None] for member, its in self._spooled(heard)])

    def _spooled(self, heard: Heard) -> Iterator[tuple[Tagger, Heard]]:
        """A long sound as each member hears it on its own: it is decoded once, into a temporary file (mono, float32)."""
        assert isinstance(heard, Long) and heard.blocks is not None
        with tempfile.TemporaryDirectory(prefix="eranntag-") as folder:
            path = os.path.join(folder, "sound.w64")  # a format without a limit on its size
            _spool(takewhile(len, heard.blocks), heard, path)
            for member in self.members:
                yield member, _hear(member, path, heard)

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
    """Raises CheckpointError unless all know the same classes and say them in the same way."""
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
    """What an ensemble says of itself; its `bases` are all the runs that its members come from. Raises CheckpointError when
    these do not fit together."""
    if wrong := fusion.flaw(len(members), rule, weights):
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
        known = type(member).prepare is Tagger.prepare or features.twin(family) is not None
        key = (type(member).prepare, family, member.frontend, member.geometry.frame_multiple, -1 if known else index)
        groups.setdefault(key, []).append(member)
    return list(groups.values())


def _each(function: Callable[[np.ndarray], Sequence[np.ndarray]], prepared: np.ndarray) -> list[np.ndarray]:
    """What `function` of a stack of arrays says of each of (batch,) of them; those of one shape are computed at once."""
    results: list[Any] = [None] * len(prepared)
    shapes: dict[tuple[int, ...], list[int]] = {}
    for index, each in enumerate(prepared):
        shapes.setdefault(each.shape, []).append(index)
    for indices in shapes.values():
        for index, result in zip(indices, function(np.stack([prepared[index] for index in indices])), strict=True):
            results[index] = result
    return results


def _spool(blocks: Iterator[np.ndarray], heard: Long, path: str) -> None:
    try:
        with soundfile.SoundFile(path, "w", heard.rate, 1, "FLOAT", format="W64") as file:
            for block in blocks:
                file.write(block)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{heard.source}: cannot be copied to {tempfile.gettempdir()} ({error.error_string})") from None


def _hear(member: Tagger, path: str, of: Long) -> Heard:
    """What a member hears of the file, as long as somebody waits for it."""
    heard, asked = member.prepare_source(path, of.source), of.blocks
    if heard.blocks is None:
        return heard
    assert asked is not None

    def wanted(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        for block in blocks:
            next(asked)
            yield block

    return replace(heard, blocks=wanted(heard.blocks))


def _joined(texts: Sequence[str], by: str = " and ") -> str:
    return by.join(dict.fromkeys(filter(None, texts)))
