"""OpenVINO's networks and their requests, each of which serves one thread at a time."""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

import numpy as np

SPECIALIZE_AFTER = 16  # images of one shape; then a network for that shape alone pays
MAX_SHAPES = 4  # with a network of their own


class RequestPool:
    """The free requests of a compiled network; `memory` holds its weights, which the network does not keep alive itself."""

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


class ShapeSpecialized:
    """`general` computes images of any shape; frequent shapes get a network of their own from `compile_for(shape)`.

    That takes up to a fifth less time (docs/log.md). It is compiled beside the work, and used if its numbers are the very same;
    where that is impossible, `compile_for` returns None, and the general network computes on.
    """

    def __init__(self, general: RequestPool, compile_for: Callable[[tuple[int, ...]], RequestPool | None]) -> None:
        self.general = general
        self.compile_for = compile_for
        self.by_shape: dict[tuple[int, ...], RequestPool] = {}
        self.counts: Counter[tuple[int, ...]] = Counter()
        self.lock = Lock()

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        pool = self.by_shape.get(images.shape)
        if pool is not None:
            return pool(images)
        with self.lock:
            self.counts[images.shape] += 1
            frequent = sum(count >= SPECIALIZE_AFTER for count in self.counts.values())
            specialize = self.counts[images.shape] == SPECIALIZE_AFTER and frequent <= MAX_SHAPES
        outputs = self.general(images)
        if specialize:
            with suppress(RuntimeError):  # no more threads
                Thread(target=self.specialize, args=(images, outputs)).start()  # no daemon: Python waits for it at the end
        return outputs

    def specialize(self, images: np.ndarray, outputs: list[np.ndarray]) -> None:
        """Compile a network for the shape of `images`, and use it if it computes `outputs` of them."""
        pool = self.compile_for(images.shape)
        if pool is not None and all(map(np.array_equal, pool(images), outputs)):
            self.by_shape[images.shape] = pool
