"""Results on their way into a document: standard output, a file, or a file for each sound; failures go to standard error."""

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eranntag.cli.display import terminal
from eranntag.inference.sources import STDIN
from eranntag.results.formats import Json, encoded
from eranntag.results.resumable_file import ResumableFile
from eranntag.results.resumable_folder import ResumableFolder
from eranntag.types import Failure

LONGEST_NAME_BYTES = 255  # of a file in a folder
Show = Callable[[Any], bool]  # writes or reports a result, and returns whether it is a failure


@contextmanager
def document(style: Any, output: ResumableFile | None, ignore_closed_pipe: bool = False) -> Iterator[Show]:
    """Yield `show(result) -> failed`, which writes results in `style` (see `results.formats`) to `output` or stdout.

    However the block ends, the document is finished and valid; only after an error a file is left for another run to resume.
    A closed pipe behind stdout raises BrokenPipeError, unless `ignore_closed_pipe`: the command also makes something else.
    """
    interruption: BaseException | None = None

    def write(text: str, source: str | None = None) -> None:
        if output:
            output.write(encoded(text), source)
            return
        try:
            terminal.write_output(text, finished=getattr(style, "for_terminals", False))
        except BrokenPipeError:
            if not ignore_closed_pipe:
                raise
            terminal.redirect_to_devnull(sys.stdout)

    if output and isinstance(style, Json):
        style.count = output.records
    if not output or output.is_empty:
        write(style.start())
    try:
        yield writing(lambda result: write(style.record(result), result.source))
    except BrokenPipeError:
        raise
    except BaseException as stop:
        if output and not isinstance(stop, KeyboardInterrupt | SystemExit):
            raise
        interruption = stop
    end = style.finish(complete=interruption is None)
    if output:
        output.finish(encoded(end), complete=interruption is None)
    else:
        write(end)
    if interruption:
        raise interruption


def writing(write: Callable[[Any], object]) -> Show:
    """Return `show(result) -> failed`, which prints failures on stderr and calls `write` with other results."""

    def show(result: Any) -> bool:
        if isinstance(result, Failure):
            terminal.print_failure(result)
            return True
        write(result)
        return False

    return show


@contextmanager
def folder(place: ResumableFolder, suffix: str, content: Callable[[Any], bytes]) -> Iterator[Show]:
    """Yield `show(result) -> failed`, which writes `content(result)` into a file of `place` with the name of the sound."""

    def show(result: Any) -> bool:
        if not isinstance(result, Failure):
            name = _file_name("stdin" if result.source == STDIN else Path(result.source).stem, suffix)
            if not (refusal := place.write(name, result.source, content(result))):
                return False
            result = Failure(result.source, refusal)
        terminal.print_failure(result)
        return True

    yield show


def _file_name(stem: str, suffix: str) -> str:
    """Return a name that file systems accept: the end of one that is too long is replaced by a part of its SHA-256."""
    name = os.fsencode(stem)
    if len(name) + len(suffix) > LONGEST_NAME_BYTES:
        digest = "-" + hashlib.sha256(name).hexdigest()[:12]
        stem = name[: LONGEST_NAME_BYTES - len(suffix) - len(digest)].decode("utf-8", "ignore") + digest
    return stem + suffix
