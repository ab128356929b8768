"""The one reader of CSV: rows with their line numbers, and DataError for text that is no CSV."""

import csv
import io
import os
from collections.abc import Iterable, Iterator
from typing import Any

from eranntag.errors import DataError
from eranntag.files import bounded


def read_rows(path: str | os.PathLike[str], delimiters: str = ",", **dialect: Any) -> Iterator[tuple[int, list[str]]]:
    """`parse_rows` of a file in UTF-8, with any line ends. Raises DataError also for a file that cannot be read."""
    return parse_rows(io.StringIO(bounded.read_text(path), newline="").readlines(), path, delimiters, **dialect)


def parse_rows(
    lines: Iterable[str], path: str | os.PathLike[str], delimiters: str = ",", first_line: int = 1, **dialect: Any
) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of the rows that are not blank. Several `delimiters`: the most frequent one in the first line is used.

    `dialect`: options of `csv.reader`. `first_line`: the number of the first of `lines` in the file at `path`, for errors.
    """
    if len(delimiters) > 1:
        lines = list(lines)
        first = next((line for line in lines if line.strip()), "")
        delimiters = max(delimiters, key=first.count)
    rows = csv.reader(lines, delimiter=delimiters, **dialect)
    try:
        for row in rows:
            if row:
                yield first_line - 1 + rows.line_num, row
    except csv.Error as error:
        line = first_line - 1 + rows.line_num
        raise DataError(f"{os.fspath(path)} line {line} is not a row of CSV ({error}); mend or remove it") from None
