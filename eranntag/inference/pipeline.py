"""Paths -> results or failures, in input order: files are decoded ahead in threads while the network works.

What is asked of each sound is a `Scorer`: a Tagger's tags are Predictions, a `detection.Detector`'s events Detections, an
`embedding.Embedder`'s vectors Embeddings.
"""

import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from threading import Event
from typing import Any, Protocol, TypeVar

import numpy as np

from eranntag.audio.reader import AudioStream
from eranntag.errors import DataError, EranntagError, error_reason
from eranntag.inference import devices
from eranntag.inference.prepared import Heard, Sound
from eranntag.inference.sources import STDIN
from eranntag.prefetch import prefetch_map
from eranntag.types import Clip, Example, Failure, Packed

READERS = 16  # at most

Source = Sound | Failure | None
Done = TypeVar("Done")
Result = TypeVar("Result", covariant=True)


class Scorer(Protocol[Result]):
    """`scores` gives a row for each of (batch, ...) prepared sounds of one shape, of which `prediction` makes a result;
    `predict_long` makes one of a sound that is heard in blocks. Up to `parallel` calls run side by side."""

    @property
    def batch(self) -> int: ...
    @property
    def parallel(self) -> int: ...
    def prepare_source(self, source: Any, name: str = "") -> Heard: ...
    def scores(self, prepared: np.ndarray) -> Sequence[Any] | np.ndarray: ...
    def prediction(self, scores: Any, seconds: float, source: str) -> Result: ...
    def predict_long(self, heard: Heard) -> Result: ...


def predict(tagger: Scorer[Done], sources: Iterable[Source], batch: int | None = None) -> Generator[Done | Failure]:
    """Tag every source (a path, "-" for standard input, a clip, also of a shard); one result each, in order, a few being read
    ahead.

    None is a source that has not come yet: results that are ready do not wait for it.
    `batch` clips (default: what the engine likes) are taken together, and those of the same length computed at once; nothing is
    padded because of its neighbours. Memory is bounded by the batch, not by the number of sources or their length.
    """
    size, stop = batch or tagger.batch, Event()
    opened = (each for source in sources for each in _opened(tagger, source, waiting(tagger, size)))
    heard = prefetch_map(lambda source: _heard(tagger, source, stop), opened, readers(), size + readers())
    try:
        for results in prefetch_map(
            lambda items: list(_tagged(tagger, items)), _batches(heard, size), tagger.parallel, 2 * tagger.parallel
        ):
            yield from results
    finally:
        stop.set()


def predict_one(scorer: Scorer[Done], heard: Heard) -> Done:
    """The result of one sound alone."""
    if heard.prepared is None:
        return scorer.predict_long(heard)
    return scorer.prediction(scorer.scores(heard.prepared[None])[0], heard.seconds(), heard.source)


def predict_examples(
    tagger: Scorer[Done],
    recipe: str,
    examples: Sequence[Example],
    failures: list[Failure],
    batch: int | None = None,
    step: Callable[[], None] = lambda: None,
) -> Iterator[tuple[Example, Done]]:
    """Every example of the data set `recipe` whose clip can be read, and its result; `failures` gets the others, and `step` is
    called after each. DataError at the end when there is none."""
    heard = 0
    for example, result in zip(examples, predict(tagger, (example.path for example in examples), batch), strict=True):
        if isinstance(result, Failure):
            failures.append(result)
        else:
            heard += 1
            yield example, result
        step()
    if not heard:
        first = f"the first: {failures[0].source}: {failures[0].reason}" if failures else "there is none"
        raise DataError(f"{recipe}: no clip could be read; {first}")


def waiting(tagger: Scorer[Any], size: int) -> int:
    """So many sources, at most, are between what comes in and what comes out, in batches of `size`."""
    return size + readers() + (2 * tagger.parallel + 1) * size


def readers() -> int:
    """Threads that read: one a processor."""
    return min(devices.usable_cpus(), READERS)


def _batches(items: Iterable[Heard | Failure | None], size: int) -> Iterator[list[Heard | Failure]]:
    """Of `size` items; of fewer, or none, where the next item has not come yet."""
    batch: list[Heard | Failure] = []
    for item in items:
        if item is not None:
            batch.append(item)
        if item is None or len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _opened(tagger: Scorer[Any], source: Source, waiting: int) -> Iterator[Source | Heard]:
    """Standard input is read here: a thread that waits for it could not be interrupted. What came before it comes out first."""
    if source != STDIN:
        yield source
        return
    yield from [None] * waiting
    yield _attempt(lambda: tagger.prepare_source(sys.stdin.buffer, STDIN), STDIN)


def _heard(tagger: Scorer[Any], source: Source | Heard, stop: Event) -> Heard | Failure | None:
    heard = source
    if source is not None and not isinstance(source, (Failure, Heard)):
        heard = _attempt(lambda: tagger.prepare_source(source), called(source))
    if isinstance(heard, Heard) and heard.blocks is not None:
        return replace(heard, blocks=until(stop, heard.blocks))
    return heard


def called(source: Sound) -> str:
    """The name of a sound in results and errors; of an open file, which has none, that of standard input."""
    if isinstance(source, (Clip, AudioStream)):
        return source.source
    return str(source) if isinstance(source, (str, os.PathLike, Packed)) else STDIN


def until(stop: Event, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Hours of sound in a thread end when nobody waits for them any more."""
    for block in blocks:
        if stop.is_set():
            raise InterruptedError
        yield block


def _attempt(work: Callable[[], Done], source: str) -> Done | Failure:
    try:
        return work()
    except Exception as error:  # whatever a hostile file does to a decoder, the others go on
        kind = type(error) if isinstance(error, EranntagError) else EranntagError  # which another process can unpickle
        return Failure(source, error_reason(error, source), kind)


def _tagged(tagger: Scorer[Done], items: list[Heard | Failure]) -> Iterator[Done | Failure]:
    """The results of one batch, in its order."""
    lengths: dict[tuple[int, ...], list[Heard]] = {}
    for item in items:
        if isinstance(item, Heard) and item.prepared is not None:
            lengths.setdefault(item.prepared.shape, []).append(item)
    results = {id(item): result for group in lengths.values() for item, result in _scored(tagger, group)}
    for item in items:
        if isinstance(item, Failure):
            yield item
        elif item.prepared is None:
            yield _attempt(partial(tagger.predict_long, item), item.source)
        else:
            yield results[id(item)]


def _scored(tagger: Scorer[Done], group: list[Heard]) -> Iterator[tuple[Heard, Done | Failure]]:
    try:
        scores = tagger.scores(np.stack([item.prepared for item in group]))
    except (RuntimeError, MemoryError) as error:  # torch and openvino report a lack of memory as RuntimeError
        scores, failed = None, Failure(group[0].source, error_reason(error, group[0].source), EranntagError)
    if scores is None and len(group) > 1:  # here, where the failed batch's tensors are gone
        for item in group:
            yield from _scored(tagger, [item])
    elif scores is None:
        yield group[0], failed
    else:
        for item, row in zip(group, scores, strict=True):
            yield item, _attempt(partial(tagger.prediction, row, item.seconds(), item.source), item.source)
