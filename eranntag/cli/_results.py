"""From results to a document, a progress line and the exit code."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

Document = AbstractContextManager[Callable[[Any], bool]]  # yields `show(result) -> failed`


def show_all(results: Iterable[Any], document: Document, done: int = 0, allow_empty: bool = False) -> None:
    """Write all `results` to `document`, in which `done` are already, and set the exit code.

    Raises SystemExit(3) if some results are failures, SystemExit(1) if all are, and EranntagError if there are none, unless
    `allow_empty`.
    """
    with counted(document, done, allow_empty) as show:
        for result in results:
            show(result)


@contextmanager
def counted(document: Document, done: int = 0, allow_empty: bool = False) -> Iterator[Callable[[Any], None]]:
    """Yield `show(result)` of `document`; the end of the block sets the exit code as `show_all` does."""
    from eranntag.cli.display import progress
    from eranntag.errors import EranntagError
    from eranntag.inference import sources

    counts = {"tagged": done, "failed": 0}
    with document as write, progress.progress(counts) as refresh:

        def show(result: Any) -> None:
            failed = write(result)
            counts["failed" if failed else "tagged"] += 1
            refresh()

        yield show
    if not any(counts.values()) and not allow_empty:
        raise EranntagError(sources.EMPTY)
    if counts["failed"]:
        raise SystemExit(3 if counts["tagged"] else 1)
