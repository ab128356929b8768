"""Results as rows of parquet files (docs/output.md)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from eranntag.cli.display import predictions
from eranntag.errors import EranntagError
from eranntag.results import schema
from eranntag.results.parquet import ParquetFolder


@contextmanager
def document(place: ParquetFolder, record: Callable[[Any], dict[str, Any]]) -> Iterator[predictions.Show]:
    """Yield `show(result) -> failed`, which writes the row of `record(result)` into `place`, and failures to stderr.

    However the block ends, what was heard is written, if that can be.
    """
    try:
        yield predictions.showing(lambda result: place.write(schema.row(result.source, record(result))))
    except BaseException:
        with suppress(EranntagError):  # of the disk, perhaps the one that ends this
            place.finish()
        raise
    place.finish()
