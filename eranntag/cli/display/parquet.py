"""Results as rows of parquet files (docs/output.md)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from eranntag.cli.display import documents
from eranntag.errors import EranntagError
from eranntag.results import schema
from eranntag.results.parquet import ParquetFolder


@contextmanager
def document(place: ParquetFolder, record: Callable[[Any], dict[str, Any]]) -> Iterator[documents.Show]:
    """Yield `show(result) -> failed`, which writes the row of `record(result)` into `place`, and failures to stderr.

    However the block ends, the rows so far are written, if the disk allows it.
    """
    try:
        yield documents.writing(lambda result: place.write(schema.row(result.source, record(result))))
    except BaseException:
        with suppress(EranntagError):  # perhaps the same full disk
            place.finish()
        raise
    place.finish()
