"""Ray: an actor for each GPU or group of processors.

`predict` yields the results of one machine, in order; `tagged` is for pipelines of Ray Data that write their rows themselves.
Ray Data's executor submits more names as results are consumed, so that only a few batches are in flight.
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
from eranntag.integrations.worker import Worker, result_row
from eranntag.results import schema
from eranntag.types import Failure

if TYPE_CHECKING:
    import pyarrow
    from ray.data import Dataset

MAX_FILES = 64  # in a batch for an actor
MAX_CORES = 4  # of an actor without a GPU: each holds a network of its own
NO_PROGRESS_SECONDS = 86_400  # until Ray gives up; a sound may take hours
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
    """Yield what `pipeline.predict(make(), sources, batch)` yields, computed by the cluster at `address`.

    The address is "auto", "local" (this machine alone), HOST:PORT or ray://HOST:PORT; a Ray that is connected already is used.
    `make` can be pickled, and is called on machines that need eranntag and the same paths. Each actor has `cores` processors
    and `gpus` GPUs (default: 1 where the cluster has any). All names are read before the first is predicted.
    """
    ray = ray_session.import_ray()
    from ray.data.exceptions import ExecutionTimeoutError

    names, failures = _collect_names(sources)
    results: Iterator[Done | Failure] = iter(())
    with ray_session.connected(ray, address):
        try:
            if names:
                actors = _Actors(ray, cores, gpus)
                arguments = {"make": make, "cores": actors.cores, "batch": batch, "column": NAME}
                files = max(1, min(MAX_FILES, len(names) // (4 * actors.count)))
                results = _iter_results(_map_batches(_dataset(names, files), _ResultActor, arguments, actors, files))
            for position in range(len(names) + len(failures)):
                yield failures[position] if position in failures else next(results)
        except (ray.exceptions.RayError, ExecutionTimeoutError) as error:
            raise EranntagError(f"Ray: {_last_line(error)}") from error


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
    """Return the rows of docs/output.md with a column `error`, one for each of `paths`, text or bytes in `column`.

    `make` is for example `worker.Load("erann-2-2-esc50")`; where it makes Detectors, `events` must be true.
    """
    actors = _Actors(ray_session.import_ray(), cores, gpus)
    arguments = {"make": make, "cores": actors.cores, "batch": batch, "column": column}
    arguments |= {"top": top, "threshold": threshold, "events": events}
    return _map_batches(paths, _RowActor, arguments, actors, MAX_FILES)


class _ResultActor:
    """An actor that turns a batch of names into pickled results."""

    def __init__(self, make: bytes, cores: int, batch: int | None, column: str) -> None:
        self._column = column
        self._worker: Worker | EranntagError
        try:
            self._worker = Worker(_Unpickle(make), cores, batch)
        except EranntagError as error:  # is a result: Ray would make fifty lines of it
            self._worker = error

    def __call__(self, names: pyarrow.Table) -> pyarrow.Table:
        if isinstance(self._worker, EranntagError):
            return self._table(self._worker)
        try:
            results = self._worker(names[self._column].to_pylist())
        except EranntagError as error:
            return self._table(error)
        return self._table(results)

    def _table(self, results: list[Any] | EranntagError) -> pyarrow.Table:
        import pyarrow

        results = [results] if isinstance(results, EranntagError) else results
        return pyarrow.table({RESULT: pyarrow.array(map(pickle.dumps, results), pyarrow.large_binary())})


class _RowActor(_ResultActor):
    """An actor that turns a batch of names into the rows of their results."""

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
        return pyarrow.Table.from_pylist([result_row(result, self._top, self._threshold) for result in results], self._schema)


@dataclass(frozen=True)
class _Unpickle:
    """A `make` that Ray pickled, also of a script's own functions, which the actor's process cannot import."""

    make: bytes

    def __call__(self) -> Any:
        return pickle.loads(self.make)()


class _Actors:
    """The `count` of actors, and the `cores` and `gpus` of each. Raises UsageError for what no machine has."""

    def __init__(self, ray: Any, cores: int | None, gpus: int | None) -> None:
        alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        nodes = [(int(node.get("CPU", 0)), int(node.get("GPU", 0))) for node in alive if node.get("CPU", 0) >= 1]
        self.gpus = int(any(gpu for _, gpu in nodes)) if gpus is None else gpus
        fit = [(cpu, gpu) for cpu, gpu in nodes if gpu >= self.gpus]
        each = [cpu // (gpu // self.gpus) if self.gpus else min(cpu, MAX_CORES) for cpu, gpu in fit]
        self.cores = cores or max(1, min(each, default=1))
        self.count = sum(min(cpu // self.cores, gpu // self.gpus if self.gpus else cpu) for cpu, gpu in fit)
        if not self.count:
            most = ", ".join(sorted({f"{cpu} CPUs and {gpu} GPUs" for cpu, gpu in nodes})) or "no CPU"
            raise UsageError(
                f"no machine of the Ray cluster has {self.cores} CPUs and {self.gpus} GPUs for an actor, but {most}"
            )


def _collect_names(sources: Iterable[Any]) -> tuple[list[bytes], dict[int, Failure]]:
    """Return the names, and the sources that are failures already by their positions."""
    names: list[bytes] = []
    failures: dict[int, Failure] = {}
    for source in sources:
        if isinstance(source, Failure):
            failures[len(names) + len(failures)] = source
        elif source == STDIN or not isinstance(source, str | None):
            raise UsageError(f"Ray: {source} exists for this process alone; name files that every machine can read")
        elif source is not None:
            names.append(os.fsencode(source))
    return names, failures


def _dataset(names: Sequence[bytes], files: int) -> Dataset:
    """Return the names in blocks of `files`, each of which is one task."""
    import pyarrow
    import ray.data

    blocks = (names[start : start + files] for start in range(0, len(names), files))
    return ray.data.from_arrow([pyarrow.table({NAME: pyarrow.array(block, pyarrow.binary())}) for block in blocks])


def _map_batches(paths: Dataset, actor: type[_ResultActor], arguments: dict[str, Any], actors: _Actors, files: int) -> Dataset:
    from ray import cloudpickle
    from ray.data import ActorPoolStrategy

    make = cloudpickle.dumps(arguments["make"])  # type: ignore[no-untyped-call]  # of Ray's copy of cloudpickle
    arguments = {**arguments, "make": make}
    mapped = paths.map_batches(
        actor,
        fn_constructor_kwargs=arguments,
        batch_size=files,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=actors.count),
        num_cpus=actors.cores,
        num_gpus=actors.gpus,
    )
    mapped.context.execution_no_progress_timeout_s = NO_PROGRESS_SECONDS
    return mapped


def _iter_results(mapped: Dataset) -> Iterator[Any]:
    context = mapped.context
    context.enable_progress_bars, context.execution_options.preserve_order = False, True
    for block in mapped.iter_batches(batch_size=None, batch_format="pyarrow"):
        for result in block[RESULT]:
            yield _unpickle_result(result.as_py())


def _unpickle_result(pickled: bytes) -> Any:
    """Return a result of one of our own actors, or raise its EranntagError."""
    result = pickle.loads(pickled)
    if isinstance(result, EranntagError):
        raise result
    return result


def _last_line(error: BaseException) -> str:
    """Return the last of the many lines of Ray's errors, which is the most specific one."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1].strip()
