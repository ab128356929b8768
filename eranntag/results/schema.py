"""Results as the rows of a table with typed columns: parquet files, Ray and Spark. docs/output.md describes the columns."""

import os
from collections.abc import Mapping
from typing import Any

from eranntag.results.formats import SCHEMA
from eranntag.types import Failure

KINDS = ("tags", "events", "embedding", "windows")  # of Predictions, Detections, Embeddings of sounds and of their windows


def of(source: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """The row of `record`, which is a result's `to_dict` of `source`.

    `source` is text for every name: of one that is not UTF-8 the odd bytes are written as \\xNN. `source_bytes` are the very
    bytes.
    """
    name = os.fsencode(source)
    return {"schema": SCHEMA, **record, "source": name.decode("utf-8", "backslashreplace"), "source_bytes": name}


def of_failure(failure: Failure) -> dict[str, Any]:
    """The row of an input that could not be tagged, where failures are rows: its columns are null but for these."""
    return {**of(failure.source, {}), "error": failure.reason}


def kind(record: Mapping[str, Any]) -> str:
    """Which of KINDS a record or row is, by its column of that name; "" for none of them."""
    return next((kind for kind in KINDS if kind in record), "")


def entries(row: Mapping[str, Any]) -> int:
    """How much memory a row takes, in tags or events; ten numbers of a vector count as one."""
    if "embedding" in row:
        return len(row["embedding"]) // 10
    if "windows" in row:
        return sum(len(window["embedding"]) // 10 for window in row["windows"])
    return len(row.get("tags") or row.get("events") or ())


def schema(kind: str, error: bool = False) -> Any:
    """The pyarrow.Schema of rows of a kind; of Ray and Spark with an `error`."""
    import pyarrow

    number, text, vector = pyarrow.float64(), pyarrow.string(), pyarrow.list_(pyarrow.float32())
    tag = pyarrow.struct([("label", text), ("score", number)])
    event = pyarrow.struct([("label", text), ("onset", number), ("offset", number), ("score", number)])
    window = pyarrow.struct([("onset", number), ("offset", number), ("embedding", vector)])
    heard = {
        "tags": [("tags", pyarrow.list_(tag))],
        "events": [("frame_seconds", number), ("events", pyarrow.list_(event))],
        "embedding": [("embedding", vector)],
        "windows": [("every_seconds", number), ("windows", pyarrow.list_(window))],
    }
    names = [("schema", pyarrow.int32()), ("source", text), ("source_bytes", pyarrow.binary())]
    about = [("seconds", number), ("checkpoint", text)]
    return pyarrow.schema([*names, *about, *heard[kind], *([("error", text)] if error else [])])
