"""eranntag similar: a sound, and many others or their embeddings -> the nearest."""

import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from eranntag.cli._options import inputs as inputs_options, tagger as tagger_options
from eranntag.cli.embed import EVERY
from eranntag.inference.sources import STDIN


@click.command()
@click.argument("query")
@click.argument("places", nargs=-1, required=True, metavar="PLACE...")
@click.option("--top", type=click.IntRange(1), default=10, show_default=True, help="So many neighbors.")
@EVERY
@click.option("--format", "form", type=click.Choice(("table", "json", "jsonl", "csv")), default="table", show_default=True)
@tagger_options.options
def command(query: str, places: tuple[str, ...], top: int, every: float | None, form: str, **options: Any) -> None:
    """Find the sounds that are most like QUERY, a sound file or -, by the cosine of their embeddings.

    PLACE is a sound file, a folder or pattern, or what `eranntag embed` wrote: an .npz, a .jsonl, or a folder of parquet.
    A sound among them that is QUERY itself is listed, too. Exit code 3: some inputs failed.
    """
    if STDIN in places:
        raise click.UsageError("- can only be QUERY; name files, folders or embeddings as PLACE")
    if Path(query).suffix.lower() in (".npz", ".npy"):
        raise click.UsageError(f"{query}: QUERY is a sound, and comes first; embeddings are a PLACE")
    if matrices := [place for place in places if place.lower().endswith(".npy")]:
        raise click.UsageError(f"{matrices[0]}: an .npy does not name its sound and checkpoint; use an .npz, .jsonl or parquet")
    from eranntag.cli.display import embeddings, predictions
    from eranntag.inference import saved, similarity
    from eranntag.inference.embedding import Embedder
    from eranntag.inference.pipeline import predict

    made = {place: saved.origin(Path(place)) for place in places if saved.is_saved(place)}
    sounds = tuple(place for place in places if place not in made)
    if every and not sounds:
        raise click.UsageError("--every is for sounds; saved embeddings have the windows with which `embed` made them")
    tagger = tagger_options.load(_named(options, made), many=bool(sounds))
    for place, about in made.items():
        _check(place, about, tagger)
    target = tagger.embed(sys.stdin.buffer if query == STDIN else Path(query))
    with inputs_options.telling(nullcontext(predictions.showing(lambda _: None))) as report:
        results = (
            predict(Embedder(tagger, every), inputs_options.sources(sounds, None), options["batch"]) if sounds else iter(())
        )
        found = similarity.nearest(target.vectors[0], _all(places, made, results, tagger.checkpoint.name, report), top)
        embeddings.neighbors(form, target, found)


def _named(options: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    """The options with the checkpoint by which the embeddings were made, where no other is named."""
    from eranntag.checkpoints import catalog
    from eranntag.errors import UsageError

    if options["checkpoint"] or not made:
        return options
    place, about = next(iter(made.items()))
    if about.checkpoint not in catalog.load_catalog(options["registry"]).rows:
        raise UsageError(f"{place}: made by {about.checkpoint}, which has no row in the registry; name its file with -c")
    return {**options, "checkpoint": about.checkpoint}


def _check(place: str, about: Any, tagger: Any) -> None:
    """Vectors of two networks have nothing to do with each other."""
    from eranntag.errors import UsageError

    remedy = "embed the sounds again, or name that checkpoint with -c"
    if about.checkpoint != tagger.checkpoint.name:
        raise UsageError(f"{place}: made by {about.checkpoint}, not by {tagger.checkpoint.name}; {remedy}")
    if about.sha256 and about.sha256 != tagger.sha256:
        raise UsageError(f"{place}: made by other weights of {about.checkpoint}, with SHA-256 {about.sha256[0]}; {remedy}")


def _all(
    places: tuple[str, ...], made: dict[str, Any], results: Iterator[Any], checkpoint: str, report: Callable[[Any], None]
) -> Iterator[Any]:
    """The Embeddings in saved places, then those of sounds; `report` is called with each of them, and with the failures."""
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
