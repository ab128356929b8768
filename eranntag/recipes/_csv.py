"""Tables with a header, in UTF-8: read in one way, and what is wrong in them told in one way."""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from eranntag.errors import DataError
from eranntag.files import bounded


def rows(recipe: str, table: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """(where, row): `recipe` and `where` begin the errors. DataError for what is no table with these columns."""
    file = csv.DictReader(lines(recipe, table))
    try:
        if missing := [name for name in columns if name not in (file.fieldnames or ())]:
            raise DataError(
                f"{recipe}: {table}: its first line names no column {missing[0]}; it must name {', '.join(columns)}"
            )
        for row in file:
            yield f"{recipe}: {table} line {file.line_num}", row
    except csv.Error as error:
        raise DataError(f"{recipe}: {table} line {file.line_num} is not a line of CSV ({error}); mend or remove it") from None


def lines(recipe: str, table: Path) -> list[str]:
    """With their ends, of which any of the usual ones is one."""
    try:
        return io.StringIO(bounded.read_text(table), newline="").readlines()
    except DataError as error:
        raise DataError(f"{recipe}: {error}") from None


def audioset_labels(recipe: str) -> dict[str, tuple[str, ...]]:
    """The classes of `recipe`, and of each the labels of AudioSet that mean it: the table that comes with the package."""
    table = Path(__file__).with_name(f"_{recipe}_to_audioset.csv")
    columns = ("category", "audioset_labels")
    pairs = ((row[name] for name in columns) for _, row in rows(recipe, table, columns))
    return {category: tuple(filter(None, labels.split("|"))) for category, labels in pairs}


@contextmanager
def told(where: str, whose: str) -> Iterator[None]:
    """DataError for a row that is not what it should be."""
    try:
        yield
    except bounded.PARSE_ERRORS as error:
        raise DataError(f"{where} is not {whose}: {error!r}; mend or remove it") from None
