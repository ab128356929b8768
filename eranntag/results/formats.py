"""Output formats for programs: JSON, JSON lines and CSV. docs/output.md describes the schema, whose version is SCHEMA.

Each format is a class whose `start()`, `record(prediction)` and `finish(complete)` return text. Together they are a valid
document, also of a run that was interrupted after any record.
"""

import csv
import io
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eranntag.types import Prediction

SCHEMA = 1
_FORMULA = re.compile(r"'*([\s\0-\x1f]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n])")  # the last four: full-width = + - @
_ODD_SURROGATE = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # stands for no byte of a name


def printable(text: str) -> str:
    """Return `text` on one line for a terminal: control, bidirectional and undecodable characters become escapes."""
    return "".join(char if char.isprintable() else _escape(ord(char)) for char in text)


def _escape(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is not UTF-8
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def encoded(text: str) -> bytes:
    """Return UTF-8 with the bytes of names that are not UTF-8 unchanged; other surrogates become escapes."""
    return _ODD_SURROGATE.sub(lambda odd: printable(odd[0]), text).encode("utf-8", "surrogateescape")


def named(source: str) -> str:
    """Return a file's name as Python decodes it in a locale of UTF-8, whatever the locale is."""
    try:
        return os.fsencode(source).decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a name that no file can have
        return source


def dumps(value: Any, indent: int | None = None) -> str:
    """Return JSON of printable ASCII."""
    return json.dumps(value, indent=indent).replace("\x7f", "\\u007f")  # DEL, which can only be in a string


def described(record: Mapping[str, Any]) -> str:
    """Return the JSON of a result's record."""
    return dumps({**record, "source": named(record["source"])})


def guarded(text: str) -> str:
    """Return the text of a table's cell, behind an apostrophe where a spreadsheet would evaluate it as a formula.

    So is a text that already looks guarded. "-" alone is standard input, and no formula.
    """
    return "'" + text if text != "-" and _FORMULA.match(text) else text


def unguarded(cell: str) -> str:
    """Return the text of which `guarded` made `cell`."""
    return cell[1:] if cell[:1] == "'" and _FORMULA.match(cell) else cell


@dataclass
class Jsonl:
    """One object a line."""

    top: int | None
    threshold: float

    def start(self) -> str:
        return ""

    def record(self, prediction: Prediction) -> str:
        return described({"schema": SCHEMA, **prediction.to_dict(self.top, self.threshold)}) + "\n"

    def finish(self, complete: bool) -> str:
        return ""


@dataclass
class Json:
    """One object: {"schema", "results": [...], "complete"}."""

    top: int | None
    threshold: float
    count: int = 0

    def start(self) -> str:
        return f'{{"schema": {SCHEMA}, "results": ['

    def record(self, prediction: Prediction) -> str:
        self.count += 1
        return ("\n" if self.count == 1 else ",\n") + described(prediction.to_dict(self.top, self.threshold))

    def finish(self, complete: bool) -> str:
        return f'\n], "complete": {json.dumps(complete)}}}\n'


@dataclass
class Csv:
    """A row for each tag: source, seconds, rank (from 1), label, score, checkpoint; no row without a tag that reaches the
    threshold.

    Texts are `guarded`.
    """

    top: int | None
    threshold: float

    def start(self) -> str:
        return self._line(["source", "seconds", "rank", "label", "score", "checkpoint"])

    def record(self, prediction: Prediction) -> str:
        source, seconds, checkpoint = named(prediction.source), round(prediction.seconds, 6), prediction.checkpoint
        return "".join(
            self._line([source, seconds, rank, tag.label, f"{tag.score:.6f}", checkpoint])
            for rank, tag in enumerate(prediction.top(self.top, self.threshold), 1)
        )

    def finish(self, complete: bool) -> str:
        return ""

    @staticmethod
    def _line(cells: list[object]) -> str:
        text = io.StringIO()
        texts = (guarded(cell) if isinstance(cell, str) else cell for cell in cells)
        csv.writer(text, lineterminator="\r\n").writerow(texts)  # so that cells with either are quoted
        return text.getvalue().removesuffix("\r\n") + "\n"


FORMATS = {"json": Json, "jsonl": Jsonl, "csv": Csv}
BEGINNINGS = {  # of documents in the formats that have a fixed one
    "json": b'{"schema": ',
    "jsonl": b'{"schema": ',
    "csv": b"source,seconds,",
    "raven": b"Selection\tView\t",
    "vtt": b"WEBVTT\n",
    "npy": b"\x93NUMPY",
}


def clock(seconds: float) -> str:
    """Return a duration as 1:05 or 2:01:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
