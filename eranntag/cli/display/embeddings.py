"""Embeddings as documents for programs (docs/output.md): JSON lines, NumPy's files, parquet; and the neighbors of one."""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from operator import methodcaller
from typing import Any

import numpy as np

from eranntag.cli.display import parquet, predictions, terminal
from eranntag.errors import EranntagError
from eranntag.inference.similarity import Neighbor
from eranntag.results import formats
from eranntag.results.matrix import EmbeddingMatrix
from eranntag.results.parquet import ParquetFolder
from eranntag.results.resumable_file import ResumableFile
from eranntag.results.resumable_folder import ResumableFolder
from eranntag.types import Embedding

SUFFIX = ".npy"


class Jsonl(formats.Jsonl):
    """One object a line."""

    def __init__(self) -> None:
        super().__init__(None, 0.0)

    def record(self, embedding: Any) -> str:
        return formats.described({"schema": formats.SCHEMA, **embedding.to_dict()}) + "\n"


def document(
    output: ResumableFile | EmbeddingMatrix | ParquetFolder | ResumableFolder | None, alone: bool
) -> AbstractContextManager[predictions.Show]:
    """Yield `show(result) -> failed`, which writes Embeddings to `output`; `alone`: as the .npy of one sound."""
    if isinstance(output, EmbeddingMatrix):
        return _matrix(output)
    if isinstance(output, ParquetFolder):
        return parquet.document(output, methodcaller("to_dict"))
    if isinstance(output, ResumableFolder):
        return predictions.folder(output, SUFFIX, _npy)
    if alone:
        assert output is not None
        return _alone(output)
    return predictions.document(Jsonl(), output)


def _npy(embedding: Embedding) -> bytes:
    """The matrix (windows, size) as `numpy.load` reads it."""
    file = io.BytesIO()
    np.save(file, embedding.vectors, allow_pickle=False)
    return file.getvalue()


@contextmanager
def _alone(output: ResumableFile) -> Iterator[predictions.Show]:
    yield predictions.showing(lambda embedding: output.write(_npy(embedding), embedding.source))
    if output.records:
        output.finish(b"", complete=True)


@contextmanager
def _matrix(output: EmbeddingMatrix) -> Iterator[predictions.Show]:
    """However the block ends, what was computed is written, if that can be."""
    try:
        yield predictions.showing(output.write)
    except BaseException:
        if output.records:
            with suppress(EranntagError):  # of the disk, perhaps the one that ends this
                output.finish(complete=False)
        raise
    output.finish(complete=True)


def neighbors(form: str, query: Embedding, found: Sequence[Neighbor]) -> None:
    """The neighbors of `query`, best first, on stdout: for people, as JSON, JSON lines or CSV."""
    if form == "table":
        _table(query, found)
        return
    about = {"query": formats.named(query.source), "checkpoint": query.checkpoint}
    each = [{"rank": rank, **one.to_dict(), "source": formats.named(one.source)} for rank, one in enumerate(found, 1)]
    if form == "json":
        terminal.write_output(formats.dumps({"schema": formats.SCHEMA, **about, "results": each}, indent=1) + "\n")
    elif form == "jsonl":
        terminal.write_output("".join(formats.dumps({"schema": formats.SCHEMA, **about, **one}) + "\n" for one in each))
    else:
        terminal.write_output(_csv(about, each))


def _table(query: Embedding, found: Sequence[Neighbor]) -> None:
    terminal.print_text(f"{query.source}  {query.seconds:.1f} s")
    for each in found:
        window = "" if each.onset is None else f"  {each.onset:.2f} - {each.offset:.2f} s"
        terminal.print_text(f"  {each.similarity:6.3f}  {each.source}{window}")


def _csv(about: dict[str, Any], each: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    columns = ("query", "rank", "similarity", "source", "seconds", "onset", "offset", "checkpoint")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(columns)
    for one in each:
        cells = [{**about, **one}.get(name, "") for name in columns]
        rows.writerow([formats.guarded(cell) if isinstance(cell, str) else cell for cell in cells])
    return text.getvalue()
