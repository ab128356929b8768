"""Which of the checkpoint's labels are kept."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from eranntag.cli._options.group import option
from eranntag.errors import DataError
from eranntag.files import bounded
from eranntag.registry import did_you_mean

if TYPE_CHECKING:
    from eranntag.types import Checkpoint

MOST_BYTES = 1 << 20  # of a file of labels
Entry = tuple[str, str]  # (where it stands, labels separated by commas)


@dataclass(frozen=True)
class LabelOptions:
    """Labels to keep: on the command line, or in a file; all without either."""

    labels: str | None = option("--labels", metavar="A,B,...", help="Keep only these labels.")
    labels_from: str | None = option("--labels-from", metavar="FILE", help="Keep only the labels in FILE, one a line.")

    def read(self) -> list[Entry]:
        """Return the entries that the options name, none without the options.

        Raises UsageError for a file that cannot be read, and where there is no label.
        """
        if self.labels is None and self.labels_from is None:
            return []
        if self.labels is not None and self.labels_from is not None:
            raise click.UsageError("labels come from --labels or from --labels-from, not from both")
        if self.labels is not None:
            where, entries = "--labels", [("--labels", self.labels)]
        else:
            where = f"--labels-from {self.labels_from}"
            entries = [(f"{where}, line {number}", line) for number, line in enumerate(_lines(str(self.labels_from)), 1)]
        if not any(_pieces(text) for _, text in entries):
            raise click.UsageError(f"{where}: names no label")
        return entries


def select(entries: Iterable[Entry], checkpoint: "Checkpoint", name: str | None = None) -> tuple[str, ...]:
    """Return the checkpoint's labels that `entries` name, in its order; all without entries.

    Labels may contain commas, like the lists of them: the longest label that fits is taken first. Case is ignored where that
    leaves one label. Raises UsageError for a label that the checkpoint lacks; `name` is the checkpoint's on the command line.
    """
    known: dict[tuple[str, ...], list[str]] = {}
    for label in checkpoint.labels:
        known.setdefault(_key(_pieces(label)), []).append(label)
    longest = max(map(len, known))
    selected = set()
    for where, text in entries:
        pieces = _pieces(text)
        while pieces:
            count = next((n for n in range(longest, 0, -1) if _key(pieces[:n]) in known), 0)
            if not count:
                listed = f"`eranntag checkpoints labels {name or checkpoint.name}` lists them"
                near = _near(pieces[:longest], checkpoint.labels)
                raise click.UsageError(f"{where}: {checkpoint.name} has no label {pieces[0]!r} ({listed}){near}")
            selected.add(_only(where, pieces[:count], known[_key(pieces[:count])]))
            pieces = pieces[count:]
    return tuple(label for label in checkpoint.labels if label in selected) or checkpoint.labels


def _lines(file: str) -> list[str]:
    try:
        return bounded.read_text(file, max_bytes=MOST_BYTES).splitlines()
    except DataError as error:
        raise click.UsageError(f"--labels-from {error}") from None


def _pieces(text: str) -> list[str]:
    """Return the parts between commas, without empty ones."""
    return [piece for each in text.split(",") if (piece := each.strip())]


def _key(pieces: Sequence[str]) -> tuple[str, ...]:
    return tuple(piece.casefold() for piece in pieces)


def _only(where: str, pieces: list[str], fitting: list[str]) -> str:
    """Return the one of the labels `fitting`, or the one that is spelled exactly like `pieces`."""
    exact = fitting if len(fitting) == 1 else [label for label in fitting if _pieces(label) == pieces]
    if len(exact) != 1:
        several = " or ".join(map(repr, fitting))
        raise click.UsageError(f"{where}: {', '.join(pieces)!r} may be {several}; write it as it is")
    return exact[0]


def _near(pieces: list[str], labels: Sequence[str]) -> str:
    """Return "; did you mean 'x'?" for the unknown label at the start of `pieces`, or "" if no label is similar."""
    whole = next((label for label in labels if pieces[0].casefold() in _key(_pieces(label))), None)
    if whole is not None:
        return f"; did you mean {whole!r}?"
    alike = (
        did_you_mean(", ".join(pieces[:count]), [label for label in labels if len(_pieces(label)) == count])
        for count in range(len(pieces), 0, -1)
    )
    return next(filter(None, alike), "")
