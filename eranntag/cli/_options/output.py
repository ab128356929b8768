"""Where results go, and how an interrupted run is resumed."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eranntag.cli._options.group import option
from eranntag.cli._options.inputs import InputOptions, is_sound
from eranntag.cli._options.tagger import TaggerOptions
from eranntag.inference.sources import STDIN

if TYPE_CHECKING:
    from eranntag.inference.tagger import Tagger
    from eranntag.results.journal import ResumableOutput
    from eranntag.results.matrix import EmbeddingMatrix
    from eranntag.results.parquet import ParquetFolder
    from eranntag.results.resumable_file import ResumableFile
    from eranntag.results.resumable_folder import ResumableFolder

PARQUET = "parquet"


@dataclass(frozen=True)
class OutputOptions:
    """The file or folder of the results, and what becomes of an earlier one."""

    output: Path | None = option(
        "-o",
        "--output",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Write the results to FILE (parquet: a folder), whole or not at all.",
    )
    resume: bool = option("--resume", is_flag=True, help="Continue an interrupted run, if there is one.")
    overwrite: bool = option("--overwrite", is_flag=True, help="Replace --output, whatever it holds.")

    def check(self, form: str, inputs: InputOptions, folder: Path | None = None) -> None:
        """Raise UsageError for an output that cannot be written or would replace an input, before any work.

        `form` is the format; `folder` is the option --output-dir.
        """
        if self.resume and not (self.output or folder):
            raise click.UsageError("--resume needs --output: the file of the interrupted run")
        if self.overwrite and not (self.output or folder):
            raise click.UsageError("--overwrite needs --output")
        if form == PARQUET:
            self._check_parquet()
        elif self.output is not None:
            self._check_file(self.output, inputs)

    def _check_file(self, output: Path, inputs: InputOptions) -> None:
        if output == Path(STDIN):
            raise click.UsageError("--output -: without --output results go to standard output")
        if not output.absolute().parent.is_dir() or (output.exists() and not output.is_file()):
            raise click.UsageError(f"--output {output}: must be a file in a folder that exists; use > for a pipe or device")
        if output.exists() and is_sound(output):
            raise click.UsageError(f"--output {output}: is a sound file; it is not overwritten")
        for path in (*inputs.paths, *([inputs.files_from] if inputs.files_from else ())):
            if output.exists() and os.path.exists(path) and os.path.samefile(path, output):
                raise click.UsageError(f"--output {output}: is an input, too; it is not overwritten")

    def _check_parquet(self) -> None:
        from eranntag.results import parquet

        if self.output is None:
            raise click.UsageError(f"--format {PARQUET} writes files into a folder; name it with --output")
        if not self.output.absolute().parent.is_dir() or (self.output.exists() and not self.output.is_dir()):
            raise click.UsageError(f"--output {self.output}: --format {PARQUET} takes a folder, in one that exists")
        parquet.check_installed()

    def open(self, form: str) -> "ResumableFile | EmbeddingMatrix | ParquetFolder | None":
        """Return --output, open for this command alone until it ends; None for standard output."""
        if self.output is None:
            return None
        from eranntag.results import formats
        from eranntag.results.parquet import ParquetFolder
        from eranntag.results.resumable_file import ResumableFile

        context = click.get_current_context()
        if form == PARQUET:
            return context.with_resource(ParquetFolder.open(self.output, self.resume, self.overwrite))
        if form == "npz":
            from eranntag.results.matrix import EmbeddingMatrix

            return context.with_resource(EmbeddingMatrix.open(self.output, self.resume, self.overwrite))
        beginning = formats.BEGINNINGS.get(form, b"")
        return context.with_resource(ResumableFile.open(self.output, beginning, self.resume, self.overwrite))

    def open_folder(self, folder: Path) -> "ResumableFolder":
        """Return the folder of --output-dir, open for this command alone until it ends."""
        from eranntag.results.resumable_folder import ResumableFolder

        return click.get_current_context().with_resource(ResumableFolder.open(folder, self.resume, self.overwrite))


def begin(output: "ResumableOutput | None", form: str, tagger: "Tagger", options: TaggerOptions, **settings: Any) -> None:
    """Record what determines the results, or compare it with the record of the run that is resumed."""
    if output is None:
        return
    import eranntag
    from eranntag.results import formats

    record = {
        "eranntag": eranntag.__version__,
        "command": click.get_current_context().info_name,
        "schema": formats.SCHEMA,
        "--format": form,
        "checkpoint": tagger.checkpoint.name,
        "SHA-256": tagger.sha256,
        "fusion": [tagger.checkpoint.model.get(name) for name in ("fusion", "fusion_weights")],
        "--engine": options.engine,
        "--dtype": options.dtype,
        **{f"--{name.replace('_', '-')}": value for name, value in settings.items()},
    }
    output.begin(record)


def remaining(output: "ResumableOutput | None", sources: Iterator[Any]) -> Iterator[Any]:
    """Return the `sources` that are not in `output` yet; `output` itself among them becomes a Failure."""
    return output.remaining(_without_file(sources, output.path)) if output else sources


def records_of(output: "ResumableOutput | None") -> int:
    """Return the number of sounds that earlier runs have written to `output`."""
    return output.records if output else 0


def _without_file(sources: Iterator[Any], path: Path) -> Iterator[Any]:
    from eranntag.types import Failure

    try:
        own = os.stat(path)
    except OSError:
        yield from sources
        return
    for source in sources:
        if isinstance(source, str) and _is_same_file(source, own):
            yield Failure(source, "is the --output of this run")
        else:
            yield source


def _is_same_file(source: str, file: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(source), file)
    except (OSError, ValueError):  # reported when it is read
        return False
