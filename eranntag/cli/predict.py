"""eranntag predict: sounds -> tags."""

import os
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import click

from eranntag.cli import _tagger

FORMATS = ("table", "json", "jsonl", "csv")


@click.command()
@click.argument("paths", nargs=-1, metavar="PATH...")
@click.option("--files-from", metavar="FILE", help="Read names from FILE (- for standard input), one a line or NUL-separated.")
@click.option("--top", type=click.IntRange(1), help="Tags a clip.  [5; all with --threshold]")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Only tags with at least this score.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write to this file, whole or not at all.")
@_tagger.options
def command(paths: tuple[str, ...], files_from: str | None, top: int | None, threshold: float | None, **options: Any) -> None:
    """Tag sound files, folders (with all below them), patterns, or - for standard input.

    Results go to standard output in input order, errors and progress to standard error. Exit code 3: some inputs failed.
    """
    if not paths and not files_from:
        raise click.UsageError("nothing to tag: name files or folders, or use --files-from")
    if files_from == "-" and "-" in paths:
        raise click.UsageError("standard input cannot be both the list of files and a sound")
    _check_output(options["output"])
    _check_list(files_from)
    from eranntag import audio, inputs, predict, render
    from eranntag.errors import EranntagError

    tagger = _tagger.load(options, many=bool(files_from) or len(paths) > 1 or not _is_one(paths[0]))
    listed = inputs.expand(_listed(files_from), audio.SOUNDS, patterns=False)
    sources = chain(inputs.expand(paths, audio.SOUNDS), listed)
    top = top or (None if threshold is not None else 5)
    counts = {"tagged": 0, "failed": 0}
    with (
        render.results(options["form"], options["output"], top, threshold or 0.0) as show,
        render.progress(counts) as step,
    ):
        for result in predict.predict(tagger, sources, options["batch"]):
            failed = show(result)
            counts["failed" if failed else "tagged"] += 1
            step()
    if not any(counts.values()):
        raise EranntagError("nothing to tag: the list of files is empty")
    if counts["failed"]:
        raise SystemExit(3 if counts["tagged"] else 1)


def _is_one(path: str) -> bool:
    return path == "-" or os.path.isfile(path)


def _listed(files_from: str | None) -> Iterator[str | None]:
    from eranntag import inputs

    if files_from == "-":
        source = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)  # Python could not end while a thread waits in a buffer
        yield from inputs.as_they_come(inputs.listed(source))
    elif files_from:
        with open(files_from, "rb") as file:
            yield from inputs.listed(file)


def _check_list(files_from: str | None) -> None:
    if files_from and files_from != "-":
        try:
            open(files_from, "rb").close()
        except OSError as error:
            raise click.UsageError(f"--files-from {files_from}: {error.strerror}") from None
        if _is_sound(Path(files_from)):
            raise click.UsageError(f"--files-from {files_from}: is a sound file, not a list of names")


def _check_output(output: Path | None) -> None:
    """Before any work: a mistyped --output must not cost a sound file or an hour."""
    if output is None:
        return
    if not output.absolute().parent.is_dir() or (output.exists() and not output.is_file()):
        raise click.UsageError(f"--output {output}: must be a file in a folder that exists; use > for a pipe or device")
    if output.exists() and _is_sound(output):
        raise click.UsageError(f"--output {output}: is a sound file; it is not overwritten")


def _is_sound(path: Path) -> bool:
    """By its name alone."""
    from eranntag import audio

    return path.suffix.lower().lstrip(".") in audio.SOUNDS
