"""eranntag embed: sounds -> the vectors that the network's head classifies."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from eranntag.cli._options import (
    inputs as inputs_options,
    output as output_options,
    tagger as tagger_options,
    workers as workers_options,
)

FORMATS = ("jsonl", "npz", "npy", output_options.PARQUET)
ENDINGS = {f".{form}": form for form in FORMATS}  # of --output
EVERY = click.option(
    "--every",
    type=click.FloatRange(0.1, 600),  # embedding.EVERY_SECONDS
    metavar="S",
    help="A vector for every S seconds, the last for what is left.  [one for the whole sound]",
)


@click.command()
@inputs_options.options
@EVERY
@click.option("--format", "form", type=click.Choice(FORMATS), help="Of the results.  [the ending of --output, or jsonl]")
@output_options.options
@click.option(
    "--output-dir", type=click.Path(path_type=Path, file_okay=False), help="Write NAME.npy for each sound into this folder."
)
@inputs_options.SHARD
@workers_options.options
@tagger_options.options
def command(
    paths: tuple[str, ...],
    files_from: str | None,
    every: float | None,
    form: str | None,
    output: Path | None,
    output_dir: Path | None,
    shard: tuple[int, int] | None,
    **options: Any,
) -> None:
    """Embed sound files, folders (with all below them), patterns, or - for standard input: a vector for each.

    The vector is what the network's head classifies; its length depends on the family (docs/python.md). Results go to standard
    output in input order, errors and progress to standard error. Exit code 3: some inputs failed.
    """
    inputs_options.check(paths, files_from)
    form = _form(form, output, output_dir)
    many = inputs_options.many(paths, files_from)
    if form in ("npz", "npy") and not (output or output_dir):
        raise click.UsageError(f"--format {form} writes a file; name it with --output")
    if form == "npy" and many and not output_dir:
        raise click.UsageError("an .npy holds one sound; for several use an .npz, or --output-dir")
    output_options.check(output, paths, files_from, {**options, "form": form}, output_dir)
    workers_options.check(options, paths, None)
    from eranntag.cli.display import embeddings

    run = output_options.opened_folder(output_dir, options) if output_dir else output_options.opened(output, form, options)
    embedder = _embedder(tagger_options.load(options, many=many), every)
    output_options.begin(run, form, embedder.tagger, options, every=every, shard=inputs_options.share(shard))
    sources = output_options.left(run, inputs_options.sources(paths, files_from, shard))
    results = workers_options.results(embedder, sources, options, partial(_embedder, every=every))
    document = embeddings.document(run, alone=form == "npy")
    inputs_options.show_all(results, document, output_options.before(run), maybe_none=bool(shard))


def _form(form: str | None, output: Path | None, output_dir: Path | None) -> str:
    """The format that is meant; UsageError for two of them."""
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


def _embedder(tagger: Any, every: float | None) -> Any:
    from eranntag.inference import embedding

    return embedding.Embedder(tagger, every)
