"""The data that flows through eranntag. Frozen, without behaviour beyond views; numpy outside, torch inside models.

Imports neither, so that help and error messages are instant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


@dataclass(frozen=True)
class Clip:
    """Decoded sound: `waveform` (channels, samples) float32, nominally in [-1, 1]; `sample_rate` in Hz."""

    waveform: np.ndarray
    sample_rate: int
    source: str = ""

    @property
    def seconds(self) -> float:
        return int(self.waveform.shape[1]) / self.sample_rate


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """A clip in a shard: `size` bytes from `offset` of the file `archive`; `name` is the clip's own file name."""

    archive: str
    offset: int
    size: int
    name: str

    def __str__(self) -> str:
        return f"{self.archive}/{self.name}"


@dataclass(frozen=True, slots=True)  # there may be millions
class Example:
    """One labelled clip of a data set: `targets` are class indices (there may be none where classes are independent).

    `fold` is its cross-validation fold, or `split` ("train", "validation", "test") its part where there are no folds. Clips
    with the same `group` come from one recording and are never on both sides of a split; "" is a recording of its own.
    """

    path: str | ShardEntry
    targets: tuple[int, ...]
    fold: int | None = None
    split: str = "train"
    group: str = ""
    events: tuple[Event, ...] | None = None


@dataclass(frozen=True)
class Batch:
    """Training data: `waveform` (batch, samples), `target` (batch, classes) in [0, 1], and in distillation the
    teacher's `embedding` (batch, size)."""

    waveform: Tensor
    target: Tensor
    embedding: Tensor | None = None

    def to(self, device: Any) -> Batch:
        embedding = None if self.embedding is None else self.embedding.to(device, non_blocking=True)
        return Batch(self.waveform.to(device, non_blocking=True), self.target.to(device, non_blocking=True), embedding)


@dataclass(frozen=True)
class Output:
    """A model's result: logits (batch, classes) and the embedding (batch, `embedding_size`) that its head classifies; frame
    logits (batch, frames, classes) and a reconstruction of the image where the family has them."""

    clip_logits: Tensor
    embedding: Tensor
    frame_logits: Tensor | None = None
    reconstruction: Tensor | None = None


@dataclass(frozen=True)
class Event:
    """`label` sounds from `onset` to `offset` (seconds)."""

    label: str
    onset: float
    offset: float
    score: float | None = None


@dataclass(frozen=True)
class Tag:
    label: str
    score: float


@dataclass(frozen=True)
class Prediction:
    """A Tagger's result for one clip: `scores` (classes,) in [0, 1] beside `labels`; `seconds` of audio read."""

    labels: tuple[str, ...]
    scores: np.ndarray
    seconds: float
    source: str = ""
    checkpoint: str = ""
    events: tuple[Event, ...] | None = None

    def top(self, k: int | None = 5, threshold: float = 0.0) -> tuple[Tag, ...]:
        """The `k` best tags (all for None) that reach `threshold`, best first; equal scores keep the label order."""
        best = (-self.scores).argsort(kind="stable")[:k]
        return tuple(Tag(self.labels[i], float(self.scores[i])) for i in best if self.scores[i] >= threshold)

    def to_dict(self, k: int | None = None, threshold: float = 0.0) -> dict[str, Any]:
        """The record of docs/output.md."""
        tags = [{"label": tag.label, "score": round(tag.score, 6)} for tag in self.top(k, threshold)]
        return {"source": self.source, "seconds": round(self.seconds, 6), "checkpoint": self.checkpoint, "tags": tags}


@dataclass(frozen=True)
class Failure:
    """An input that could not be tagged, and why, in one line; `kind` is the class of the error."""

    source: str
    reason: str
    kind: type[Exception] = field(default=Exception, compare=False, repr=False)


@dataclass(frozen=True)
class Published:
    """A published result: `value` for `model` in `table`, trained as `how` describes, "scratch" or "fine-tuned" and variants.

    `metric`: one of `TaggingResult.measures` if it is not the recipe's. `changes`: the run's settings (name -> value)
    that differ from the recipe's protocol; `added_labels` is True for any.
    """

    model: str
    value: float
    table: str
    how: str = "scratch"
    metric: str = ""
    fine_tuned: bool = False
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a model is trained, whatever the data set: part of a Recipe, and the larger part of a run's settings.

    `iterations` of `batch` examples, in `accumulate` parts whose gradients are averaged; `evaluate_every` and `keep_every`:
    iterations between evaluations, and between checkpoints that are kept for averaging (0: none); `warm_up`: iterations in
    which the learning rate rises to the schedule's; `mixup_rate`: the share of the examples that are mixed, with a
    `mixup_partner` of the sampler's or any clip; `reconstruction`: 2APAE's alpha, the weight of its auxiliary loss;
    `clip_gradients`: largest norm (0: any); `patience`: evaluations without improvement after which the run ends (0: never);
    `pretrained`: the model begins with weights of another task (ImageNet); `dtype`: of the network's autocast.
    """

    iterations: int
    learning_rate: float
    evaluate_every: int
    crop_seconds: float
    batch: int = 32
    accumulate: int = 1
    schedule: str = "constant"
    sampler: str = "shuffle"
    mixup: str = "modified"
    mixup_alpha: float = 1.0
    mixup_rate: float = 1.0
    mixup_partner: str = "sampler"
    augment: tuple[str, ...] = ("spec-augment",)
    reconstruction: float = 0.0
    weight_decay: float = 0.0
    warm_up: int = 0
    clip_gradients: float = 0.0
    ema_decay: float = 0.999
    ema_warm_up: bool = False
    dtype: str = "float32"
    patience: int = 0
    keep_every: int = 0
    pretrained: bool = False


@dataclass(frozen=True)
class Recipe:
    """A data set's protocol: how it is split and how the paper trains on it (Section 4, Tables 3 to 9).

    `activation` is "softmax" where a clip has exactly one class, else "sigmoid". `labels` and `folds` are empty where the
    data itself names them (csv, folder). Every clip is padded to `min_seconds`. `training` is the protocol from scratch.
    `fine_tuning` and `families` hold what differs from it (field of TrainingConfig -> value): when a checkpoint is fine-tuned,
    and for a model family with a protocol of its own. All clips are in the recipe `part_of` too, if any. `audioset_labels` maps
    a class to the AudioSet labels that mean it, none where no label does; it is empty where there is no such map.
    """

    name: str
    title: str
    licence: str
    labels: tuple[str, ...]
    activation: str
    folds: tuple[int, ...]
    metric: str
    training: TrainingConfig
    fine_tuning: Mapping[str, Any]
    min_seconds: int = 1
    part_of: str = ""
    families: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    paper: tuple[Published, ...] = ()
    audioset_labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """A recipe's clips on disk: `missing` names those that only its tables have, `notes` are lines for the user."""

    recipe: Recipe
    examples: tuple[Example, ...]
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checkpoint:
    """A model's configuration and origin: the header of its weight file.

    `model` and `frontend` are the keyword arguments of the family's and the front-end's `Config`. `training` holds the
    run's settings, `metrics` what it measured itself. `thresholds` (beside `labels`, or none): the score from which a class is
    taken to be there, calibrated on validation clips. `source_sha256`: of the published file that was converted, if any.
    """

    name: str
    family: str
    model: Mapping[str, Any]
    frontend_family: str
    frontend: Mapping[str, Any]
    labels: tuple[str, ...]
    activation: str
    title: str = ""
    data: str = ""
    licence: str = ""
    source: str = ""
    thresholds: tuple[float, ...] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    source_sha256: str = ""


@dataclass(frozen=True, eq=False)
class Embedding:
    """`vectors` (windows, size) float32 of a sound of `seconds`, and `onsets` (windows,) in seconds, where each window begins.

    There is one window, the whole sound; or there are several of `every_seconds`; the last may be shorter.
    """

    vectors: np.ndarray
    onsets: np.ndarray
    seconds: float
    every_seconds: float | None = None
    source: str = ""
    checkpoint: str = ""

    @property
    def offsets(self) -> np.ndarray:
        """(windows,), where each window ends, in seconds."""
        import numpy as np

        return np.append(self.onsets[1:], self.seconds)

    def to_dict(self) -> dict[str, Any]:
        """The record of docs/output.md."""
        about = {"source": self.source, "seconds": round(self.seconds, 6), "checkpoint": self.checkpoint}
        if self.every_seconds is None:
            return {**about, "embedding": _numbers(self.vectors[0])}
        windows = [
            {"onset": round(onset, 6), "offset": round(offset, 6), "embedding": _numbers(vector)}
            for onset, offset, vector in zip(self.onsets.tolist(), self.offsets.tolist(), self.vectors, strict=True)
        ]
        return {**about, "every_seconds": round(self.every_seconds, 6), "windows": windows}


def _numbers(vector: np.ndarray) -> list[float]:
    """With nine digits, nearer to the float32 than to the middle of two of them: read as a double they round back to it."""
    return [float(f"{number:.9g}") for number in vector.tolist()]
