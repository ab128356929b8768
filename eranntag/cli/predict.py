"""eranntag predict: sounds -> tags."""

from pathlib import Path
from typing import Any

import click

from eranntag.cli import _inputs, _tagger

FORMATS = ("table", "json", "jsonl", "csv")


@click.command()
@_inputs.options
@click.option("--top", type=click.IntRange(1), help="Tags a clip.  [5; all with a --threshold for all]")
@_inputs.threshold("Only tags with at least this score; LABEL=P for one label. Repeatable.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@_inputs.OUTPUT
@_tagger.options
def command(
    paths: tuple[str, ...],
    files_from: str | None,
    top: int | None,
    threshold: tuple[tuple[str | None, float], ...],
    output: Path | None,
    **options: Any,
) -> None:
    """Tag sound files, folders (with all below them), patterns, or - for standard input.

    Results go to standard output in input order, errors and progress to standard error. Exit code 3: some inputs failed.
    """
    _inputs.check(paths, files_from, output)
    from eranntag import detection, predict, render
    from eranntag.types import Failure

    tagger = _tagger.load(options, many=_inputs.many(paths, files_from))
    least = detection.thresholds(tagger.checkpoint, threshold, default=0.0)
    for_all = any(label is None for label, _ in threshold)
    results = predict.predict(tagger, _inputs.sources(paths, files_from), options["batch"])
    reaching = (result if isinstance(result, Failure) else detection.reaching(result, least) for result in results)
    _inputs.show_all(reaching, render.results(options["form"], output, top or (None if for_all else 5), 0.0))
