"""`predict` by several processes of this machine, each with a tagger of its own and its share of the processors or GPUs.

For many processors, several GPUs, and for sounds nobody trusts: where a decoder crashes, its process dies alone. The others go
on, and what it had before it is heard again one by one, so that the sound which is to blame becomes a Failure.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from eranntag import devices
from eranntag.errors import EranntagError, reason
from eranntag.inputs import PAUSE_SECONDS, as_they_come
from eranntag.predict import Listener, Source, predict, waiting
from eranntag.types import Failure

WINDOW = 4096  # results that may wait for one before them, such as a sound of many hours
Done = TypeVar("Done")


def shared(
    make: Callable[[], Listener[Done]], sources: Iterable[Source], jobs: int, batch: int | None = None
) -> Iterator[Done | Failure]:
    """What `predict.predict(make(), sources, batch)` yields, in the same order, by `jobs` processes.

    `make` is called in each of them, so it can be pickled, and loads there. Raises what `make` raises, and EranntagError when
    a process dies before it heard anything. Sources are no standard input, which only this process has.
    """
    remaining = iter(sources)
    there: dict[int, Any] = {}  # results that came before their turn
    given = taken = 0  # sources that a process has or had; results that were yielded
    more = True
    workers = [_Worker(make, batch, index, jobs) for index in range(jobs)]
    try:
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
            worker.process.kill()


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
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would share the threads' locks
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, *self._work), daemon=True)
        self.process.start()
        theirs.close()
        self.has: deque[tuple[int, Source]] = deque()
        self.wants = self._appetite = 0

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
        self.process.join()
        code = self.process.exitcode or 0
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        if not self._appetite:
            raise EranntagError(f"a process of --jobs ended before it heard anything ({how}); use fewer of them")
        if len(self.has) == 1:
            number, source = self.has.popleft()
            yield (
                number,
                Failure(str(source), f"the process that heard it died ({how}): it crashes its decoder, or memory is short"),
            )
        self._suspects.extendleft(reversed(self.has))
        self._start()


def _serve(pipe: Connection, make: Callable[[], Listener[Any]], batch: int | None, index: int, jobs: int) -> None:
    """What a process does: says how much it likes to have, then a result for each source."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    devices.take_share(index, jobs)
    try:
        listener = make()
        pipe.send(waiting(listener, batch or listener.batch))
        for result in predict(listener, as_they_come(_received(pipe)), batch):
            pipe.send(result)
    except OSError:  # nobody is there any more
        pass
    except Exception as error:
        pipe.send(error if isinstance(error, EranntagError) else EranntagError(f"in a process of --jobs: {reason(error, '')}"))


def _received(pipe: Connection) -> Iterator[Any]:
    with suppress(EOFError, OSError):
        while True:
            yield pipe.recv()


def _end_with(parent: Any) -> None:
    """A kill -9 of the parent must not leave this behind with hours of sound to hear."""
    parent.join()
    os._exit(1)
