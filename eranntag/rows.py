"""Results as the rows of a table with typed columns: parquet files, Ray and Spark. docs/output.md describes the columns."""

import os
from collections.abc import Mapping
from typing import Any

from eranntag.records import SCHEMA
from eranntag.types import Failure


def of(source: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """The row of `record`, which is a Prediction's or Detection's `to_dict` of `source`.

    `source` is text for every name: of one that is not UTF-8 the odd bytes are written as \\xNN. `source_bytes` are the very
    bytes.
    """
    name = os.fsencode(source)
    return {"schema": SCHEMA, **record, "source": name.decode("utf-8", "backslashreplace"), "source_bytes": name}


def of_failure(failure: Failure) -> dict[str, Any]:
    """The row of an input that could not be tagged, where failures are rows: its columns are null but for these."""
    return {**of(failure.source, {}), "error": failure.reason}


def schema(events: bool, error: bool = False) -> Any:
    """The pyarrow.Schema of rows of Predictions, or of Detections (`events`); of Ray and Spark with an `error`."""
    import pyarrow

    number, text = pyarrow.float64(), pyarrow.string()
    tag = pyarrow.struct([("label", text), ("score", number)])
    event = pyarrow.struct([("label", text), ("onset", number), ("offset", number), ("score", number)])
    heard = [("frame_seconds", number), ("events", pyarrow.list_(event))] if events else [("tags", pyarrow.list_(tag))]
    names = [("schema", pyarrow.int32()), ("source", text), ("source_bytes", pyarrow.binary())]
    about = [("seconds", number), ("checkpoint", text)]
    return pyarrow.schema([*names, *about, *heard, *([("error", text)] if error else [])])
