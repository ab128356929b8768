"""Embeddings as documents for programs (docs/output.md): JSON lines, NumPy's files, parquet; and the neighbors of one."""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from operator import methodcaller
from typing import Any

import numpy as np

from eranntag import records, render, terminal
from eranntag.embedding import Embedding
from eranntag.errors import EranntagError
from eranntag.journal import Journal
from eranntag.journal.folder import Folder
from eranntag.journal.matrix import Matrix
from eranntag.journal.parts import Parts
from eranntag.render import parts
from eranntag.similarity import Neighbor

SUFFIX = ".npy"


class Jsonl(records.Jsonl):
    """One object a line."""

    def __init__(self) -> None:
        super().__init__(None, 0.0)

    def record(self, embedding: Any) -> str:
        return records.described({"schema": records.SCHEMA, **embedding.to_dict()}) + "\n"


def document(output: Journal | Matrix | Parts | Folder | None, alone: bool) -> AbstractContextManager[render.Show]:
    """The way of `output` with Embeddings: yields `show(result) -> failed`. `alone`: the .npy of one sound, in a Journal."""
    if isinstance(output, Matrix):
        return _matrix(output)
    if isinstance(output, Parts):
        return parts.document(output, methodcaller("to_dict"))
    if isinstance(output, Folder):
        return render.folder(output, SUFFIX, _npy)
    if alone:
        assert output is not None
        return _alone(output)
    return render.document(Jsonl(), output)


def _npy(embedding: Embedding) -> bytes:
    """The matrix (windows, size) as `numpy.load` reads it."""
    file = io.BytesIO()
    np.save(file, embedding.vectors, allow_pickle=False)
    return file.getvalue()


@contextmanager
def _alone(output: Journal) -> Iterator[render.Show]:
    yield render.showing(lambda embedding: output.write(_npy(embedding), embedding.source))
    if output.records:
        output.finish(b"", complete=True)


@contextmanager
def _matrix(output: Matrix) -> Iterator[render.Show]:
    """However the block ends, what was computed is written, if that can be."""
    try:
        yield render.showing(output.write)
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
    about = {"query": records.named(query.source), "checkpoint": query.checkpoint}
    each = [{"rank": rank, **one.to_dict(), "source": records.named(one.source)} for rank, one in enumerate(found, 1)]
    if form == "json":
        terminal.give(records.dumps({"schema": records.SCHEMA, **about, "results": each}, indent=1) + "\n")
    elif form == "jsonl":
        terminal.give("".join(records.dumps({"schema": records.SCHEMA, **about, **one}) + "\n" for one in each))
    else:
        terminal.give(_csv(about, each))


def _table(query: Embedding, found: Sequence[Neighbor]) -> None:
    terminal.tell(f"{query.source}  {query.seconds:.1f} s")
    for each in found:
        window = "" if each.onset is None else f"  {each.onset:.2f} - {each.offset:.2f} s"
        terminal.tell(f"  {each.similarity:6.3f}  {each.source}{window}")


def _csv(about: dict[str, Any], each: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    columns = ("query", "rank", "similarity", "source", "seconds", "onset", "offset", "checkpoint")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(columns)
    for one in each:
        cells = [{**about, **one}.get(name, "") for name in columns]
        rows.writerow([records.guarded(cell) if isinstance(cell, str) else cell for cell in cells])
    return text.getvalue()
