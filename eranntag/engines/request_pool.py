"""Who computes what: OpenVINO's networks and their requests, each of which serves one thread at a time."""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

import numpy as np

OFTEN = 16  # images of one shape; then a network for that shape alone pays
SHAPES = 4  # that get one


class Pool:
    """The free requests of a compiled network; `memory` is where that has its weights, which it does not keep alive itself."""

    def __init__(self, compiled: Any, parallel: int, memory: Any) -> None:
        self.memory = memory
        self.free: SimpleQueue[Any] = SimpleQueue()
        for _ in range(parallel):
            self.free.put(compiled.create_infer_request())

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        request = self.free.get()
        try:
            request.infer([images], share_inputs=True)
            return [tensor.data.copy() for tensor in request.output_tensors]
        finally:
            self.free.put(request)


class Specialised:
    """`general` computes images of any shape; shapes that come often get a network of their own from `special(shape)`.

    That takes up to a fifth less time (docs/log.md). It is compiled beside the work, and used if its numbers are the very same;
    where it cannot be, `special` returns None, and the general one goes on.
    """

    def __init__(self, general: Pool, special: Callable[[tuple[int, ...]], Pool | None]) -> None:
        self.general, self.special = general, special
        self.own: dict[tuple[int, ...], Pool] = {}
        self.seen: Counter[tuple[int, ...]] = Counter()
        self.lock = Lock()

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        pool = self.own.get(images.shape)
        if pool is not None:
            return pool(images)
        with self.lock:
            self.seen[images.shape] += 1
            often = self.seen[images.shape] == OFTEN and sum(count >= OFTEN for count in self.seen.values()) <= SHAPES
        outputs = self.general(images)
        if often:
            with suppress(RuntimeError):  # no more threads
                Thread(target=self._specialise, args=(images, outputs)).start()  # no daemon: Python waits for it at the end
        return outputs

    def _specialise(self, images: np.ndarray, outputs: list[np.ndarray]) -> None:
        pool = self.special(images.shape)
        if pool is not None and all(map(np.array_equal, pool(images), outputs)):
            self.own[images.shape] = pool
