"""The only ways to standard output and standard error.

Names of files, labels, titles and the words of errors come from anywhere. On a terminal they are shown and never obeyed: what
could move a cursor, change a colour or a title, turn the direction of writing or begin a line is an escape such as \\x1b.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from eranntag.errors import EranntagError
from eranntag.results.formats import encoded, printable


def say(line: str) -> None:
    """A line on standard error; if nobody can hear it, the work and its results still count."""
    try:
        print(printable(line), file=sys.stderr, flush=True)
    except OSError:
        silence(sys.stderr)


def tell(*lines: str) -> None:
    """Lines for people on standard output."""
    with _written():
        print(*map(printable, lines), sep="\n", flush=True)


def give(text: str, finished: bool = False) -> None:
    """What programs read: to a file or a pipe its very bytes, on a terminal shown as other text is.

    `finished` text is meant for terminals: it holds colours, and names only as `printable` gives them.
    """
    if not finished and sys.stdout.isatty():
        text = "".join(char if char in "\n\t" else printable(char) for char in text)
    with _written():
        sys.stdout.flush()
        sys.stdout.buffer.write(encoded(text))
        sys.stdout.buffer.flush()


@contextmanager
def _written() -> Iterator[None]:
    """A closed pipe stays BrokenPipeError: who closed it has enough. A full disk is an EranntagError."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        silence(sys.stdout)
        raise EranntagError(f"standard output cannot be written ({error.strerror}); see where it goes") from None


def silence(stream: TextIO) -> None:
    """What is written there from now on, and what waits to be written, is lost without a word."""
    with suppress(OSError, ValueError):  # a stream of a test has no number
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
