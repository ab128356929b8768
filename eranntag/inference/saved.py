"""Embeddings as `eranntag embed` wrote them, read again: .npz, JSON lines, or a folder of parquet."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from eranntag.errors import EranntagError
from eranntag.results import matrix, merge, parquet
from eranntag.results.journal import FOLDER_JOURNAL, parse_line
from eranntag.types import Embedding


class About(NamedTuple):
    """By which checkpoint embeddings were made; the SHA-256 of its weights where they are known."""

    checkpoint: str
    sha256: tuple[str, ...] = ()


def is_saved(place: str) -> bool:
    """Whether `place` has the name of a file of embeddings, or is a folder with parts of parquet."""
    path = Path(place)
    return path.suffix.lower() in (".npz", ".jsonl") or (path.is_dir() and any(path.glob("*.parquet")))


def origin(path: Path) -> About:
    """Of the embeddings at `path`. Raises EranntagError where there are none."""
    settings: Any = {}
    if path.is_dir():
        settings = _first_line(path / FOLDER_JOURNAL)
    elif path.suffix.lower() == ".npz":
        settings = matrix.load(path).settings
    if isinstance(settings, dict) and isinstance(name := settings.get("checkpoint"), str):
        digests = settings.get("SHA-256")
        return About(name, tuple(map(str, digests)) if isinstance(digests, list) else ())
    first = next(read(path), None)
    if first is None:
        raise EranntagError(f"{path}: holds no embedding; name what `eranntag embed` wrote")
    return About(first.checkpoint)


def _first_line(path: Path) -> Any:
    """The settings of a journal; None without one."""
    return parse_line(next(merge.read_lines(path), "").encode("utf-8", "surrogateescape")) if path.is_file() else None


def read(path: Path) -> Iterator[Embedding]:
    """The Embeddings at `path`, in their order. Raises EranntagError where that holds something else."""
    if path.is_dir():
        for part in sorted(path.glob("*.parquet")):
            for number, row in enumerate(parquet.read_rows(part), 1):
                yield _embedding(row, os.fsdecode(row["source_bytes"]), f"{part}: row {number}")
    elif path.suffix.lower() == ".npz":
        yield from matrix.iter_embeddings(matrix.load(path))
    else:
        for number, line in enumerate(_lines(path), 1):
            record = parse_line(line.encode("utf-8", "surrogateescape"))
            yield _embedding(record, record.get("source") if isinstance(record, dict) else "", f"{path}: line {number}")


def _lines(path: Path) -> Iterator[str]:
    try:
        if not path.is_file():
            raise EranntagError(f"{path}: no such file of embeddings")
        yield from merge.read_lines(path)
    except OSError as error:
        raise EranntagError(f"{path}: cannot be read ({error.strerror})") from None


def _embedding(record: Any, source: Any, where: str) -> Embedding:
    """A record of docs/output.md, or the row of a table."""
    try:
        every = record.get("every_seconds")
        windows = [{"onset": 0.0, "embedding": record["embedding"]}] if every is None else record["windows"]
        with np.errstate(over="ignore"):  # infinity is refused below
            vectors = np.array([window["embedding"] for window in windows], np.float32)
        onsets = np.array([window["onset"] for window in windows], np.float64)
        seconds, checkpoint = float(record["seconds"]), record["checkpoint"]
        if vectors.ndim != 2 or not np.isfinite(vectors).all() or not np.isfinite(onsets).all() or not np.isfinite(seconds):
            raise ValueError
        if not isinstance(source, str) or not isinstance(checkpoint, str):
            raise TypeError
        return Embedding(vectors, onsets, seconds, None if every is None else float(every), source, checkpoint)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        raise EranntagError(f"{where} is no embedding; name what `eranntag embed` wrote") from None
