"""`predict` by several processes of this machine, each with a tagger of its own and its share of the processors or GPUs.

For many processors, several GPUs, and for sounds nobody trusts: where a decoder crashes, its process dies alone. The others go
on, and what it had before it is heard again one by one, so that the sound which is to blame becomes a Failure.
"""

import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from eranntag.errors import EranntagError, error_reason
from eranntag.inference import devices
from eranntag.inference.pipeline import Scorer, Source, predict, waiting
from eranntag.inference.sources import PAUSE_SECONDS, as_they_come
from eranntag.types import Failure

END_SECONDS = 5.0  # that a process which was killed may take
WINDOW = 1024  # results that may wait for one before them, such as a sound of many hours
Done = TypeVar("Done")


def shared(
    make: Callable[[], Scorer[Done]], sources: Iterable[Source], jobs: int, batch: int | None = None
) -> Iterator[Done | Failure]:
    """What `predict.predict(make(), sources, batch)` yields, in the same order, by `jobs` processes.

    `make` is called in each of them, so it can be pickled, and loads there. Raises what `make` raises, and EranntagError when
    a process cannot start, or dies before it heard anything. Sources are no standard input, which only this process has.
    """
    remaining = iter(sources)
    there: dict[int, Any] = {}  # results that came before their turn
    given = taken = 0  # sources that a process has or had; results that were yielded
    more = True
    workers = [_Worker(make, batch, index, jobs) for index in range(jobs)]
    try:
        for each in workers:
            each.start()
        while more or given > taken:
            while more and given - taken < WINDOW and (worker := _idlest(workers)):
                if (source := next(remaining, _END)) is _END:
                    more = False
                elif source is None:  # the list is slow
                    break
                elif isinstance(source, Failure):
                    there[given] = source
                    given += 1
                else:
                    worker.give(given, source)
                    given += 1
            ready = wait([worker.pipe for worker in workers], PAUSE_SECONDS)
            for worker in workers:
                if worker.pipe in ready:
                    there.update(worker.take())
            while taken in there:
                yield there.pop(taken)
                taken += 1
    finally:
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.end()


_END = object()


def _idlest(workers: list["_Worker"]) -> "_Worker | None":
    """Of those that want more; None if none does."""
    hungry = [worker for worker in workers if len(worker.has) < worker.wants]
    return min(hungry, key=lambda worker: len(worker.has), default=None)


class _Worker:
    """A process, and what it `has`: numbers and sources whose results have not come. It `wants` so many of them.

    What it had when it died are suspects, which its successor gets one at a time.
    """

    def __init__(self, make: Callable[[], Any], batch: int | None, index: int, jobs: int) -> None:
        self._work = (make, batch, index, jobs)
        self._suspects: deque[tuple[int, Source]] = deque()
        self._process: Any = None

    def start(self) -> None:
        self.has: deque[tuple[int, Source]] = deque()
        self.wants = self._appetite = 0
        context = multiprocessing.get_context("spawn")  # a fork would share the threads' locks
        try:
            self.pipe, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs, *self._work), daemon=True)
            with _undisturbed():
                self._process.start()
        except OSError as error:
            raise EranntagError(f"a process of --jobs cannot be started ({error.strerror}); use fewer of them") from error
        theirs.close()

    def kill(self) -> None:
        """If it was started."""
        if self._process is not None and self._process.pid is not None:
            self._process.kill()

    def end(self) -> None:
        """After `kill`: nothing of it is left, unless the system holds it, as in a read of a disk that does not answer."""
        if self._process is not None and self._process.pid is not None:
            self._process.join(END_SECONDS)
            self.pipe.close()

    def give(self, number: int, source: Source) -> None:
        self.has.append((number, source))
        with suppress(OSError):  # it died, which `take` will notice
            self.pipe.send(source)

    def take(self) -> Iterator[tuple[int, Any]]:
        """The number and result that have come, or none."""
        try:
            message = self.pipe.recv()
        except (EOFError, OSError):
            yield from self._buried()
            return
        if isinstance(message, Exception):
            raise message
        if isinstance(message, int):  # its first word
            self._appetite = message
        else:
            yield self.has.popleft()[0], message
        if not self.has and self._suspects:
            self.give(*self._suspects.popleft())
        elif not self.has:
            self.wants = self._appetite

    def _buried(self) -> Iterator[tuple[int, Failure]]:
        """It died: a successor takes its place. The number and Failure of the one sound it had, or none."""
        self._process.join()
        self.pipe.close()
        code = self._process.exitcode or 0
        how = signal.strsignal(-code) or f"signal {-code}" if code < 0 else f"exit code {code}"
        if not self._appetite:
            raise EranntagError(f"a process of --jobs ended before it heard anything ({how}); use fewer of them")
        if len(self.has) == 1:
            number, source = self.has.popleft()
            yield (
                number,
                Failure(str(source), f"the process that heard it died ({how}): it crashes its decoder, or memory is short"),
            )
        self._suspects.extendleft(reversed(self.has))
        self.start()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C and SIGTERM, which may go to all processes at once, wait until the block ends; what it starts never gets them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # which would let the signals through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, make: Callable[[], Scorer[Any]], batch: int | None, index: int, jobs: int) -> None:
    """What a process does: says how much it likes to have, then a result for each source."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # is for the parent, which ends this
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    devices.take_share(index, jobs)
    try:
        scorer = make()
        pipe.send(waiting(scorer, batch or scorer.batch))
        for result in predict(scorer, as_they_come(_received(pipe)), batch):
            pipe.send(result)
    except (BrokenPipeError, ConnectionResetError):  # nobody is there any more
        pass
    except Exception as error:
        told = error if isinstance(error, EranntagError) else EranntagError(f"in a process of --jobs: {error_reason(error)}")
        told.add_note(traceback.format_exc())  # for --debug
        with suppress(OSError):
            pipe.send(told)


def _received(pipe: Connection) -> Iterator[Any]:
    with suppress(EOFError, OSError):
        while True:
            yield pipe.recv()


def _end_with(parent: Any) -> None:
    """A kill -9 of the parent must not leave this behind with hours of sound to hear."""
    parent.join()
    os._exit(1)
