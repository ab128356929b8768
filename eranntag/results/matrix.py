"""A .npz file of embeddings that another run can resume: a matrix, and the source of each row.

It is held in memory and written atomically, from time to time and at the end. Arrays with a row for each vector: `embeddings`
(rows, size) float32, `source` (rows,) text, `onset` and `seconds` (rows,) float64; and scalars: `checkpoint`, `every_seconds`
(0: each sound is one row), `settings` (JSON) and `complete`. Text is NumPy's, in which a byte of a name that is not UTF-8 is a
lone surrogate, as in Python's file names; nothing is pickled.
"""

import json
import math
import os
import sys
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eranntag.errors import EranntagError, UsageError
from eranntag.files import atomic, bounded, lock
from eranntag.results.journal import Source, check_same, without_done
from eranntag.types import Embedding

WRITE_SECONDS = 120.0  # between two writes: what a kill may cost
WRITE_COST = 20  # or this multiple of the duration of the last write, if that is longer
MAX_BYTES = 1 << 40  # of a file
PARSE_ERRORS = (*bounded.PARSE_ERRORS, OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class SavedEmbeddings:
    """The content of a file: `vectors` (rows, size), `sources`, `onsets` and `seconds` (rows,), and the run that wrote it."""

    vectors: np.ndarray
    sources: list[str]
    onsets: np.ndarray
    seconds: np.ndarray
    every_seconds: float | None
    checkpoint: str
    settings: dict[str, Any]
    complete: bool

    def first_rows(self) -> np.ndarray:
        """Return the indices of the first row of each sound: its first window begins at 0."""
        return np.flatnonzero(self.onsets == 0)


def load(path: Path) -> SavedEmbeddings:
    """Return what `save` wrote. Raises EranntagError for other files; memory is bounded by the size of the file."""
    try:
        file, size = bounded.open_regular_file(path, MAX_BYTES)
        with file, zipfile.ZipFile(file) as archive:
            vectors = _array(archive, "embeddings", "f4", 2, size)
            sources = _array(archive, "source", "U", 1, size).tolist()
            onsets, seconds = (_array(archive, name, "f8", 1, size) for name in ("onset", "seconds"))
            checkpoint = str(_array(archive, "checkpoint", "U", 0, size))
            settings = json.loads(str(_array(archive, "settings", "U", 0, size)))
            every = _array(archive, "every_seconds", "f8", 0, size)
            complete = _array(archive, "complete", "b1", 0, size)
        if not len(vectors) == len(sources) == len(onsets) == len(seconds) or (len(onsets) and onsets[0] != 0):
            raise ValueError("its arrays do not fit together")
        if not isinstance(settings, dict):
            raise ValueError("its settings are no JSON object")
        if not all(np.isfinite(numbers).all() for numbers in (vectors, onsets, seconds, every)):
            raise ValueError("it has numbers that are not finite")
    except FileNotFoundError:
        raise EranntagError(f"{path}: no such file of embeddings") from None
    except PARSE_ERRORS as error:
        why = str(error).strip("'\"").partition("\n")[0] or type(error).__name__
        raise EranntagError(f"{path}: is no .npz of `eranntag embed` ({why}); name one that is") from None
    return SavedEmbeddings(vectors, sources, onsets, seconds, float(every) or None, checkpoint, settings, bool(complete))


def _array(archive: zipfile.ZipFile, name: str, kind: str, dimensions: int, size: int) -> np.ndarray:
    """Return an array, which must be stored uncompressed, so that it has no more bytes than the file, whatever its header
    claims."""
    info = archive.getinfo(f"{name}.npy")
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > size:
        raise ValueError(f"{name} is compressed")
    with archive.open(info) as member:
        if np.lib.format.read_magic(member) != (1, 0):
            raise ValueError(f"{name} is of another version")
        shape, by_column, dtype = np.lib.format.read_array_header_1_0(member)
        fits = dtype.kind == "U" and dtype.isnative if kind == "U" else dtype == np.dtype(kind)
        if not fits or by_column or len(shape) != dimensions:
            raise ValueError(f"{name} is {dtype} {shape}")
        if math.prod(shape) * dtype.itemsize != info.file_size - member.tell():
            raise ValueError(f"{name} does not have the size in its header")
        content = member.read()
    if kind == "U" and np.frombuffer(content, np.uint32).max(initial=0) > sys.maxunicode:
        raise ValueError(f"{name} is no text")
    return np.frombuffer(content, dtype).reshape(shape)


def save(path: Path, embeddings: list[Embedding], checkpoint: str, settings: Mapping[str, Any], complete: bool) -> None:
    """Write the file `path` atomically, for `load` and `numpy.load`."""
    counts = [len(each.vectors) for each in embeddings]
    rows, size = sum(counts), embeddings[0].vectors.shape[1] if embeddings else 0
    names = [each.source for each in embeddings]
    text = np.dtype(f"U{max([1, *map(len, names)])}")
    columns: dict[str, tuple[tuple[int, ...], np.dtype[Any], Iterable[np.ndarray]]] = {
        "embeddings": ((rows, size), np.dtype("f4"), (each.vectors for each in embeddings)),
        "source": ((rows,), text, (np.full(count, name, text) for count, name in zip(counts, names, strict=True))),
        "onset": ((rows,), np.dtype("f8"), (each.onsets for each in embeddings)),
        "seconds": ((rows,), np.dtype("f8"), (np.full(len(each.vectors), each.seconds) for each in embeddings)),
    }
    every = float((embeddings[0].every_seconds if embeddings else None) or 0)
    scalars = {"checkpoint": checkpoint, "every_seconds": every, "settings": json.dumps(dict(settings)), "complete": complete}
    for name, value in scalars.items():
        columns[name] = ((), np.asarray(value).dtype, [np.asarray(value)])
    with atomic.replace(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, (shape, dtype, parts) in columns.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(member, header)
                for part in parts:
                    member.write(np.ascontiguousarray(part, dtype).tobytes())


class EmbeddingMatrix:
    """The matrix of the file `path`. First `begin`, then `write` each Embedding, then `finish`."""

    def __init__(self, path: Path, resume: bool, overwrite: bool) -> None:
        self.path = path
        self._embeddings: list[Embedding] = []
        self._settings_before: dict[str, Any] = {}
        self._settings: dict[str, Any] = {}
        self._done: Counter[int] = Counter()  # hashes of names
        self._next_write = 0.0
        if resume or not overwrite:
            self._load(resume, overwrite)

    @classmethod
    @contextmanager
    def open(cls, path: Path, resume: bool = False, overwrite: bool = False) -> Iterator["EmbeddingMatrix"]:
        """Yield the locked EmbeddingMatrix of the file `path`.

        Raises UsageError for a file that would be replaced without `overwrite`, EranntagError where another process writes.
        """
        path = Path(os.path.realpath(path))
        lock_path = path.with_name(path.name + ".lock")
        with lock.open_locked(lock_path) as file:
            try:
                yield cls(path, resume, overwrite)
            finally:
                if not os.fstat(file.fileno()).st_size:  # else another program wrote it
                    lock_path.unlink(missing_ok=True)

    @property
    def records(self) -> int:
        """The number of sounds in it."""
        return len(self._embeddings)

    def _load(self, resume: bool, overwrite: bool) -> None:
        if not self.path.exists() or not self.path.stat().st_size:
            return
        try:
            saved = load(self.path)
        except EranntagError:
            if overwrite:
                return
            raise UsageError(f"{self.path}: is not an earlier result in this format; --overwrite replaces it") from None
        if resume:
            self._settings_before = saved.settings
            self._embeddings = list(iter_embeddings(saved))
            self._done.update(hash(embedding.source) for embedding in self._embeddings)
        elif not saved.complete:
            found = f"{self.path} holds {len(saved.first_rows())} results of an interrupted run"
            raise UsageError(f"{found}: --resume continues it, --overwrite replaces it")

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Start, or continue the earlier run, which must have had the same `settings` (UsageError)."""
        self._settings = json.loads(json.dumps(settings))
        if self._settings_before:
            check_same(self.path, self._settings_before, settings, "use another --output, or --overwrite")
        atomic.remove_temporary_files(self.path.parent, self.path.name)
        self._next_write = time.monotonic() + WRITE_SECONDS

    def remaining(self, sources: Iterable[Source]) -> Iterator[Source]:
        """Yield the sources that are not in it yet; each sound excludes one of its name."""
        return without_done(sources, self._done)

    def write(self, embedding: Embedding) -> None:
        """Add an embedding; it is on the disk after the next write of all."""
        self._embeddings.append(embedding)
        if time.monotonic() > self._next_write:
            self.finish(complete=False)

    def finish(self, complete: bool) -> None:
        """Write the file; without any embedding nothing, so that an earlier file stays."""
        if not self._embeddings:
            return
        start = time.monotonic()
        save(self.path, self._embeddings, str(self._settings.get("checkpoint", "")), self._settings, complete)
        end = time.monotonic()
        self._next_write = end + max(WRITE_SECONDS, WRITE_COST * (end - start))


def iter_embeddings(saved: SavedEmbeddings) -> Iterator[Embedding]:
    """Yield the Embedding of each sound, a view of the matrix."""
    firsts = saved.first_rows().tolist()
    for first, end in zip(firsts, [*firsts[1:], len(saved.onsets)], strict=True):
        rows, seconds = slice(first, end), float(saved.seconds[first])
        vectors, onsets = saved.vectors[rows], saved.onsets[rows]
        yield Embedding(vectors, onsets, seconds, saved.every_seconds, saved.sources[first], saved.checkpoint)
