"""`pipeline.predict` by several processes of this machine, each with a scorer of its own and its share of processors or GPUs.

For many processors, several GPUs, and for files of unknown origin: where a decoder crashes, its process dies alone. A new one
takes its place, and scores the sources that the dead one had one by one, so that the one that crashes it becomes a Failure.
"""

import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from eranntag.errors import EranntagError, error_reason
from eranntag.inference import devices, pipeline
from eranntag.inference.pipeline import Scorer, Source
from eranntag.inference.sources import PAUSE_SECONDS, as_they_come
from eranntag.types import Failure

END_SECONDS = 5.0  # that a process which was killed may take
WINDOW = 1024  # results that may wait for one before them, such as that of many hours of audio
Result = TypeVar("Result")


def predict(
    make: Callable[[], Scorer[Result]], sources: Iterable[Source], jobs: int, batch: int | None = None
) -> Iterator[Result | Failure]:
    """The results of `pipeline.predict(make(), sources, batch)`, in the same order, by `jobs` processes.

    `make` can be pickled; each process calls it, and loads its scorer there. Raises what `make` raises, and EranntagError when
    a process cannot start, or exits during start-up. Standard input is no source here, as only this process has it.
    """
    workers = [_Worker(make, batch, index, jobs) for index in range(jobs)]
    try:
        for worker in workers:
            worker.start()
        yield from _in_order(workers, iter(sources))
    finally:
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.end()


def _in_order(workers: list["_Worker"], sources: Iterator[Source]) -> Iterator[Any]:
    early: dict[int, Any] = {}  # results that came before their turn, by the number of their source
    sent = yielded = 0
    exhausted = False
    while not exhausted or yielded < sent:
        while not exhausted and sent - yielded < WINDOW and (worker := _least_loaded(workers)):
            try:
                source = next(sources)
            except StopIteration:
                exhausted = True
                break
            if source is None:  # the list of sources is slow
                break
            if isinstance(source, Failure):
                early[sent] = source
            else:
                worker.send(sent, source)
            sent += 1
        by_pipe = {worker.pipe: worker for worker in workers}
        for pipe in wait(list(by_pipe), PAUSE_SECONDS):
            early.update(by_pipe[pipe].receive())  # type: ignore[index]  # `wait` returns those that it was passed
        while yielded in early:
            yield early.pop(yielded)
            yielded += 1


def _least_loaded(workers: list["_Worker"]) -> "_Worker | None":
    """The worker with the fewest sources of those that can take one more; None if none can."""
    ready = [worker for worker in workers if len(worker.pending) < worker.capacity]
    return min(ready, key=lambda worker: len(worker.pending), default=None)


@dataclass(frozen=True)
class _Ready:
    """The first message of a process: its scorer is loaded, and `capacity` sources keep it busy."""

    capacity: int


class _Worker:
    """A process, the `pending` sources that it was sent, with their numbers, and its `capacity` for such.

    The capacity is 0 while the process starts, and while it scores one by one what another one had when it died.
    """

    def __init__(self, make: Callable[[], Any], batch: int | None, index: int, jobs: int) -> None:
        self._arguments = (make, batch, index, jobs)
        self._to_retry: deque[tuple[int, Source]] = deque()
        self._process: Any = None

    def start(self) -> None:
        self.pending: deque[tuple[int, Source]] = deque()
        self.capacity = 0
        self._full_capacity = 0
        context = multiprocessing.get_context("spawn")  # a fork would share the threads' locks
        try:
            self.pipe, remote = context.Pipe()
            self._process = context.Process(target=_serve, args=(remote, *self._arguments), daemon=True)
            with _signals_blocked():
                self._process.start()
        except OSError as error:
            raise EranntagError(f"a process of --jobs cannot be started ({error.strerror}); use fewer of them") from error
        remote.close()

    def kill(self) -> None:
        """End the process, if it was started."""
        if self._process is not None and self._process.pid is not None:
            self._process.kill()

    def end(self) -> None:
        """After `kill`: nothing of it is left, unless the system holds it, as in a read of a disk that does not respond."""
        if self._process is not None and self._process.pid is not None:
            self._process.join(END_SECONDS)
            self.pipe.close()

    def send(self, number: int, source: Source) -> None:
        self.pending.append((number, source))
        with suppress(OSError):  # it died, which `receive` will notice
            self.pipe.send(source)

    def receive(self) -> dict[int, Any]:
        """The result that came, by the number of its source; empty if the message was another."""
        try:
            message = self.pipe.recv()
        except (EOFError, OSError):
            return self._handle_crash()
        if isinstance(message, Exception):
            raise message
        results = {}
        if isinstance(message, _Ready):
            self._full_capacity = message.capacity
        else:
            number, _ = self.pending.popleft()
            results[number] = message
        if not self.pending and self._to_retry:
            self.send(*self._to_retry.popleft())
        elif not self.pending:
            self.capacity = self._full_capacity
        return results

    def _handle_crash(self) -> dict[int, Any]:
        """Start another process. The Failure of the pending source if that was the only one; more are retried one by one."""
        self._process.join()
        self.pipe.close()
        code = self._process.exitcode or 0
        cause = signal.strsignal(-code) or f"signal {-code}" if code < 0 else f"exit code {code}"
        if not self._full_capacity:
            raise EranntagError(f"a process of --jobs exited during start-up ({cause}); use fewer of them")
        results = {}
        if len(self.pending) == 1:
            number, source = self.pending.popleft()
            failed = f"the process that read it died ({cause}): it crashes its decoder, or memory is short"
            results[number] = Failure(str(source), failed)
        self._to_retry.extendleft(reversed(self.pending))
        self.start()
        return results


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Ctrl-C and SIGTERM, which may go to all processes at once, wait until the block ends; a child process never gets them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # which would unblock the signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, make: Callable[[], Scorer[Any]], batch: int | None, index: int, jobs: int) -> None:
    """The main function of a process: sends _Ready, then a result for each source that it receives; or an exception."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # is for the parent, which ends this
    threading.Thread(target=_exit_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    devices.take_share(index, jobs)
    try:
        scorer = make()
        pipe.send(_Ready(pipeline.max_in_flight(scorer, batch or scorer.batch)))
        for result in pipeline.predict(scorer, as_they_come(_received(pipe)), batch):
            pipe.send(result)
    except (BrokenPipeError, ConnectionResetError):  # the parent has ended
        pass
    except Exception as error:
        sent = (
            error if isinstance(error, EranntagError) else EranntagError(f"in a process of --jobs: {error_reason(error, '')}")
        )
        sent.add_note(traceback.format_exc())  # for --debug
        with suppress(OSError):
            pipe.send(sent)


def _received(pipe: Connection) -> Iterator[Any]:
    with suppress(EOFError, OSError):
        while True:
            yield pipe.recv()


def _exit_with(parent: Any) -> None:
    """A kill -9 of the parent must not leave this process behind with hours of audio to decode."""
    parent.join()
    os._exit(1)
