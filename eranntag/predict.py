"""Paths -> Prediction | Failure, in input order: files are decoded ahead in threads while the network works."""

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np

from eranntag import audio
from eranntag.errors import EranntagError, reason
from eranntag.inputs import STDIN
from eranntag.tagger import Tagger
from eranntag.types import Failure, Packed, Prediction

READERS = 2

Source = str | Packed | Failure


@dataclass(frozen=True)
class _Ready:
    """A decoded clip: `waveform` (samples,), prepared for the network; `seconds` of the original."""

    source: str
    waveform: np.ndarray
    seconds: float


def predict(tagger: Tagger, sources: Iterable[Source], batch: int | None = None) -> Iterator[Prediction | Failure]:
    """Tag every source (a path, "-" for standard input, a clip of a shard); one result each, in order, a few being read ahead.

    Clips of the same length share a batch (default 1 on a CPU, where batches do not pay, else 16); nothing is padded because
    of its neighbours. Memory is bounded by the batch, not by the number of sources.
    """
    size = batch or (1 if tagger.device.type == "cpu" else 16)
    remaining = iter(sources)
    waiting: deque[Future[_Ready | Failure]] = deque()
    with ThreadPoolExecutor(READERS, thread_name_prefix="reader") as pool:
        try:
            while True:
                for source in islice(remaining, size + READERS - len(waiting)):
                    waiting.append(_submit(pool, tagger, source))
                if not waiting:
                    return
                taken = [waiting.popleft().result() for _ in range(min(size, len(waiting)))]
                yield from _tag(tagger, taken)
        finally:
            for future in waiting:
                future.cancel()


def _submit(pool: ThreadPoolExecutor, tagger: Tagger, source: Source) -> Future[_Ready | Failure]:
    if source != STDIN:
        return pool.submit(_ready, tagger, source)
    future: Future[_Ready | Failure] = Future()  # a thread that waits for standard input could not be interrupted
    future.set_result(_ready(tagger, source))
    return future


def _ready(tagger: Tagger, source: Source) -> _Ready | Failure:
    if isinstance(source, Failure):
        return source
    try:
        clip = audio.read(sys.stdin.buffer, STDIN) if source == STDIN else audio.read(source)
        return _Ready(str(source), tagger.prepare(clip), clip.seconds)
    except Exception as error:  # whatever a hostile file does to a decoder, the others go on
        return _failure(str(source), error)


def _tag(tagger: Tagger, items: list[_Ready | Failure]) -> Iterator[Prediction | Failure]:
    """The results of one batch, in its order."""
    lengths: dict[int, list[_Ready]] = {}
    for item in items:
        if isinstance(item, _Ready):
            lengths.setdefault(len(item.waveform), []).append(item)
    results = {id(item): result for group in lengths.values() for item, result in _score(tagger, group)}
    for item in items:
        yield item if isinstance(item, Failure) else results[id(item)]


def _score(tagger: Tagger, group: list[_Ready]) -> Iterator[tuple[_Ready, Prediction | Failure]]:
    try:
        scores = tagger.scores(np.stack([item.waveform for item in group]))
    except (RuntimeError, MemoryError) as error:  # torch reports a lack of memory as RuntimeError
        scores, failed = None, _failure(group[0].source, error)
    if scores is None and len(group) > 1:  # here, where the failed batch's tensors are gone
        for item in group:
            yield from _score(tagger, [item])
        return
    if scores is None:
        yield group[0], failed
        return
    for item, row in zip(group, scores, strict=True):
        try:
            yield item, tagger.prediction(row, item.seconds, item.source)
        except EranntagError as error:
            yield item, _failure(item.source, error)


def _failure(source: str, error: BaseException) -> Failure:
    return Failure(source, reason(error, source))
