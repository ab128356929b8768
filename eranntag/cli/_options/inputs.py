"""What commands that go through sounds have in common: which, and how many failed."""

import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import click

from eranntag.cli._command_line import word

_OPTIONS = [
    click.argument("paths", nargs=-1, metavar="PATH..."),
    click.option("--files-from", metavar="FILE", help="Read names from FILE (- for stdin), one a line or NUL-separated."),
]


class _Threshold(click.ParamType):
    """`0.3`, for all labels, or `Speech=0.4` -> (label or None, number)."""

    name = "threshold"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str | None, float]:
        label, given, number = value.rpartition("=")
        try:
            if not 0 <= float(number) <= 1:
                raise ValueError
        except ValueError:
            self.fail(f"{value!r} is not a number from 0 to 1, or LABEL=NUMBER", param, ctx)
        return label if given else None, float(number)


class _Shard(click.ParamType):
    """`3/8` -> (3, 8)"""

    name = "shard"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        match = re.fullmatch(r"([0-9]{1,7})/([0-9]{1,7})", str(value))
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            self.fail(f"{value!r} is no I/N, such as 3/8: the third of eight, counted from 1", param, ctx)
        return int(match[1]), int(match[2])


SHARD = click.option(
    "--shard", type=_Shard(), metavar="I/N", help="Only the I-th of N shares of the inputs, alike in bytes; the first is 1."
)


def share(shard: tuple[int, int] | None) -> str | None:
    """`--shard` as it was typed."""
    return f"{shard[0]}/{shard[1]}" if shard else None


def threshold(words: str) -> Callable[..., Any]:
    """The option --threshold, which `detection.thresholds` understands."""
    return click.option("--threshold", type=_Threshold(), multiple=True, metavar="[LABEL=]P", help=words)


def words(given: tuple[tuple[str | None, float], ...]) -> list[str] | None:
    """What was typed for `threshold`; None: nothing."""
    return [word(each) for each in given] or None


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the sounds to a command: `paths` and `files_from`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def check(paths: tuple[str, ...], files_from: str | None) -> None:
    """Before any work."""
    if not paths and not files_from:
        raise click.UsageError("no input: name files or folders, or use --files-from")
    if files_from == "-" and "-" in paths:
        raise click.UsageError("standard input cannot be both the list of files and a sound")
    _check_list(files_from)


def many(paths: tuple[str, ...], files_from: str | None) -> bool:
    return bool(files_from) or len(paths) > 1 or not (paths[0] == "-" or os.path.isfile(paths[0]))


def sources(paths: tuple[str, ...], files_from: str | None, shard: tuple[int, int] | None = None) -> Iterator[Any]:
    """What `predict.predict` takes; of `shard` only its share."""
    from eranntag.audio import reader
    from eranntag.inference import sources as inputs

    listed = inputs.expand(_listed(files_from), reader.EXTENSIONS, patterns=False)
    every = chain(inputs.expand(paths, reader.EXTENSIONS), listed)
    return iter(inputs.share(every, *shard)) if shard else every


def names(paths: tuple[str, ...], files_from: str | None) -> list[str]:
    """Those of `sources`, once each; what cannot be listed is a line on stderr, and its name, too."""
    from eranntag.cli.display import predictions
    from eranntag.types import Failure

    check(paths, files_from)
    found: dict[str, None] = {}
    for source in sources(paths, files_from):
        if isinstance(source, Failure):
            predictions.failure(source)
        if source is not None:
            found[source.source if isinstance(source, Failure) else source] = None
    return list(found)


def show_all(
    results: Iterable[Any],
    document: AbstractContextManager[Callable[[Any], bool]],
    before: int = 0,
    maybe_none: bool = False,
) -> None:
    """Through `document`, as they come, where `before` are already; then the exit code says how many failed.

    EranntagError where there are none, unless `maybe_none`.
    """
    with telling(document, before, maybe_none) as tell:
        for result in results:
            tell(result)


@contextmanager
def telling(
    document: AbstractContextManager[Callable[[Any], bool]], before: int = 0, maybe_none: bool = False
) -> Iterator[Callable[[Any], None]]:
    """Yield `tell(result)`, which is `document`'s; at the end the exit code is that of `show_all`."""
    from eranntag.cli.display import predictions
    from eranntag.errors import EranntagError
    from eranntag.inference import sources as inputs

    counts = {"tagged": before, "failed": 0}
    with document as show, predictions.progress(counts) as step:

        def tell(result: Any) -> None:
            failed = show(result)
            counts["failed" if failed else "tagged"] += 1
            step()

        yield tell
    if not any(counts.values()) and not maybe_none:
        raise EranntagError(inputs.EMPTY)
    if counts["failed"]:
        raise SystemExit(3 if counts["tagged"] else 1)


def _listed(files_from: str | None) -> Iterator[str | None]:
    from eranntag.inference import sources as inputs

    if files_from == "-":
        source = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)  # Python could not end while a thread waits in a buffer
        yield from inputs.as_they_come(inputs.listed(source))
    elif files_from:
        with open(files_from, "rb") as file:
            yield from inputs.listed(file)


def _check_list(files_from: str | None) -> None:
    if files_from and files_from != "-":
        try:
            mode = os.stat(files_from).st_mode
            if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
                raise click.UsageError(f"--files-from {files_from}: is a device, not a list of names")
            if not stat.S_ISFIFO(mode):  # whose writer must not find it closed
                open(files_from, "rb").close()
        except OSError as error:
            raise click.UsageError(f"--files-from {files_from}: {error.strerror}") from None
        if is_sound(Path(files_from)):
            raise click.UsageError(f"--files-from {files_from}: is a sound file, not a list of names")


def is_sound(path: Path) -> bool:
    """By its name alone."""
    from eranntag.audio import reader

    return path.suffix.lower().lstrip(".") in reader.EXTENSIONS
