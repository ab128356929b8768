"""Ray: an actor for each GPU or group of processors.

`predict` gives what one machine gives, in order; `tagged` is for pipelines of Ray Data that write their rows themselves. Ray
Data's executor hands out more names as results are taken, so that a few batches are under way, however many there are.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from eranntag.errors import EranntagError, UsageError
from eranntag.inference.pipeline import Scorer
from eranntag.inference.sources import STDIN
from eranntag.integrations import ray_session
from eranntag.integrations.worker import Hearing, row
from eranntag.results import schema
from eranntag.types import Failure

if TYPE_CHECKING:
    import pyarrow
    from ray.data import Dataset

FILES = 64  # that an actor gets at once, at most
CORES = 4  # of an actor without a GPU, where there are so many: each holds a network of its own
STUCK_SECONDS = 86_400  # without any batch done, after which Ray gives up; a sound may take hours
NAME, RESULT = "path", "result"
Done = TypeVar("Done")


def predict(
    make: Callable[[], Scorer[Done]],
    sources: Iterable[str | Failure | None],
    address: str = "local",
    batch: int | None = None,
    cores: int | None = None,
    gpus: int | None = None,
) -> Iterator[Done | Failure]:
    """What `predict.predict(make(), sources, batch)` yields, in the same order, by the cluster at `address`.

    That is "auto", "local" (this machine alone), HOST:PORT or ray://HOST:PORT; a Ray that is connected already is used.
    `make` is called on its machines, where eranntag and the very same paths must be; it can be pickled. Each actor has `cores`
    processors and `gpus` GPUs: 1 where the cluster has any, or 0. All names are read before the first is heard.
    """
    ray = ray_session.imported()
    from ray.data.exceptions import ExecutionTimeoutError

    names, failures = _read(sources)
    results: Iterator[Done | Failure] = iter(())
    with ray_session.connected(ray, address):
        try:
            if names:
                shape = _Shape(ray, cores, gpus)
                arguments = {"make": make, "cores": shape.cores, "batch": batch, "column": NAME}
                some = max(1, min(FILES, len(names) // (4 * shape.actors)))
                results = _taken(_mapped(_dataset(names, some), _Results, arguments, shape, some))
            for place in range(len(names) + len(failures)):
                yield failures[place] if place in failures else next(results)
        except (ray.exceptions.RayError, ExecutionTimeoutError) as error:
            raise EranntagError(f"Ray: {_cause(error)}") from error


def tagged(
    paths: Dataset,
    make: Callable[[], Scorer[Any]],
    column: str = NAME,
    top: int | None = None,
    threshold: float = 0.0,
    events: bool = False,
    batch: int | None = None,
    cores: int | None = None,
    gpus: int | None = None,
) -> Dataset:
    """The rows of docs/output.md with a column `error`, one for each of `paths`, text or bytes in `column`.

    `make` is such as `cluster.Load("erann-2-2-esc50")`; where it makes Detectors, `events` must be true.
    """
    shape = _Shape(ray_session.imported(), cores, gpus)
    arguments = {"make": make, "cores": shape.cores, "batch": batch, "column": column}
    return _mapped(paths, _Rows, {**arguments, "top": top, "threshold": threshold, "events": events}, shape, FILES)


class _Results:
    """An actor: a batch of names -> their results."""

    def __init__(self, make: bytes, cores: int, batch: int | None, column: str) -> None:
        self._column = column
        self._hear = self._attempt(lambda _: Hearing(_Shipped(make), cores, batch), [])

    def __call__(self, names: pyarrow.Table) -> pyarrow.Table:
        results = self._hear
        if not isinstance(results, EranntagError):
            results = self._attempt(results, names[self._column].to_pylist())
        return self._table(results)

    @staticmethod
    def _attempt(work: Callable[[list[Any]], Any], names: list[Any]) -> Any:
        """Or the EranntagError: Ray would make fifty lines of it."""
        try:
            return work(names)
        except EranntagError as error:
            return error

    def _table(self, results: list[Any] | EranntagError) -> pyarrow.Table:
        import pyarrow

        results = [results] if isinstance(results, EranntagError) else results
        return pyarrow.table({RESULT: pyarrow.array(map(pickle.dumps, results), pyarrow.large_binary())})


class _Rows(_Results):
    """An actor: a batch of names -> the rows of their results."""

    def __init__(self, top: int | None, threshold: float, events: bool, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._top, self._threshold, self._schema = (
            top,
            threshold,
            schema.arrow_schema("events" if events else "tags", error=True),
        )

    def _table(self, results: list[Any] | EranntagError) -> pyarrow.Table:
        import pyarrow

        if isinstance(results, EranntagError):
            raise results
        return pyarrow.Table.from_pylist([row(result, self._top, self._threshold) for result in results], self._schema)


@dataclass(frozen=True)
class _Shipped:
    """What Ray pickled, also of a script's own functions, which the actor's process cannot import."""

    make: bytes

    def __call__(self) -> Any:
        return pickle.loads(self.make)()


class _Shape:
    """Of the actors: how many there are at once, each with its processors and GPUs. UsageError for what no machine has."""

    def __init__(self, ray: Any, cores: int | None, gpus: int | None) -> None:
        there = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        nodes = [(int(node.get("CPU", 0)), int(node.get("GPU", 0))) for node in there if node.get("CPU", 0) >= 1]
        self.gpus = int(any(gpu for _, gpu in nodes)) if gpus is None else gpus
        fit = [(cpu, gpu) for cpu, gpu in nodes if gpu >= self.gpus]
        each = [cpu // (gpu // self.gpus) if self.gpus else min(cpu, CORES) for cpu, gpu in fit]
        self.cores = cores or max(1, min(each, default=1))
        self.actors = sum(min(cpu // self.cores, gpu // self.gpus if self.gpus else cpu) for cpu, gpu in fit)
        if not self.actors:
            most = ", ".join(sorted({f"{cpu} CPUs and {gpu} GPUs" for cpu, gpu in nodes})) or "no CPU"
            raise UsageError(
                f"no machine of the Ray cluster has {self.cores} CPUs and {self.gpus} GPUs for an actor, but {most}"
            )


def _read(sources: Iterable[Any]) -> tuple[list[bytes], dict[int, Failure]]:
    """The names, and by their places the sources that are failures already."""
    names: list[bytes] = []
    failures: dict[int, Failure] = {}
    for source in sources:
        if isinstance(source, Failure):
            failures[len(names) + len(failures)] = source
        elif source == STDIN or not isinstance(source, str | None):
            raise UsageError(f"Ray: {source} is there for this process alone; name files that every machine can read")
        elif source is not None:
            names.append(os.fsencode(source))
    return names, failures


def _dataset(names: Sequence[bytes], some: int) -> Dataset:
    """Of blocks of `some` names: each is one task."""
    import pyarrow
    import ray.data

    blocks = (names[start : start + some] for start in range(0, len(names), some))
    return ray.data.from_arrow([pyarrow.table({NAME: pyarrow.array(block, pyarrow.binary())}) for block in blocks])


def _mapped(paths: Dataset, actor: type[_Results], arguments: dict[str, Any], shape: _Shape, some: int) -> Dataset:
    from ray import cloudpickle
    from ray.data import ActorPoolStrategy

    arguments = {**arguments, "make": cloudpickle.dumps(arguments["make"])}
    mapped = paths.map_batches(
        actor,
        fn_constructor_kwargs=arguments,
        batch_size=some,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=shape.actors),
        num_cpus=shape.cores,
        num_gpus=shape.gpus,
    )
    mapped.context.execution_no_progress_timeout_s = STUCK_SECONDS
    return mapped


def _taken(mapped: Dataset) -> Iterator[Any]:
    context = mapped.context
    context.enable_progress_bars, context.execution_options.preserve_order = False, True
    for block in mapped.iter_batches(batch_size=None, batch_format="pyarrow"):
        for result in block[RESULT]:
            yield _done(result.as_py())


def _done(pickled: bytes) -> Any:
    """By one of our own actors."""
    done = pickle.loads(pickled)
    if isinstance(done, EranntagError):
        raise done
    return done


def _cause(error: BaseException) -> str:
    """The line that says most of the many lines of Ray's errors: the last one."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1].strip()
