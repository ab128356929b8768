"""Many sounds on one page to look at, to listen to and to sort: one HTML file that needs no other and no network.

The rows are static HTML; page.js sorts, filters and plays. Colours are Okabe and Ito's and those of cividis, which the
colour-blind can tell apart, and a label stands beside every colour.
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
from eranntag.visualization.gallery.row import escape, length, row

if TYPE_CHECKING:
    from eranntag.visualization.timeline import Sight, View

Show = Callable[["View", "Sight"], None]
COLOURS, PATTERNS = 6, 3  # of events, as page.css has them: .c0 to .c5, .p0 to .p2
CARRIED_BYTES = 200 << 20  # of sound: what a browser still opens; the sounds behind are linked, not carried
ROOM = 200  # characters for the summary, which stands above the rows but is known only after them


def check() -> None:
    """Before any work: EranntagError without Pillow."""
    if find_spec("PIL") is None:
        raise EranntagError("pictures need Pillow: pip install 'eranntag[plot]'")


@contextmanager
def document(path: Path, command: str) -> Iterator[Show]:
    """Yield `show(view, sight)`, which adds a row to the page `path`; nothing of a row is kept in memory.

    The page is finished and replaces `path` when the block ends, also by an interruption, which it then tells; after an error,
    or without any sound, the file stays as it was.
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
    """Writes the page's head before the first row, which knows the checkpoint; and the summary into its place at the end."""

    def __init__(self, file: BinaryIO, path: Path, command: str) -> None:
        self.file, self.path, self.command = file, path, command
        self.sounds, self.seconds, self.end = 0, 0.0, 0  # the end of the last whole row
        self.left = CARRIED_BYTES
        self.labels: dict[str, int] = {}  # that had an event, in the order they were met: each has a colour of its own

    def show(self, view: View, sight: Sight) -> None:
        if not self.end:
            self._head(view.prediction.checkpoint)
        carried = sight if len(sight.mp3) <= self.left else replace(sight, mp3=b"")
        text = row(view, carried, self.path.absolute().parent, self._colour).encode()
        with atomic.translate_write_errors(self.path):
            self.file.seek(self.end)  # the disk may have been full in the middle of the row before
            self.file.write(text)
            self.file.flush()
        self.end, self.left = self.file.tell(), self.left - len(carried.mp3)
        self.sounds, self.seconds = self.sounds + 1, self.seconds + view.prediction.seconds

    def finish(self, complete: bool) -> None:
        self.file.seek(self.end)
        self.file.truncate()  # an interruption may have come in the middle of a row
        self.file.write(self.tail)
        self.file.seek(self.room)
        self.file.write(_summary(self.sounds, self.seconds, complete).encode())

    def _head(self, checkpoint: str) -> None:
        before, room, rest = _page(self.command, checkpoint).partition(" " * ROOM)
        rows, self.tail = (part.encode() for part in rest.split("<!-- rows -->\n"))
        self.file.seek(0)  # an interruption may have come while the head was written for the first time
        self.file.write(before.encode())
        self.room = self.file.tell()
        self.file.write(room.encode() + rows)
        self.end = self.file.tell()

    def _colour(self, label: str) -> str:
        index = self.labels.setdefault(label, len(self.labels))
        return f"c{index % COLOURS} p{index // COLOURS % PATTERNS}"


def _summary(sounds: int, seconds: float, complete: bool) -> str:
    warning = '. <strong class="warning">Incomplete: the run was interrupted, later sounds are missing.</strong>'
    text = f"{sounds} sound{'s' * (sounds != 1)}, {length(seconds)} in all{'' if complete else warning}"
    assert len(text) <= ROOM
    return text


def _page(command: str, checkpoint: str) -> str:
    """The whole page but for its rows and its summary."""
    template, style, script = (Path(__file__).with_name(f"page.{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    facts = {"command": command, "checkpoint": checkpoint}
    return Template(template).substitute(
        style=style,
        script=script,
        digest=digest,
        room=" " * ROOM,
        facts="\n".join(f"<p>{name}: <code>{escape(value)}</code></p>" for name, value in facts.items() if value),
    )
