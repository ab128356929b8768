"""Paths -> results or failures, in input order: files are decoded ahead in threads while the network computes.

A `Scorer` computes the results: a Tagger's are Predictions, a `detector.Detector`'s Detections, an `embedding.Embedder`'s
Embeddings.
"""

import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from threading import Event
from typing import Any, Protocol, TypeVar

import numpy as np

from eranntag.errors import DataError, EranntagError, error_reason
from eranntag.inference import devices
from eranntag.inference.batching import batched_by_shape
from eranntag.inference.prepared import AudioSource, LongAudio, Prepared, PreparedClip, source_name
from eranntag.inference.sources import STDIN
from eranntag.prefetch import prefetch_map
from eranntag.types import Example, Failure

MAX_READERS = 16

Source = AudioSource | Failure | None
Result = TypeVar("Result")
ResultOut = TypeVar("ResultOut", covariant=True)


class Scorer(Protocol[ResultOut]):
    """What the pipeline needs of a Tagger, Ensemble, Detector or Embedder.

    `scores` returns a row for each of (batch, ...) prepared clips of one shape, and `prediction` makes a result of a row;
    `predict_long` returns the result of audio that is decoded while it is computed. Up to `parallel` calls run side by side,
    and `batch` clips at once are the fastest.
    """

    @property
    def batch(self) -> int: ...
    @property
    def parallel(self) -> int: ...
    def prepare_source(self, source: Any, name: str = "") -> Prepared: ...
    def scores(self, prepared: np.ndarray) -> Sequence[Any] | np.ndarray: ...
    def prediction(self, scores: Any, seconds: float, source: str) -> ResultOut: ...
    def predict_long(self, audio: LongAudio) -> ResultOut: ...


def predict(scorer: Scorer[Result], sources: Iterable[Source], batch: int | None = None) -> Generator[Result | Failure]:
    """The result of every source (a path, "-" for standard input, a clip, also of a shard), in order, a few being read ahead.

    None is a source that has not come yet: results that are ready do not wait for it. `batch` clips (default: the scorer's)
    are taken together, and those of the same length computed at once. Memory is bounded by the batch, not by the number of
    sources or their length.
    """
    size = batch or scorer.batch
    cancelled = Event()
    opened = (each for source in sources for each in _with_stdin(scorer, source, max_in_flight(scorer, size)))
    prepared = prefetch_map(partial(_prepared, scorer, cancelled), opened, readers(), size + readers())
    try:
        batches = _batches(prepared, size)
        for results in prefetch_map(partial(_results, scorer), batches, scorer.parallel, 2 * scorer.parallel):
            yield from results
    finally:
        cancelled.set()


def predict_one(scorer: Scorer[Result], audio: Prepared) -> Result:
    """The result of one source alone."""
    if isinstance(audio, LongAudio):
        return scorer.predict_long(audio)
    return scorer.prediction(scorer.scores(audio.array[None])[0], audio.seconds, audio.source)


def predict_examples(
    scorer: Scorer[Result],
    recipe: str,
    examples: Sequence[Example],
    failures: list[Failure],
    batch: int | None = None,
    step: Callable[[], None] = lambda: None,
) -> Iterator[tuple[Example, Result]]:
    """Every example of the data set `recipe` whose clip can be read, and its result.

    The others are appended to `failures`; `step` is called after each. DataError at the end when no clip could be read.
    """
    readable = 0
    for example, result in zip(examples, predict(scorer, (example.path for example in examples), batch), strict=True):
        if isinstance(result, Failure):
            failures.append(result)
        else:
            readable += 1
            yield example, result
        step()
    if not readable:
        first = f"the first: {failures[0].source}: {failures[0].reason}" if failures else "there is none"
        raise DataError(f"{recipe}: no clip could be read; {first}")


def max_in_flight(scorer: Scorer[Any], size: int) -> int:
    """The largest number of sources between input and output, in batches of `size`."""
    return size + readers() + (2 * scorer.parallel + 1) * size


def readers() -> int:
    """The number of threads that read: one for each processor, at most MAX_READERS."""
    return min(devices.usable_cpus(), MAX_READERS)


def _with_stdin(scorer: Scorer[Any], source: Source, in_flight: int) -> Iterator[Source | Prepared]:
    """`source`; standard input is read here, after all earlier results, as a thread that waits cannot be interrupted."""
    if source != STDIN:
        yield source
        return
    yield from [None] * in_flight
    yield _attempt(lambda: scorer.prepare_source(sys.stdin.buffer, STDIN), STDIN)


def _prepared(scorer: Scorer[Any], cancelled: Event, source: Source | Prepared) -> Prepared | Failure | None:
    if source is None or isinstance(source, Failure):
        return source
    if isinstance(source, Prepared):
        audio: Prepared | Failure = source
    else:
        audio = _attempt(partial(scorer.prepare_source, source), source_name(source))
    if isinstance(audio, LongAudio):
        audio.cancelled = cancelled
    return audio


def _batches(items: Iterable[Prepared | Failure | None], size: int) -> Iterator[list[Prepared | Failure]]:
    """Lists of `size` items; of fewer, or none, where the next item has not come yet."""
    batch: list[Prepared | Failure] = []
    for item in items:
        if item is not None:
            batch.append(item)
        if item is None or len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _results(scorer: Scorer[Result], items: list[Prepared | Failure]) -> list[Result | Failure]:
    """The results of one batch, in its order."""
    arrays = [item.array for item in items if isinstance(item, PreparedClip)]
    rows = iter(batched_by_shape(partial(_scores, scorer), arrays))
    return [_result(scorer, item, next(rows) if isinstance(item, PreparedClip) else None) for item in items]


def _scores(scorer: Scorer[Any], prepared: np.ndarray) -> Sequence[Any] | np.ndarray:
    """The rows of `Scorer.scores`; where the memory is too small for all clips, one by one; or an error in a row's place."""
    try:
        return scorer.scores(prepared)
    except (RuntimeError, MemoryError) as error:  # torch and openvino report a lack of memory as RuntimeError
        if len(prepared) == 1:
            return [error.with_traceback(None)]  # which would hold the tensors
    return [row for clip in prepared for row in _scores(scorer, clip[None])]


def _result(scorer: Scorer[Result], item: Prepared | Failure, row: Any) -> Result | Failure:
    if isinstance(item, Failure):
        return item
    if isinstance(item, LongAudio):
        return _attempt(partial(scorer.predict_long, item), item.source)
    if isinstance(row, Exception):
        return Failure(item.source, error_reason(row, item.source), EranntagError)
    return _attempt(partial(scorer.prediction, row, item.seconds, item.source), item.source)


def _attempt(work: Callable[[], Result], source: str) -> Result | Failure:
    try:
        return work()
    except Exception as error:  # whatever a malformed file does to a decoder, the others go on
        kind = type(error) if isinstance(error, EranntagError) else EranntagError  # which another process can unpickle
        return Failure(source, error_reason(error, source), kind)
