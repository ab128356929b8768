"""eranntag merge: documents of several runs -> one, and what is missing."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from eranntag.cli._options import inputs as inputs_options, output as output_options
from eranntag.cli.display import terminal

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("documents", nargs=-1, required=True, type=_PATH, metavar="DOCUMENT...")
@click.option("-o", "--output", type=_PATH, help="Write to this file (parquet: folder), whole or not at all.")
@click.option("--overwrite", is_flag=True, help="Begin --output anew, whatever is there.")
@click.option("--inputs", multiple=True, metavar="PATH", help="A file or folder that all were to tag. Repeatable.")
@click.option("--files-from", metavar="FILE", help="The list of names that all were to tag.")
@click.option("--missing", type=_PATH, metavar="FILE", help="Write the names that no document has, as a list for --files-from.")
def command(
    documents: tuple[Path, ...],
    output: Path | None,
    overwrite: bool,
    inputs: tuple[str, ...],
    files_from: str | None,
    missing: Path | None,
) -> None:
    """Join what predict, detect or embed wrote in several runs (--shard): JSON, JSON lines, CSV or parquet.

    Records stay as they are, in the order of the documents; of a sound in two of them the first counts. With --inputs or
    --files-from, as the runs had them, each sound without a record is named. Exit code 3: something is missing.
    """
    from eranntag.cli.display import predictions
    from eranntag.results import merge
    from eranntag.types import Failure

    expected = inputs_options.names(inputs, files_from) if inputs or files_from else None
    if missing and expected is None:
        raise click.UsageError("--missing is about --inputs or --files-from; name what was to be tagged")
    if missing:
        _check_list(
            missing, overwrite, (*documents, *([output] if output else ()), *inputs, *([files_from] if files_from else ()))
        )
    forms = {form: path for path in reversed(documents) if (form := merge.form_of(path))}
    if not forms and all(path.exists() for path in documents):  # shards without any sound, as JSON lines
        forms = {"jsonl": documents[0]}
    if len(forms) != 1:
        found = "; ".join(f"{path}: {form}" for form, path in forms.items()) or f"{documents[0]}: there is nothing in it"
        raise click.UsageError(f"documents of one format can be merged ({found})")
    (form, like), *_ = forms.items()
    given = {"resume": False, "overwrite": overwrite, "form": form}
    output_options.check(output, tuple(map(os.fspath, documents)), files_from, given)
    with _document(form, output, merge.beginning(form, like), given) as (write, finish):
        report = merge.merge(documents, form, write)
        finish(not report.wrong)
    absent = [name for name in expected or () if not report.has(name)]
    for line in report.wrong:
        terminal.print_status(f"eranntag: {line}")
    for name in report.differ:
        predictions.failure(Failure(name, "its records in two documents differ; the first was taken"))
    if missing:
        _write_list(missing, absent)
    else:
        for name in absent:
            predictions.failure(Failure(name, "is in no document"))
    line = f"{report.taken} records" + (f"; {report.left_out} that were in two documents" if report.left_out else "")
    terminal.print_status(
        f"eranntag: {line}" + (f"; {len(absent)} of {len(expected)} sounds missing" if expected is not None else "")
    )
    if report.wrong or report.differ or absent:
        raise SystemExit(3 if report.taken else 1)


def _check_list(missing: Path, overwrite: bool, others: tuple[str | Path, ...]) -> None:
    """Before any work: `--missing` replaces nothing of `others`, and another file with --overwrite alone."""
    for other in map(os.path.realpath, others):
        if other == os.path.realpath(missing) or (os.path.exists(other) and missing.exists() and missing.samefile(other)):
            raise click.UsageError(f"--missing {missing}: is an input or --output, too; name another file")
    if missing.exists() and not (overwrite and missing.is_file()):
        raise click.UsageError(f"--missing {missing}: is there; --overwrite replaces it")


@contextmanager
def _document(
    form: str, output: Path | None, beginning: str, given: dict[str, Any]
) -> Iterator[tuple[Callable[[Any], None], Callable[[bool], None]]]:
    """Yield `write(record)` and `finish(complete)`, which put a document together: `output`, or standard output.

    A file that is not finished is removed: nothing goes on with it.
    """
    from eranntag.results import formats

    run: Any = output_options.opened(output, form, given)
    if run:
        run.begin({"command": "merge", "schema": formats.SCHEMA, "--format": form})
    if form == output_options.PARQUET:
        yield lambda record: run.write(record.content), lambda complete: run.finish()
        return
    end = formats.Json(None, 0.0).finish if form == "json" else lambda complete: ""
    empty = True

    def put(text: str, source: str | None = None) -> None:
        if run:
            run.write(formats.encoded(text), source)
        else:
            terminal.write_output(text)

    def write(record: Any) -> None:
        nonlocal empty
        separator = "" if form != "json" else "\n" if empty else ",\n"
        put(separator + record.content, record.source)
        empty = False

    def finish(complete: bool) -> None:
        if run:
            run.finish(end(complete).encode(), True)
        else:
            put(end(complete))

    try:
        put(beginning)
        yield write, finish
    except BaseException:
        if run:
            run.discard()
        raise


def _write_list(path: Path, names: list[str]) -> None:
    """As `--files-from` reads it, and `find` writes it."""
    from eranntag.files import atomic

    separator = b"\0" if any("\n" in name for name in names) else b"\n"
    with atomic.replace(path) as temporary:
        temporary.write_bytes(b"".join(os.fsencode(name) + separator for name in names))
