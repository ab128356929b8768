"""A page of many sounds to look at, listen to and sort: one self-contained HTML file, which needs no network.

The rows are static HTML; page.js sorts, filters and plays. Colors are Okabe and Ito's and those of cividis, which the
color-blind can tell apart, and a label stands beside every color.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, BinaryIO

from eranntag.errors import EranntagError
from eranntag.files import atomic
from eranntag.visualization.gallery.row import escape, row
from eranntag.visualization.ticks import duration

if TYPE_CHECKING:
    from eranntag.visualization.preview import ClipPreview
    from eranntag.visualization.timeline import View

Show = Callable[["View", "ClipPreview"], None]
COLORS, PATTERNS = 6, 3  # of events, as page.css has them: .c0 to .c5, .p0 to .p2
EMBEDDED_BYTES = 200 << 20  # of MP3, at most, so that browsers open the page; further sounds are linked
SUMMARY_CHARACTERS = 200  # space for the summary, which stands above the rows but is known only after them


def check() -> None:
    """Raise EranntagError without Pillow."""
    if find_spec("PIL") is None:
        raise EranntagError("pictures need Pillow: pip install 'eranntag[plot]'")


@contextmanager
def document(path: Path, command: str) -> Iterator[Show]:
    """Yield `show(view, preview)`, which adds a row to the page `path`; rows are not kept in memory.

    The page replaces `path` when the block ends, also by an interruption, which its summary mentions. After an error, or
    without any sound, the file stays as it was.
    """
    interruption: BaseException | None = None
    with suppress(_NothingToShow), atomic.replace(path) as temporary, open(temporary, "wb") as file:
        page = _Page(file, path, command)
        try:
            yield page.show
        except (KeyboardInterrupt, SystemExit) as stop:
            interruption = stop
        if not page.sounds:
            raise interruption or _NothingToShow
        page.finish(complete=interruption is None)
    if interruption:
        raise interruption


class _NothingToShow(Exception):
    pass


class _Page:
    """A page that is being written: its head before the first row, which names the checkpoint, and its summary at the end."""

    def __init__(self, file: BinaryIO, path: Path, command: str) -> None:
        self.file, self.path, self.command = file, path, command
        self.sounds, self.seconds = 0, 0.0
        self.end = 0  # of the last complete row, in bytes
        self.embeddable = EMBEDDED_BYTES
        self.labels: dict[str, int] = {}  # of events, in the order of their first event, which chooses their color

    def show(self, view: View, preview: ClipPreview) -> None:
        if not self.end:
            self._head(view.prediction.checkpoint)
        if len(preview.mp3) > self.embeddable:
            preview = replace(preview, mp3=b"")
        text = row(view, preview, self.path.absolute().parent, self._color).encode()
        with atomic.translate_write_errors(self.path):
            self.file.seek(self.end)  # the previous row is incomplete if the disk was full
            self.file.write(text)
            self.file.flush()
        self.end = self.file.tell()
        self.embeddable -= len(preview.mp3)
        self.sounds += 1
        self.seconds += view.prediction.seconds

    def finish(self, complete: bool) -> None:
        self.file.seek(self.end)
        self.file.truncate()  # removes a row that an interruption left incomplete
        self.file.write(self.tail)
        self.file.seek(self.summary_at)
        self.file.write(_summary(self.sounds, self.seconds, complete).encode())

    def _head(self, checkpoint: str) -> None:
        before, space, rest = _template(self.command, checkpoint).partition(" " * SUMMARY_CHARACTERS)
        rows, self.tail = (part.encode() for part in rest.split("<!-- rows -->\n"))
        self.file.seek(0)  # an interruption may have left an incomplete head
        self.file.write(before.encode())
        self.summary_at = self.file.tell()
        self.file.write(space.encode() + rows)
        self.end = self.file.tell()

    def _color(self, label: str) -> str:
        index = self.labels.setdefault(label, len(self.labels))
        return f"c{index % COLORS} p{index // COLORS % PATTERNS}"


def _summary(sounds: int, seconds: float, complete: bool) -> str:
    warning = '. <strong class="warning">Incomplete: the run was interrupted, later sounds are missing.</strong>'
    text = f"{sounds} sound{'s' * (sounds != 1)}, {duration(seconds)} in all{'' if complete else warning}"
    assert len(text) <= SUMMARY_CHARACTERS
    return text


def _template(command: str, checkpoint: str) -> str:
    """Return the page without its rows and its summary."""
    template, style, script = (Path(__file__).with_name(f"page.{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    facts = {"command": command, "checkpoint": checkpoint}
    return Template(template).substitute(
        style=style,
        script=script,
        digest=digest,
        space=" " * SUMMARY_CHARACTERS,
        facts="\n".join(f"<p>{name}: <code>{escape(value)}</code></p>" for name, value in facts.items() if value),
    )
