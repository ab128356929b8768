"""Tables of a recipe, in CSV: rows by the names in their header, and errors that begin with the recipe's name."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eranntag.errors import DataError
from eranntag.files import bounded
from eranntag.files.csv_rows import read_rows


def rows(recipe: str, table: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """(where, row by the header's names); `where` begins error messages. Raises DataError for a table without `columns`."""
    found = cells(recipe, table)
    _, header = next(found, (1, []))
    if missing := [name for name in columns if name not in header]:
        raise DataError(f"{recipe}: {table}: its first line names no column {missing[0]}; it must name {', '.join(columns)}")
    for line, row in found:
        yield f"{recipe}: {table} line {line}", dict(zip(header, row, strict=False))


def cells(recipe: str, table: Path, delimiters: str = ",", **dialect: Any) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of every row, the header too. Raises DataError."""
    try:
        yield from read_rows(table, delimiters, **dialect)
    except DataError as error:
        raise DataError(f"{recipe}: {error}") from None


def audioset_labels(recipe: str) -> dict[str, tuple[str, ...]]:
    """The classes of `recipe`, and of each the labels of AudioSet that mean it: the table that comes with the package."""
    table = Path(__file__).with_name(f"_{recipe}_to_audioset.csv")
    columns = ("category", "audioset_labels")
    pairs = ((row[name] for name in columns) for _, row in rows(recipe, table, columns))
    return {category: tuple(filter(None, labels.split("|"))) for category, labels in pairs}


@contextmanager
def translate_row_errors(where: str, whose: str) -> Iterator[None]:
    """Raises DataError for what parsing a damaged row raises."""
    try:
        yield
    except bounded.PARSE_ERRORS as error:
        raise DataError(f"{where} is not {whose}: {error!r}; mend or remove it") from None
