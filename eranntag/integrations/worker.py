"""The same predict on the machines of a cluster: what Ray (`cluster.ray`) and Spark (`cluster.spark`) have in common.

Each of their workers keeps one process more, in which the scorer is loaded once: where a decoder crashes, that process dies,
and not the worker, whose batch would be tried again until the cluster gives up. `inference.workers` finds the sound to blame.
"""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from eranntag.checkpoints import loading
from eranntag.errors import EranntagError
from eranntag.inference import workers
from eranntag.inference.pipeline import Scorer
from eranntag.results import schema
from eranntag.types import Failure, Prediction


@dataclass(frozen=True)
class Load:
    """A Tagger to be loaded elsewhere: `checkpoints.load` with these. Two that are equal load the same."""

    checkpoint: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    engine: str = "auto"
    registry: str | None = None
    offline: bool = False

    def __call__(self) -> Any:
        names = ("device", "dtype", "engine", "registry", "offline")
        return loading.load(self.checkpoint, **{name: getattr(self, name) for name in names}, many=True)


class Hearing:
    """Hears one batch of names after the other in a process of its own, with `make()`, on about `cores` processors.

    Loads at once, and raises what `make` raises. `make` can be pickled; `batch` is `predict.predict`'s.
    """

    def __init__(self, make: Callable[[], Scorer[Any]], cores: int, batch: int | None = None) -> None:
        self._waiting: deque[str | Failure] = deque([Failure("", "comes back as soon as the scorer is there")])
        self._results = workers.shared(_Limited(make, cores), self._given(), 1, batch)
        next(self._results)

    def _given(self) -> Iterator[str | Failure | None]:
        while True:
            yield self._waiting.popleft() if self._waiting else None

    def __call__(self, names: Sequence[str | bytes]) -> list[Any]:
        """A result or Failure for each name, in order; names that are bytes need not be UTF-8."""
        self._waiting.extend(os.fsdecode(name) for name in names)
        results = list(islice(self._results, len(names)))
        if len(results) < len(names):
            raise EranntagError("the process that hears has ended")
        return results


@dataclass(frozen=True)
class _Limited:
    """`make` on `cores` threads: a cluster counts processors, but holds nobody to them.

    Threads are not tied to processors, whose numbers mean nothing to two containers of one machine.
    """

    make: Callable[[], Scorer[Any]]
    cores: int

    def __call__(self) -> Scorer[Any]:
        from importlib.util import find_spec

        from eranntag.engines import openvino_runtime

        os.environ["OMP_NUM_THREADS"] = str(self.cores)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(self.cores)
        if find_spec("openvino"):
            limits = {"INFERENCE_NUM_THREADS": self.cores, "ENABLE_CPU_PINNING": False}
            openvino_runtime.core().set_property("CPU", limits)
        return self.make()


def row(result: Any, top: int | None = None, threshold: float = 0.0) -> dict[str, Any]:
    """The row of a Prediction, Detection or Failure (docs/output.md); `error` is None where there is none."""
    if isinstance(result, Failure):
        return schema.failure_row(result)
    record = result.to_dict(top, threshold) if isinstance(result, Prediction) else result.to_dict()
    return {**schema.row(result.source, record), "error": None}
