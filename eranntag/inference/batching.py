"""Batches of clips of one shape: nothing is padded because of its neighbors."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def batched_by_shape(
    function: Callable[[np.ndarray], Sequence[Any] | np.ndarray],
    arrays: Sequence[np.ndarray] | np.ndarray,
    batch: int | None = None,
) -> list[Any]:
    """The rows that `function` returns for `arrays`, in their order.

    `function` takes (clips, ...) arrays of one shape, at most `batch` of them, and returns a row for each.
    """
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for index, array in enumerate(arrays):
        by_shape.setdefault(array.shape, []).append(index)
    rows: list[Any] = [None] * len(arrays)
    for indices in by_shape.values():
        step = batch or len(indices)
        for start in range(0, len(indices), step):
            some = indices[start : start + step]
            for index, row in zip(some, function(np.stack([arrays[each] for each in some])), strict=True):
                rows[index] = row
    return rows
