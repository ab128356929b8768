"""eranntag embed: sounds -> the vectors that the network's head classifies."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eranntag.cli import _results
from eranntag.cli._options import output as output_options
from eranntag.cli._options.group import add_options
from eranntag.cli._options.inputs import InputOptions
from eranntag.cli._options.output import PARQUET, OutputOptions
from eranntag.cli._options.tagger import TaggerOptions
from eranntag.cli._options.workers import WorkerOptions

if TYPE_CHECKING:
    from eranntag.inference.embedding import Embedder
    from eranntag.inference.tagger import Tagger

FORMATS = ("jsonl", "npz", "npy", PARQUET)
ENDINGS = {f".{form}": form for form in FORMATS}  # of --output
EVERY = click.option(
    "--every",
    type=click.FloatRange(0.1, 600),  # embedding.EVERY_SECONDS
    metavar="S",
    show_default="one for the whole sound",
    help="One vector for every S seconds; the last one for the rest.",
)


@click.command()
@add_options(InputOptions, "inputs")
@EVERY
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    show_default="the ending of --output, or jsonl",
    help="Format of the results.",
)
@add_options(OutputOptions, "output")
@click.option(
    "--output-dir",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write NAME.npy for each sound into FOLDER.",
)
@add_options(WorkerOptions, "workers")
@add_options(TaggerOptions, "options")
def command(
    inputs: InputOptions,
    every: float | None,
    form: str | None,
    output: OutputOptions,
    output_dir: Path | None,
    workers: WorkerOptions,
    options: TaggerOptions,
) -> None:
    """Embed sound files, folders (with all below them), patterns, or - for standard input: a vector for each.

    The vector is what the network's head classifies; its length depends on the family (docs/python.md). Results go to standard
    output in input order, errors and progress to standard error. Exit code 3: some inputs failed.
    """
    inputs.check()
    form = _form(form, output.output, output_dir)
    if form in ("npz", "npy") and not (output.output or output_dir):
        raise click.UsageError(f"--format {form} writes a file; name it with --output")
    if form == "npy" and inputs.several and not output_dir:
        raise click.UsageError("an .npy holds one sound; for several use an .npz, or --output-dir")
    output.check(form, inputs, output_dir)
    workers.check(inputs.paths, None, options.device)
    from eranntag.cli.display import embeddings

    document = output.open_folder(output_dir) if output_dir else output.open(form)
    tagger = options.load(many=inputs.several)
    embedder = _embedder(tagger, every)
    output_options.begin(document, form, tagger, options, every=every, shard=inputs.shard_as_typed)
    sources = output_options.remaining(document, inputs.sources())
    results = workers.results(embedder, sources, options, partial(_embedder, every=every))
    show = embeddings.document(document, alone=form == "npy")
    _results.show_all(results, show, output_options.records_of(document), allow_empty=bool(inputs.shard))


def _form(form: str | None, output: Path | None, output_dir: Path | None) -> str:
    """Return the format of the results. Raises UsageError for options that name two formats."""
    if output_dir:
        if output:
            raise click.UsageError("results go to --output or to --output-dir, not to both")
        if form not in (None, "npy"):
            raise click.UsageError(f"--output-dir takes an .npy for each sound; --format {form} goes to --output")
        return "npy"
    ending = ENDINGS.get(output.suffix.lower()) if output else None
    if form and ending and form != ending:
        raise click.UsageError(f"--output {output} ends as --format {ending} does, not {form}; use one of the two")
    if output and not (form or ending):
        endings = ", ".join(f".{each}" for each in FORMATS[:-1])
        raise click.UsageError(f"--output {output}: the ending must be {endings}; or name a --format")
    return form or ending or "jsonl"


def _embedder(tagger: "Tagger", every: float | None) -> "Embedder":
    from eranntag.inference import embedding

    return embedding.Embedder(tagger, every)
