"""What all figures share: colors, line styles, checks of the output file, and matplotlib without pyplot.

Colors are Okabe and Ito's and the map is cividis, which color-blind readers can tell apart; lines differ in style, too.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from eranntag.errors import EranntagError, UsageError
from eranntag.files import atomic
from eranntag.results.formats import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", ":", "-.")
MAP = "cividis"
MADE_BY = "eranntag"


def check(path: Path, option: str, endings: Sequence[str]) -> None:
    """Raise UsageError for a file that cannot become a figure, EranntagError without matplotlib."""
    check_file(path, option, endings)
    with drawing():
        pass


def check_file(path: Path, option: str, endings: Sequence[str]) -> None:
    """Raise UsageError for a file with another ending, or that cannot be written."""
    if path.suffix.lower() not in endings:
        raise UsageError(f"{option} {path}: must end in {' or '.join(endings)}")
    folder = path.absolute().parent
    if not folder.is_dir() or path.is_dir():
        raise UsageError(f"{option} {path}: must be a file in a folder that exists")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"{option} {path}: nothing can be written into {folder}")
    if os.path.lexists(path) and not _is_ours(path):
        raise UsageError(f"{option} {path}: is there, and no earlier picture of eranntag's; move it away, or name another file")


def _is_ours(path: Path) -> bool:
    """Return whether `path` is a picture or page of eranntag, which is named near its beginning, or an empty file."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        head = file.read(4096)
    return not head or MADE_BY.encode() in head


@contextmanager
def drawing() -> Iterator[type[Figure]]:
    """Yield matplotlib's Figure. Without pyplot there are no windows and no global state."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise EranntagError("figures need matplotlib: pip install 'eranntag[plot]'") from None
    with warnings.catch_warnings(), matplotlib.rc_context({"font.size": 9, "text.usetex": False, "savefig.bbox": None}):
        warnings.filterwarnings("ignore", "Glyph .* missing")  # labels may be in any script; a box is drawn
        yield Figure


def png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": MADE_BY})
    return buffer.getvalue()


def write(path: Path, content: bytes) -> None:
    atomic.write_bytes(path, content)


def literal(text: str, length: int = 32) -> str:
    """Return `text`, cut to `length`, so that matplotlib draws it unchanged: $ would begin a formula, and a leading _ hide it
    from the legend."""
    text = printable(text)
    text = text if len(text) <= length else text[: length - 1] + "…"
    return (" " if text.startswith("_") else "") + text.replace("$", r"\$")
