"""What commands that go through sounds have in common: where the results go, and how a run goes on that was interrupted."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eranntag.cli._options import inputs as inputs_options
from eranntag.inference.sources import STDIN

if TYPE_CHECKING:
    from eranntag.results.journal import ResumableOutput
    from eranntag.results.matrix import EmbeddingMatrix
    from eranntag.results.parquet import ParquetFolder
    from eranntag.results.resumable_file import ResumableFile
    from eranntag.results.resumable_folder import ResumableFolder

PARQUET = "parquet"
_OPTIONS = [
    click.option(
        "-o", "--output", type=click.Path(path_type=Path), help="Write to this file (parquet: folder), whole or not at all."
    ),
    click.option("--resume", is_flag=True, help="Go on with what an interrupted run left, if anything."),
    click.option("--overwrite", is_flag=True, help="Begin --output anew, whatever is there."),
]


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds them to a command; `check` and `opened` take them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def check(
    output: Path | None, paths: tuple[str, ...], files_from: str | None, given: dict[str, Any], folder: Path | None = None
) -> None:
    """Before any work: a mistyped --output must not cost a sound file or an hour."""
    if given["resume"] and not (output or folder):
        raise click.UsageError("--resume goes on with an --output; name it")
    if given["overwrite"] and not (output or folder):
        raise click.UsageError("--overwrite is about an --output; name it")
    if given["form"] == PARQUET:
        _check_parts(output)
        return
    if output is None:
        return
    if output == Path(STDIN):
        raise click.UsageError("--output -: without --output results go to standard output")
    if not output.absolute().parent.is_dir() or (output.exists() and not output.is_file()):
        raise click.UsageError(f"--output {output}: must be a file in a folder that exists; use > for a pipe or device")
    if output.exists() and inputs_options.is_sound(output):
        raise click.UsageError(f"--output {output}: is a sound file; it is not overwritten")
    for path in (*paths, *([files_from] if files_from else ())):
        if output.exists() and os.path.exists(path) and os.path.samefile(path, output):
            raise click.UsageError(f"--output {output}: is an input, too; it is not overwritten")


def _check_parts(output: Path | None) -> None:
    from eranntag.results import parquet

    if output is None:
        raise click.UsageError(f"--format {PARQUET} writes files into a folder; name it with --output")
    if not output.absolute().parent.is_dir() or (output.exists() and not output.is_dir()):
        raise click.UsageError(f"--output {output}: --format {PARQUET} takes a folder, in one that exists")
    parquet.check_installed()


def opened_folder(place: Path, given: dict[str, Any]) -> "ResumableFolder":
    """As `opened`, a folder."""
    from eranntag.results.resumable_folder import ResumableFolder

    return click.get_current_context().with_resource(ResumableFolder.open(place, given["resume"], given["overwrite"]))


def opened(output: Path | None, form: str, given: dict[str, Any]) -> "ResumableFile | EmbeddingMatrix | ParquetFolder | None":
    """What the command alone writes until it ends; None for standard output."""
    if output is None:
        return None
    from eranntag.results import formats
    from eranntag.results.parquet import ParquetFolder
    from eranntag.results.resumable_file import ResumableFile

    if form == PARQUET:
        return click.get_current_context().with_resource(ParquetFolder.open(output, given["resume"], given["overwrite"]))
    if form == "npz":
        from eranntag.results.matrix import EmbeddingMatrix

        return click.get_current_context().with_resource(EmbeddingMatrix.open(output, given["resume"], given["overwrite"]))
    opening = ResumableFile.open(output, formats.BEGINNINGS.get(form, b""), given["resume"], given["overwrite"])
    return click.get_current_context().with_resource(opening)


def begin(run: "ResumableOutput | None", form: str, tagger: Any, given: dict[str, Any], **settings: Any) -> None:
    """What decides the numbers and their form must be what it was, where an earlier run is gone on with."""
    if run is None:
        return
    import eranntag
    from eranntag.results import formats

    about = {
        "eranntag": eranntag.__version__,  # another one may compute other numbers
        "command": click.get_current_context().info_name,
        "schema": formats.SCHEMA,
        "--format": form,
        "checkpoint": tagger.checkpoint.name,
        "SHA-256": tagger.sha256,
        "fusion": [tagger.checkpoint.model.get(name) for name in ("fusion", "fusion_weights")],
        **{f"--{name}": given[name] for name in ("engine", "dtype")},
        **{f"--{name.replace('_', '-')}": value for name, value in settings.items()},
    }
    run.begin(about)


def left(run: "ResumableOutput | None", sources: Iterator[Any]) -> Iterator[Any]:
    """The `sources` that are not in the document yet. The document itself, if a list or a folder names it, is a Failure."""
    return run.remaining(_others(sources, run.path)) if run else sources


def before(run: "ResumableOutput | None") -> int:
    """How many sounds earlier runs have done."""
    return run.records if run else 0


def _others(sources: Iterator[Any], path: Path) -> Iterator[Any]:
    from eranntag.types import Failure

    try:
        ours = os.stat(path)
    except OSError:
        yield from sources
        return
    for source in sources:
        same = isinstance(source, str) and _is(source, ours)
        yield Failure(source, "is the --output of this run") if same else source


def _is(source: str, file: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(source), file)
    except (OSError, ValueError):  # whoever reads it says so
        return False
