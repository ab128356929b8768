"""Spark: `paths.mapInPandas(spark.tagged(Load("erann-2-2-esc50")), spark.SCHEMA)`, a row for each path."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from eranntag.inference.pipeline import Scorer
from eranntag.integrations.worker import Hearing, row

if TYPE_CHECKING:
    import pandas

_ABOUT = "schema int, source string, source_bytes binary, seconds double, checkpoint string"
SCHEMA = f"{_ABOUT}, tags array<struct<label: string, score: double>>, error string"
EVENTS_SCHEMA = (
    f"{_ABOUT}, frame_seconds double, "
    "events array<struct<label: string, onset: double, offset: double, score: double>>, error string"
)


@dataclass(frozen=True)
class tagged:  # noqa: N801 - a function with its arguments, which can be pickled
    """For `DataFrame.mapInPandas`: frames of paths, text or bytes in `column` -> of the rows of docs/output.md, and `error`.

    `make` is such as `cluster.Load("erann-2-2-esc50")`, equal where it loads the same: each of Spark's workers loads it once.
    Where it makes Detectors `events` must be true, and the schema is EVENTS_SCHEMA. `cores` should be spark.task.cpus.
    """

    make: Callable[[], Scorer[Any]]
    column: str = "path"
    top: int | None = None
    threshold: float = 0.0
    events: bool = False
    cores: int = 1
    batch: int | None = None

    def __call__(self, frames: "Iterator[pandas.DataFrame]") -> "Iterator[pandas.DataFrame]":
        import pandas

        hearing = _hearing(self.make, self.cores, self.batch)
        columns = _columns(EVENTS_SCHEMA if self.events else SCHEMA)
        for frame in frames:
            results = hearing([_name(path) for path in frame[self.column]])
            rows = [row(result, self.top, self.threshold) for result in results]
            yield pandas.DataFrame({name: pandas.Series([each.get(name) for each in rows], dtype=object) for name in columns})


@lru_cache(1)
def _hearing(make: Callable[[], Scorer[Any]], cores: int, batch: int | None) -> Hearing:
    return Hearing(make, cores, batch)


def _name(path: Any) -> str | bytes:
    return path if isinstance(path, str) else bytes(path)  # Spark's binary is a bytearray


def _columns(schema: str) -> list[str]:
    """The names in DDL, whose commas in <> separate no columns."""
    return [column.split()[0] for column in re.split(r", (?![^<]*>)", schema)]
