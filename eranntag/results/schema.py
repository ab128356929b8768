"""Results as rows of a table with typed columns: parquet files, Ray and Spark. docs/output.md describes the columns."""

import os
from collections.abc import Mapping
from typing import Any

from eranntag.results.formats import SCHEMA
from eranntag.types import Failure

KINDS = ("tags", "events", "embedding", "windows")  # of Predictions, Detections, Embeddings of sounds and of their windows


def row(source: str, record: Mapping[str, Any]) -> dict[str, Any]:
    r"""Return the row of `record`, the `to_dict` of the result of `source`.

    Its `source` is text in which bytes that are not UTF-8 are written as \xNN; `source_bytes` are the unchanged bytes.
    """
    name = os.fsencode(source)
    return {"schema": SCHEMA, **record, "source": name.decode("utf-8", "backslashreplace"), "source_bytes": name}


def failure_row(failure: Failure) -> dict[str, Any]:
    """Return the row of an input that failed, where failures are rows: all other columns are null."""
    return {**row(failure.source, {}), "error": failure.reason}


def kind(record: Mapping[str, Any]) -> str:
    """Return which of KINDS a record or row is, by its column of that name; "" for none of them."""
    return next((kind for kind in KINDS if kind in record), "")


def row_size(row: Mapping[str, Any]) -> int:
    """Return a measure of a row's memory: its number of tags or events; ten numbers of a vector count as one."""
    if "embedding" in row:
        return len(row["embedding"]) // 10
    if "windows" in row:
        return sum(len(window["embedding"]) // 10 for window in row["windows"])
    return len(row.get("tags") or row.get("events") or ())


def arrow_schema(kind: str, error: bool = False) -> Any:
    """Return the pyarrow.Schema of rows of a kind; with the column `error` for Ray and Spark."""
    import pyarrow

    number, text, vector = pyarrow.float64(), pyarrow.string(), pyarrow.list_(pyarrow.float32())
    tag = pyarrow.struct([("label", text), ("score", number)])
    event = pyarrow.struct([("label", text), ("onset", number), ("offset", number), ("score", number)])
    window = pyarrow.struct([("onset", number), ("offset", number), ("embedding", vector)])
    columns = {
        "tags": [("tags", pyarrow.list_(tag))],
        "events": [("frame_seconds", number), ("events", pyarrow.list_(event))],
        "embedding": [("embedding", vector)],
        "windows": [("every_seconds", number), ("windows", pyarrow.list_(window))],
    }
    common = [
        ("schema", pyarrow.int32()),
        ("source", text),
        ("source_bytes", pyarrow.binary()),
        ("seconds", number),
        ("checkpoint", text),
    ]
    return pyarrow.schema([*common, *columns[kind], *([("error", text)] if error else [])])
