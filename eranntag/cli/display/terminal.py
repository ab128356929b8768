r"""The only ways to standard output and standard error.

File names, labels, titles and error messages are untrusted. On a terminal, characters that move the cursor, change colors or
the title, reverse the writing direction or begin a line are printed as escapes such as \x1b.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from eranntag.errors import EranntagError
from eranntag.results.formats import encoded, printable
from eranntag.types import Failure


def print_status(line: str) -> None:
    """Print a line on standard error; a failed write does not stop the work."""
    try:
        print(printable(line), file=sys.stderr, flush=True)
    except OSError:
        redirect_to_devnull(sys.stderr)


def print_failure(failure: Failure) -> None:
    """Print the name of a sound and what is wrong with it on standard error."""
    print_status(f"eranntag: {failure.source}: {failure.reason}")


def print_text(*lines: str) -> None:
    """Print lines for people on standard output."""
    with _written():
        print(*map(printable, lines), sep="\n", flush=True)


def print_fields(values: Mapping[str, Any]) -> None:
    """Print names and values, a line each, on standard output."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{key} {item}" for key, item in value.items())
        elif isinstance(value, tuple | list):
            value = ", ".join(map(str, value))
        print_text(f"{name + ':':18} {value}")


def write_output(text: str, finished: bool = False) -> None:
    """Write `text` to standard output: unchanged to a file or pipe, with escaped control characters on a terminal.

    `finished` text was made for a terminal: it holds colors, and its names are already escaped by `printable`.
    """
    if not finished and sys.stdout.isatty():
        text = "".join(char if char in "\n\t" else printable(char) for char in text)
    with _written():
        sys.stdout.flush()
        sys.stdout.buffer.write(encoded(text))
        sys.stdout.buffer.flush()


@contextmanager
def _written() -> Iterator[None]:
    """Raise EranntagError for a failed write, such as a full disk; BrokenPipeError of a closed pipe passes through."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        redirect_to_devnull(sys.stdout)
        raise EranntagError(f"standard output cannot be written ({error.strerror}); see where it goes") from None


def redirect_to_devnull(stream: TextIO) -> None:
    """Discard what is buffered in `stream` and what is written to it later."""
    with suppress(OSError, ValueError):  # a test's stream has no file descriptor
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
