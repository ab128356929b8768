"""eranntag merge: documents of several runs -> one, and what is missing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eranntag.cli._options.inputs import InputOptions
from eranntag.cli._options.output import PARQUET, OutputOptions
from eranntag.cli.display import terminal

if TYPE_CHECKING:
    from eranntag.results.resumable_file import ResumableFile

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("documents", nargs=-1, required=True, type=_PATH, metavar="DOCUMENT...")
@click.option("-o", "--output", type=_PATH, metavar="FILE", help="Write to FILE (parquet: a folder), whole or not at all.")
@click.option("--overwrite", is_flag=True, help="Replace --output, whatever it holds.")
@click.option("--inputs", multiple=True, metavar="PATH", help="Expected input file or folder; repeatable.")
@click.option("--files-from", metavar="FILE", help="List of expected inputs.")
@click.option(
    "--missing",
    type=_PATH,
    metavar="FILE",
    help="Write the names of inputs without a result to FILE, as a list for --files-from.",
)
def command(
    documents: tuple[Path, ...],
    output: Path | None,
    overwrite: bool,
    inputs: tuple[str, ...],
    files_from: str | None,
    missing: Path | None,
) -> None:
    """Join what predict, detect or embed wrote in several runs (--shard): JSON, JSON lines, CSV or parquet.

    Records are not changed and keep the order of the documents; if a sound is in two of them, the first one counts. With
    --inputs or --files-from, as the runs had them, sounds without a record are reported. Exit code 3: something is missing.
    """
    from eranntag.results import merge
    from eranntag.types import Failure

    requested = InputOptions(inputs, files_from, shard=None)
    expected = requested.names() if inputs or files_from else None
    if missing and expected is None:
        raise click.UsageError("--missing needs --inputs or --files-from: the names that are expected")
    if missing:
        others = (*documents, *([output] if output else ()), *inputs, *([files_from] if files_from else ()))
        _check_list(missing, overwrite, others)
    form, like = _common_format(documents)
    options = OutputOptions(output, resume=False, overwrite=overwrite)
    options.check(form, InputOptions(tuple(map(os.fspath, documents)), files_from, shard=None))
    with _writer(form, options, merge.beginning(form, like)) as writer:
        report = merge.merge(documents, form, writer.write)
        writer.finish(complete=not report.wrong)
    absent = [name for name in expected or () if not report.has(name)]
    for line in report.wrong:
        terminal.print_status(f"eranntag: {line}")
    for name in report.differ:
        terminal.print_failure(Failure(name, "its records in two documents differ; the first was taken"))
    if missing:
        _write_list(missing, absent)
    else:
        for name in absent:
            terminal.print_failure(Failure(name, "is in no document"))
    parts = [f"{report.taken} records"]
    if report.left_out:
        parts.append(f"{report.left_out} that were in two documents")
    if expected is not None:
        parts.append(f"{len(absent)} of {len(expected)} sounds missing")
    terminal.print_status(f"eranntag: {'; '.join(parts)}")
    if report.wrong or report.differ or absent:
        raise SystemExit(3 if report.taken else 1)


def _check_list(missing: Path, overwrite: bool, others: tuple[str | Path, ...]) -> None:
    """Raise UsageError if --missing is one of `others`, or if it exists and is not to be overwritten."""
    for other in map(os.path.realpath, others):
        if other == os.path.realpath(missing) or (os.path.exists(other) and missing.exists() and missing.samefile(other)):
            raise click.UsageError(f"--missing {missing}: is an input or --output, too; name another file")
    if missing.exists() and not (overwrite and missing.is_file()):
        raise click.UsageError(f"--missing {missing}: is there; --overwrite replaces it")


def _common_format(documents: tuple[Path, ...]) -> tuple[str, Path]:
    """Return the format of all documents, and the first one that has it. Raises UsageError if they differ."""
    from eranntag.results import merge

    forms = {form: path for path in reversed(documents) if (form := merge.form_of(path))}
    if not forms and all(path.exists() for path in documents):  # shards without any sound, as JSON lines
        return "jsonl", documents[0]
    if len(forms) != 1:
        found = "; ".join(f"{path}: {form}" for form, path in forms.items()) or f"{documents[0]}: there is nothing in it"
        raise click.UsageError(f"documents of one format can be merged ({found})")
    return next(iter(forms.items()))


@contextmanager
def _writer(form: str, options: OutputOptions, beginning: str) -> Iterator["_TextWriter | _ParquetWriter"]:
    """Yield what writes the merged document; an unfinished file is removed, as no run resumes it."""
    from eranntag.results import formats

    document: Any = options.open(form)
    if document:
        document.begin({"command": "merge", "schema": formats.SCHEMA, "--format": form})
    if form == PARQUET:
        yield _ParquetWriter(document)
        return
    writer = _TextWriter(form, document)
    try:
        writer.put(beginning)
        yield writer
    except BaseException:
        if document:
            document.discard()
        raise


class _ParquetWriter:
    def __init__(self, parts: Any) -> None:
        self.parts = parts

    def write(self, record: Any) -> None:
        self.parts.write(record.content)

    def finish(self, complete: bool) -> None:
        self.parts.finish()


class _TextWriter:
    """Writes records to a file, or to standard output without one."""

    def __init__(self, form: str, file: "ResumableFile | None") -> None:
        self.is_json, self.file = form == "json", file
        self.is_empty = True

    def put(self, text: str, source: str | None = None) -> None:
        from eranntag.results import formats

        if self.file:
            self.file.write(formats.encoded(text), source)
        else:
            terminal.write_output(text)

    def write(self, record: Any) -> None:
        separator = "" if not self.is_json else "\n" if self.is_empty else ",\n"
        self.put(separator + record.content, record.source)
        self.is_empty = False

    def finish(self, complete: bool) -> None:
        from eranntag.results import formats

        end = formats.Json(None, 0.0).finish(complete) if self.is_json else ""
        if self.file:
            self.file.finish(end.encode(), True)
        else:
            self.put(end)


def _write_list(path: Path, names: list[str]) -> None:
    """Write `names` as `--files-from` reads them: NUL-separated if one contains a newline, else one a line."""
    from eranntag.files import atomic

    separator = b"\0" if any("\n" in name for name in names) else b"\n"
    with atomic.replace(path) as temporary:
        temporary.write_bytes(b"".join(os.fsencode(name) + separator for name in names))
