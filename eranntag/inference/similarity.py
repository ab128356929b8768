"""How alike embeddings are: the cosine of the angle between them; and the nearest of many, in blocks, without an index."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from eranntag.errors import EranntagError
from eranntag.types import Embedding

ROWS = 4096  # vectors that are compared at once
DIGITS = 6  # of a similarity: what differs less is alike, whatever the processor and the size of the block


@dataclass(frozen=True)
class Neighbor:
    """A sound, or with `onset` and `offset` (seconds) a window of it, whose embedding has the `similarity` from -1 to 1."""

    similarity: float
    source: str
    seconds: float
    onset: float | None = None
    offset: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The record of docs/output.md."""
        window = {} if self.onset is None else {"onset": self.onset, "offset": self.offset}
        return {"similarity": self.similarity, "source": self.source, "seconds": round(self.seconds, 6), **window}


def cosine(vectors: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(..., size) and (..., size) that fit together -> cosines (...,) float64, 0 where a vector is all zeros."""
    vectors, others = np.asarray(vectors, np.float64), np.asarray(others, np.float64)
    lengths = np.linalg.norm(vectors, axis=-1) * np.linalg.norm(others, axis=-1)
    products = np.einsum("...i,...i->...", vectors, others)
    cosines: np.ndarray = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
    return cosines


def nearest(query: np.ndarray, embeddings: Iterable[Embedding], top: int) -> list[Neighbor]:
    """The `top` vectors of `embeddings` with the highest cosine to `query` (size,), best first; equal ones in their order.

    Only a block of vectors is held. Raises EranntagError for vectors of another size.
    """
    best: list[Neighbor] = []
    for block in _blocks(embeddings):
        for each in block:
            if each.vectors.shape[1] != len(query):
                raise EranntagError(f"{each.source}: its embedding has {each.vectors.shape[1]} numbers, not {len(query)}")
        similarities = np.round(cosine(np.concatenate([each.vectors for each in block]), query), DIGITS)
        ends = np.cumsum([len(each.vectors) for each in block])
        for row in np.argsort(-similarities, kind="stable")[:top]:
            at = int(np.searchsorted(ends, row, "right"))
            best.append(_neighbor(block[at], int(row - ends[at] + len(block[at].vectors)), float(similarities[row])))
        best = sorted(best, key=lambda neighbor: -neighbor.similarity)[:top]
    return best


def _blocks(embeddings: Iterable[Embedding]) -> Iterator[list[Embedding]]:
    """Of ROWS vectors, or as many more as the last sound has."""
    block: list[Embedding] = []
    rows = 0
    for each in embeddings:
        block.append(each)
        rows += len(each.vectors)
        if rows >= ROWS:
            yield block
            block, rows = [], 0
    if block:
        yield block


def _neighbor(embedding: Embedding, window: int, similarity: float) -> Neighbor:
    if embedding.every_seconds is None:
        return Neighbor(similarity, embedding.source, embedding.seconds)
    onset, offset = (round(float(times[window]), 6) for times in (embedding.onsets, embedding.offsets))
    return Neighbor(similarity, embedding.source, embedding.seconds, onset, offset)
