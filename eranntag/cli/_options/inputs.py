"""The sounds that a command reads: --files-from, --shard, and the arguments."""

import os
import re
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eranntag.cli._options.group import from_decorator, option
from eranntag.cli.display import terminal

if TYPE_CHECKING:
    from eranntag.types import Failure


class _Shard(click.ParamType):  # type: ignore[type-arg]  # generic in new versions of click only
    """Converts `3/8` to (3, 8)."""

    name = "shard"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        match = re.fullmatch(r"([0-9]{1,7})/([0-9]{1,7})", str(value))
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            self.fail(f"{value!r} is not I/N, such as 3/8: the third of eight, counted from 1", param, ctx)
        return int(match[1]), int(match[2])


@dataclass(frozen=True)
class InputOptions:
    """Names of files, folders and patterns; a file of names; and which share of them all to process."""

    paths: tuple[str, ...] = from_decorator(click.argument("paths", nargs=-1, metavar="PATH..."))
    files_from: str | None = option(
        "--files-from", metavar="FILE", help="Read names from FILE (- for stdin), one a line or NUL-separated."
    )
    shard: tuple[int, int] | None = option(
        "--shard",
        type=_Shard(),
        metavar="I/N",
        help="Process only shard I of N of the inputs (counted from 1); shards are balanced by file size.",
    )

    def check(self) -> None:
        """Raise UsageError for missing or contradictory inputs, before any work."""
        if not self.paths and not self.files_from:
            raise click.UsageError("no input: name files or folders, or use --files-from")
        if self.files_from == "-" and "-" in self.paths:
            raise click.UsageError("standard input cannot be both the list of files and a sound")
        if self.files_from and self.files_from != "-":
            _check_list(self.files_from)

    @property
    def several(self) -> bool:
        """Whether there may be more than one sound."""
        return bool(self.files_from) or len(self.paths) > 1 or not (self.paths[0] == "-" or os.path.isfile(self.paths[0]))

    @property
    def shard_as_typed(self) -> str | None:
        return f"{self.shard[0]}/{self.shard[1]}" if self.shard else None

    def sources(self) -> Iterator["str | Failure | None"]:
        """Return an iterator over the names of all sounds, as `pipeline.predict` takes them."""
        from eranntag.audio import reader
        from eranntag.inference import sources

        listed = sources.expand(_listed(self.files_from), reader.EXTENSIONS, patterns=False)
        every = chain(sources.expand(self.paths, reader.EXTENSIONS), listed)
        return iter(sources.share(every, *self.shard)) if self.shard else every

    def names(self) -> list[str]:
        """Return the names of `sources`, once each; what cannot be listed is reported on stderr and named, too."""
        from eranntag.types import Failure

        self.check()
        found: dict[str, None] = {}
        for source in self.sources():
            if isinstance(source, Failure):
                terminal.print_failure(source)
            if source is not None:
                found[source.source if isinstance(source, Failure) else source] = None
        return list(found)


def _listed(files_from: str | None) -> Iterator[str | None]:
    from eranntag.inference import sources

    if files_from == "-":
        # Python cannot exit while a thread waits in a buffer
        stdin: Any = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)
        yield from sources.as_they_come(sources.listed(stdin))
    elif files_from:
        with open(files_from, "rb") as file:
            yield from sources.listed(file)


def _check_list(files_from: str) -> None:
    try:
        mode = os.stat(files_from).st_mode
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            raise click.UsageError(f"--files-from {files_from}: is a device, not a list of names")
        if not stat.S_ISFIFO(mode):  # opening and closing a pipe would end its writer
            open(files_from, "rb").close()
    except OSError as error:
        raise click.UsageError(f"--files-from {files_from}: {error.strerror}") from None
    if is_sound(Path(files_from)):
        raise click.UsageError(f"--files-from {files_from}: is a sound file, not a list of names")


def is_sound(path: Path) -> bool:
    """Return whether `path` has the extension of a sound file."""
    from eranntag.audio import reader

    return path.suffix.lower().lstrip(".") in reader.EXTENSIONS
