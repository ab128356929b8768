"""eranntag similar: a sound, and many others or their embeddings -> the nearest."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eranntag.cli import _results
from eranntag.cli._options.group import add_options
from eranntag.cli._options.inputs import InputOptions
from eranntag.cli._options.tagger import TaggerOptions
from eranntag.cli.embed import EVERY
from eranntag.inference.sources import STDIN

if TYPE_CHECKING:
    from eranntag.inference.saved import About
    from eranntag.inference.tagger import Tagger
    from eranntag.types import Embedding


@click.command()
@click.argument("query")
@click.argument("places", nargs=-1, required=True, metavar="PLACE...")
@click.option("--top", type=click.IntRange(1), default=10, show_default=True, help="Number of neighbors.")
@EVERY
@click.option(
    "--format",
    "form",
    type=click.Choice(("table", "json", "jsonl", "csv")),
    default="table",
    show_default=True,
    help="Format of the results.",
)
@add_options(TaggerOptions, "options")
def command(query: str, places: tuple[str, ...], top: int, every: float | None, form: str, options: TaggerOptions) -> None:
    """Find the sounds that are most similar to QUERY, a sound file or -, by the cosine of their embeddings.

    PLACE is a sound file, a folder or pattern, or what `eranntag embed` wrote: an .npz, a .jsonl, or a folder of parquet.
    If QUERY itself is among them, it is listed, too. Exit code 3: some inputs failed.
    """
    if STDIN in places:
        raise click.UsageError("- can only be QUERY; name files, folders or embeddings as PLACE")
    if Path(query).suffix.lower() in (".npz", ".npy"):
        raise click.UsageError(f"{query}: QUERY is a sound, and comes first; embeddings are a PLACE")
    if matrices := [place for place in places if place.lower().endswith(".npy")]:
        raise click.UsageError(f"{matrices[0]}: an .npy does not name its sound and checkpoint; use an .npz, .jsonl or parquet")
    from eranntag.cli.display import documents, embeddings
    from eranntag.inference import saved, similarity
    from eranntag.inference.embedding import Embedder
    from eranntag.inference.pipeline import predict

    made = {place: saved.origin(Path(place)) for place in places if saved.is_saved(place)}
    sounds = InputOptions(paths=tuple(place for place in places if place not in made), files_from=None, shard=None)
    if every and not sounds.paths:
        raise click.UsageError("--every is for sounds; saved embeddings have the windows with which `embed` made them")
    tagger = _with_checkpoint(options, made).load(many=bool(sounds.paths))
    for place, about in made.items():
        _check(place, about, tagger)
    target = tagger.embed(sys.stdin.buffer if query == STDIN else Path(query))
    with _results.counted(nullcontext(documents.writing(lambda _: None))) as report:
        results = predict(Embedder(tagger, every), sounds.sources(), options.batch) if sounds.paths else iter(())
        embedded = _all(made, results, tagger.checkpoint.name, report)
        embeddings.print_neighbors(form, target, similarity.nearest(target.vectors[0], embedded, top))


def _with_checkpoint(options: TaggerOptions, made: Mapping[str, "About"]) -> TaggerOptions:
    """Return `options` with the checkpoint that made the embeddings, unless they name one."""
    from eranntag.checkpoints import catalog
    from eranntag.errors import UsageError

    if options.checkpoint or not made:
        return options
    place, about = next(iter(made.items()))
    if about.checkpoint not in catalog.load_catalog(options.registry).rows:
        raise UsageError(f"{place}: made by {about.checkpoint}, which has no row in the registry; name its file with -c")
    return replace(options, checkpoint=about.checkpoint)


def _check(place: str, about: "About", tagger: "Tagger") -> None:
    """Raise UsageError unless `tagger` made the embeddings at `place`: those of two networks cannot be compared."""
    from eranntag.errors import UsageError

    remedy = "embed the sounds again, or name that checkpoint with -c"
    if about.checkpoint != tagger.checkpoint.name:
        raise UsageError(f"{place}: made by {about.checkpoint}, not by {tagger.checkpoint.name}; {remedy}")
    if about.sha256 and about.sha256 != tagger.sha256:
        raise UsageError(f"{place}: made by other weights of {about.checkpoint}, with SHA-256 {about.sha256[0]}; {remedy}")


def _all(
    made: Mapping[str, "About"], results: Iterator[Any], checkpoint: str, report: Callable[[Any], None]
) -> Iterator["Embedding"]:
    """Yield the saved Embeddings, then those of sounds; `report` is called with each of them, and with the failures."""
    from eranntag.errors import UsageError
    from eranntag.inference import saved
    from eranntag.types import Failure

    for place in made:
        for embedding in saved.read(Path(place)):
            if embedding.checkpoint != checkpoint:
                raise UsageError(f"{place}: {embedding.source} was embedded by {embedding.checkpoint}, not by {checkpoint}")
            report(embedding)
            yield embedding
    for result in results:
        report(result)
        if not isinstance(result, Failure):
            yield result
