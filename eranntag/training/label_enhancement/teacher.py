"""The teacher's scores of the training clips, in memory or in a file.

The file is a .npy of float32, which anything else can read too; after the array follows a line of JSON: what the scores are of.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eranntag.errors import DataError, UsageError
from eranntag.files import atomic
from eranntag.inference.pipeline import predict
from eranntag.inference.tagger import Tagger
from eranntag.recipes import check_fold, part, was_trained_on
from eranntag.types import Checkpoint, Dataset, Example, Failure, Prediction, Recipe

MOST_BYTES = 1 << 28  # of what follows the scores: it names the clips that could not be read


def check(recipe: Recipe) -> None:
    """UsageError where a clip has exactly one class."""
    if recipe.activation == "softmax":
        raise UsageError(f"{recipe.name}: a clip has exactly one class there, so none can be added; labels must be independent")


@dataclass(frozen=True, eq=False)
class Scores:
    """`values` (clips, classes) float32 in [0, 1], classes in the recipe's order; a clip that could not be read has a row of
    NaN and is among the `failures`."""

    values: np.ndarray
    failures: tuple[Failure, ...]


def training_clips(dataset: Dataset, fold: int | None = None) -> list[Example]:
    """The clips of the training part, but for those of `fold`. DataError when there are none."""
    check_fold(dataset.recipe, fold)
    clips = [example for example in part(dataset, "train") if fold is None or example.fold != fold]
    if not clips:
        raise DataError(f"{dataset.recipe.name}: no clips to train on are there, so there are no labels to enhance")
    return clips


def doubts(teacher: Checkpoint, dataset: Dataset, fold: int | None = None) -> tuple[str, ...]:
    """Warnings, a line each, where the teacher was trained on the clips that are left out."""
    left_out = [e for e in part(dataset, "train") if fold is not None and e.fold == fold]
    known = sum(was_trained_on(example, teacher, dataset.recipe) for example in left_out)
    if not known:
        return ()
    return (f"the teacher was trained on {known} clips of fold {fold}, which is left out: take one that left it out too",)


def score(
    tagger: Tagger, clips: Sequence[Example], recipe: Recipe, batch: int | None = None, step: Callable[[], None] = lambda: None
) -> Iterator[np.ndarray | Failure]:
    """The teacher's scores of each clip, in order: (classes,) float32."""
    order = [tagger.labels.index(label) for label in recipe.labels]
    for result in predict(tagger, (clip.path for clip in clips), batch):
        yield result.scores[order].astype(np.float32) if isinstance(result, Prediction) else result
        step()


def gather(
    rows: Iterable[np.ndarray | Failure],
    shape: tuple[int, int],
    path: str | os.PathLike[str] | None = None,
    key: Mapping[str, Any] | None = None,
) -> Scores:
    """The rows of `score`, of `shape` (clips, classes), in memory; or in the file `path`, whole or not at all, with the
    `key` by which `kept` recognizes them. DataError when no clip could be read."""
    failures: list[Failure] = []

    def numbers() -> Iterator[np.ndarray]:
        for row in rows:
            if isinstance(row, Failure):
                failures.append(row)
            yield np.full(shape[1], np.nan, np.float32) if isinstance(row, Failure) else row
        if len(failures) == shape[0]:
            raise DataError(f"no clip could be read; the first: {failures[0].source}: {failures[0].reason}")

    if path is None or key is None:
        values = np.empty(shape, np.float32)
        for place, row in enumerate(numbers()):
            values[place] = row
        return Scores(values, tuple(failures))
    with atomic.replace(path) as temporary, open(temporary, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        digest = hashlib.sha256()
        for row in numbers():
            content = row.astype("<f4").tobytes()
            file.write(content)
            digest.update(content)
        unread = [[failure.source, failure.reason] for failure in failures]
        # readers of .npy take no notice of what follows the array
        file.write(json.dumps({**key, "shape": shape, "failures": unread, "sha256": digest.hexdigest()}).encode())
    return kept(path, key)


def key_of(teacher_sha256: str, recipe: Recipe, names: Iterable[str]) -> dict[str, Any]:
    """What scores depend on: the teacher's file, the classes and the clips, by their `names`."""
    digests = (hashlib.sha256(json.dumps(list(each)).encode()).hexdigest() for each in (recipe.labels, names))
    return {"teacher": teacher_sha256, **dict(zip(("classes", "clips"), digests, strict=True))}


def kept(path: str | os.PathLike[str], key: Mapping[str, Any]) -> Scores:
    """The scores in a file of `gather`, read from it as they are needed. DataError when they are damaged, or of another
    teacher, or of other classes or clips, than `key`'s."""
    try:
        if not os.path.isfile(path):
            raise ValueError("no ordinary file")
        values = np.load(path, mmap_mode="r", allow_pickle=False)
        if values.dtype != np.float32 or values.ndim != 2:
            raise ValueError(f"{values.ndim} dimensions of {values.dtype}")
        with open(path, "rb") as file:
            file.seek(values.offset + values.nbytes)
            theirs = json.loads(file.read(MOST_BYTES))
        failures = tuple(Failure(str(source), str(reason)) for source, reason in theirs.pop("failures"))
        if list(values.shape) != theirs["shape"]:
            raise ValueError(f"{values.shape}, not {theirs['shape']}")
        if hashlib.sha256(values).hexdigest() != theirs["sha256"]:
            raise ValueError("their SHA-256 is not the one that is noted behind them")
    except (OSError, EOFError, ValueError, AttributeError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise DataError(f"{path}: holds no teacher's scores ({error}); name a file that is not there yet") from None
    for name, other in (("teacher", "by another teacher"), ("classes", "of other classes"), ("clips", "of other clips")):
        if theirs.get(name) != key[name]:
            raise DataError(f"{path}: holds scores {other}; delete it, or name another file")
    return Scores(values, failures)
