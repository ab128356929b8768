"""What commands that go through sounds have in common: which of the checkpoint's labels they keep."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click

from eranntag.errors import DataError
from eranntag.files import bounded
from eranntag.registry import did_you_mean

MOST_BYTES = 1 << 20  # of a file of labels
_OPTIONS = [
    click.option("--labels", metavar="A,B,...", help="Keep only these labels."),
    click.option("--labels-from", metavar="FILE", help="Keep only the labels in FILE, one a line."),
]


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds them to a command; `wanted` takes them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def wanted(given: dict[str, Any]) -> list[tuple[str, str]]:
    """(where it stands, text) of the labels that the options name, none without the options.

    Before any work: UsageError for a file that cannot be read, and where there is no label.
    """
    text, file = given["labels"], given["labels_from"]
    if text is None and file is None:
        return []
    if text is not None and file is not None:
        raise click.UsageError("labels come from --labels or from --labels-from, not from both")
    option, lines = ("--labels", [text]) if file is None else (f"--labels-from {file}", _lines(file))
    if not any(map(_pieces, lines)):
        raise click.UsageError(f"{option}: names no label")
    return [(option if file is None else f"{option}, line {number}", line) for number, line in enumerate(lines, 1)]


def labels(wanted: Iterable[tuple[str, str]], checkpoint: Any, given: dict[str, Any]) -> tuple[str, ...]:
    """The checkpoint's labels that are `wanted`, in its order; all without any.

    Labels hold commas, as those between them are: the longest label that fits is taken first. Upper and lower case are the
    same where one label fits. Raises UsageError for a label that the checkpoint lacks.
    """
    known: dict[tuple[str, ...], list[str]] = {}
    for label in checkpoint.labels:
        known.setdefault(_key(_pieces(label)), []).append(label)
    longest, found = max(map(len, known)), set()
    for where, text in wanted:
        pieces = _pieces(text)
        while pieces:
            count = next((n for n in range(longest, 0, -1) if _key(pieces[:n]) in known), 0)
            if not count:
                listed = f"`eranntag checkpoints labels {given['checkpoint'] or checkpoint.name}` lists them"
                near = _near(pieces[:longest], checkpoint.labels)
                raise click.UsageError(f"{where}: {checkpoint.name} has no label {pieces[0]!r} ({listed}){near}")
            found.add(_only(where, pieces[:count], known[_key(pieces[:count])]))
            pieces = pieces[count:]
    return tuple(label for label in checkpoint.labels if label in found) or checkpoint.labels


def _lines(file: str) -> list[str]:
    try:
        return bounded.read_text(file, max_bytes=MOST_BYTES).splitlines()
    except DataError as error:
        raise click.UsageError(f"--labels-from {error}") from None


def _pieces(text: str) -> list[str]:
    """What stands between commas."""
    return [piece for each in text.split(",") if (piece := each.strip())]


def _key(pieces: Sequence[str]) -> tuple[str, ...]:
    return tuple(piece.casefold() for piece in pieces)


def _only(where: str, pieces: list[str], fitting: list[str]) -> str:
    """The one label that fits, or that is written so."""
    exact = fitting if len(fitting) == 1 else [label for label in fitting if _pieces(label) == pieces]
    if len(exact) != 1:
        several = " or ".join(map(repr, fitting))
        raise click.UsageError(f"{where}: {', '.join(pieces)!r} may be {several}; write it as it is")
    return exact[0]


def _near(pieces: list[str], labels: Sequence[str]) -> str:
    """ "; did you mean 'x'?" for an unknown label that `pieces` begin with: one that has the first piece, or the nearest."""
    whole = next((label for label in labels if pieces[0].casefold() in _key(_pieces(label))), None)
    if whole is not None:
        return f"; did you mean {whole!r}?"
    alike = (
        did_you_mean(", ".join(pieces[:count]), [label for label in labels if len(_pieces(label)) == count])
        for count in range(len(pieces), 0, -1)
    )
    return next(filter(None, alike), "")
