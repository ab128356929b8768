"""Embeddings as documents for programs (docs/output.md): JSON lines, NumPy's files, parquet; and the neighbors of one."""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from operator import methodcaller
from typing import Any

import numpy as np

from eranntag.cli.display import documents, parquet, terminal
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
) -> AbstractContextManager[documents.Show]:
    """Return what yields `show(result) -> failed` for Embeddings; `alone`: `output` is the .npy file of one sound."""
    if isinstance(output, EmbeddingMatrix):
        return _matrix(output)
    if isinstance(output, ParquetFolder):
        return parquet.document(output, methodcaller("to_dict"))
    if isinstance(output, ResumableFolder):
        return documents.folder(output, SUFFIX, _npy)
    if alone:
        assert output is not None
        return _alone(output)
    return documents.document(Jsonl(), output)


def _npy(embedding: Embedding) -> bytes:
    """Return the .npy file of the matrix (windows, size)."""
    file = io.BytesIO()
    np.save(file, embedding.vectors, allow_pickle=False)
    return file.getvalue()


@contextmanager
def _alone(output: ResumableFile) -> Iterator[documents.Show]:
    yield documents.writing(lambda embedding: output.write(_npy(embedding), embedding.source))
    if output.records:
        output.finish(b"", complete=True)


@contextmanager
def _matrix(output: EmbeddingMatrix) -> Iterator[documents.Show]:
    """Yield `show`; however the block ends, the rows so far are written, if the disk allows it."""
    try:
        yield documents.writing(output.write)
    except BaseException:
        if output.records:
            with suppress(EranntagError):  # perhaps the same full disk
                output.finish(complete=False)
        raise
    output.finish(complete=True)


def print_neighbors(form: str, query: Embedding, found: Sequence[Neighbor]) -> None:
    """Print the neighbors of `query`, best first, as a table, JSON, JSON lines or CSV."""
    if form == "table":
        _print_table(query, found)
        return
    about = {"query": formats.named(query.source), "checkpoint": query.checkpoint}
    each = [{"rank": rank, **one.to_dict(), "source": formats.named(one.source)} for rank, one in enumerate(found, 1)]
    if form == "json":
        terminal.write_output(formats.dumps({"schema": formats.SCHEMA, **about, "results": each}, indent=1) + "\n")
    elif form == "jsonl":
        terminal.write_output("".join(formats.dumps({"schema": formats.SCHEMA, **about, **one}) + "\n" for one in each))
    else:
        terminal.write_output(_csv(about, each))


def _print_table(query: Embedding, found: Sequence[Neighbor]) -> None:
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
