"""The prediction pipeline on the machines of a cluster: `Worker`, which Ray's actors (`ray`) and Spark's tasks (docs/scale.md)
start.

A Worker keeps a child process in which the scorer is loaded once. Where a decoder crashes, the child dies and not the cluster's
own worker, whose batch would be tried again until the cluster gives up. `inference.workers` finds the sound that caused it.
"""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from itertools import islice
from typing import Any

from eranntag.checkpoints import loading
from eranntag.engines import openvino_runtime
from eranntag.errors import EranntagError
from eranntag.inference import workers
from eranntag.inference.pipeline import Scorer
from eranntag.results import schema
from eranntag.types import Failure, Prediction


@dataclass(frozen=True)
class Load:
    """A Tagger to be loaded elsewhere, by `checkpoints.loading.load` with these arguments. Equal ones load the same."""

    checkpoint: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    engine: str = "auto"
    registry: str | None = None
    offline: bool = False

    def __call__(self) -> Any:
        return loading.load(
            self.checkpoint, self.device, self.dtype, self.registry, self.offline, engine=self.engine, many=True
        )


class Worker:
    """Predicts one batch of names after the other in a child process, with the scorer `make()`, on about `cores` processors.

    The scorer is loaded at once; raises what `make` raises. `make` can be pickled; `batch` is that of `pipeline.predict`.
    """

    def __init__(self, make: Callable[[], Scorer[Any]], cores: int, batch: int | None = None) -> None:
        started = Failure("", "returned as soon as the scorer is loaded")
        self._queue: deque[str | Failure] = deque([started])
        self._results = workers.predict(_WithThreads(make, cores), self._sources(), 1, batch)
        next(self._results)

    def _sources(self) -> Iterator[str | Failure | None]:
        while True:
            yield self._queue.popleft() if self._queue else None

    def __call__(self, names: Sequence[str | bytes]) -> list[Any]:
        """Return a result or Failure for each name, in order; names that are bytes need not be UTF-8."""
        self._queue.extend(os.fsdecode(name) for name in names)
        results = list(islice(self._results, len(names)))
        if len(results) < len(names):
            raise EranntagError("the worker process has ended")
        return results


@lru_cache(1)
def shared_worker(make: Callable[[], Scorer[Any]], cores: int = 1, batch: int | None = None) -> Worker:
    """Return the Worker of this process, the same one for equal arguments, so that it is loaded once."""
    return Worker(make, cores, batch)


@dataclass(frozen=True)
class _WithThreads:
    """`make` on `cores` threads: a cluster counts processors, but limits no process to them.

    Threads are not pinned to processors, whose numbers mean nothing to two containers of one machine.
    """

    make: Callable[[], Scorer[Any]]
    cores: int

    def __call__(self) -> Scorer[Any]:
        os.environ["OMP_NUM_THREADS"] = str(self.cores)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(self.cores)
        if find_spec("openvino"):
            limits = {"INFERENCE_NUM_THREADS": self.cores, "ENABLE_CPU_PINNING": False}
            openvino_runtime.core().set_property("CPU", limits)
        return self.make()


def result_row(result: Any, top: int | None = None, threshold: float = 0.0) -> dict[str, Any]:
    """Return the row of a Prediction, Detection or Failure (docs/output.md); `error` is None where there is none."""
    if isinstance(result, Failure):
        return schema.failure_row(result)
    record = result.to_dict(top, threshold) if isinstance(result, Prediction) else result.to_dict()
    return {**schema.row(result.source, record), "error": None}
