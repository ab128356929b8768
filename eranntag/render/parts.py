"""Results as rows of parquet files (docs/output.md)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from eranntag import render, rows
from eranntag.errors import EranntagError
from eranntag.journal.parts import Parts


@contextmanager
def document(place: Parts, record: Callable[[Any], dict[str, Any]]) -> Iterator[render.Show]:
    """Yield `show(result) -> failed`, which writes the row of `record(result)` into `place`, and failures to stderr.

    However the block ends, what was heard is written, if that can be.
    """
    try:
        yield render.showing(lambda result: place.write(rows.of(result.source, record(result))))
    except BaseException:
        with suppress(EranntagError):  # of the disk, perhaps the one that ends this
            place.finish()
        raise
    place.finish()
