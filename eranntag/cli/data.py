"""eranntag data: pack, verify, speed."""

import os
import time
from pathlib import Path

import click

data_option = click.option(
    "--data", envvar="ERANNTAG_DATA", help="The data set's folder, or one that holds it.  [$ERANNTAG_DATA]"
)
FAST_GPU = 460  # crops a second that ERANN-1-6 takes; an example mixed of two takes two


@click.group()
def command() -> None:
    """Data sets of many clips: pack them into large files, verify those, measure how fast clips are read."""


@command.command()
@click.argument("recipe")
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@data_option
@click.option("--codec", type=click.Choice(["flac", "wav"]), default="flac", show_default=True, help="Smaller, or faster.")
@click.option("--shard-size", type=click.FloatRange(0, min_open=True), default=1000, show_default=True, help="In MB, about.")
@click.option("--workers", type=click.IntRange(1), help="Threads that decode.  [one a processor]")
def pack(recipe: str, out: Path, data: str | None, codec: str, shard_size: float, workers: int | None) -> None:
    """Pack the clips of RECIPE into tar files in the folder OUT, which --data then takes as the data set.

    Interrupt it at any moment: the same command goes on where it stopped. Exit code 3: some clips could not be decoded.
    """
    from eranntag import lock, packing, recipes, render
    from eranntag.types import Failure

    dataset = recipes.load(recipe, data)
    total, packed, failed, size_bytes = len(dataset.examples), 0, 0, 0
    started, fresh = time.monotonic(), 0
    with lock.held(out):
        for shard, there in packing.pack(dataset, out, codec, int(shard_size * 1e6), workers or os.cpu_count() or 1):
            for source, reason in shard.failed:
                render.failure(Failure(source, reason))
            packed, failed, size_bytes = packed + len(shard.rows), failed + len(shard.failed), size_bytes + shard.bytes
            fresh += 0 if there else shard.clips
            if not there:
                render.packing(shard.name, packed + failed, total, fresh / (time.monotonic() - started))
    left_out = {"could not be decoded": failed, "are missing": len(dataset.missing)}
    notes = "".join(f", {count} {what}" for what, count in left_out.items() if count)
    click.echo(f"{out}: {packed} clips, {size_bytes / 1e6:.1f} MB{notes}")
    if failed:
        raise SystemExit(3)


@command.command()
@click.argument("out", type=click.Path(exists=True, file_okay=False, path_type=Path))
def verify(out: Path) -> None:
    """Compare every file of the pack OUT with its SHA-256. A bad one: delete it, and `pack` makes it again."""
    from eranntag import render, shards
    from eranntag.types import Failure

    counts = {"good": 0, "bad": 0}
    with render.progress(counts) as step:
        for result in shards.verify(out):
            bad = isinstance(result, Failure)
            if isinstance(result, Failure):
                render.failure(result)
            counts["bad" if bad else "good"] += 1
            step()
    if counts["bad"]:
        raise SystemExit(1)
    click.echo(f"{out}: good ({counts['good']} files)")


@command.command()
@click.argument("recipe")
@data_option
@click.option("--seconds", type=click.FloatRange(0, min_open=True), default=10, show_default=True, help="How long to measure.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Threads that decode.")
def speed(recipe: str, data: str | None, seconds: float, workers: int) -> None:
    """Measure how many clips of RECIPE a second can be read for training: random ones, decoded, mono, at 44.1 kHz."""
    import math

    from eranntag import packing, recipes

    measured = packing.speed(recipes.load(recipe, data), seconds, workers)
    pace, several = measured.clips / measured.seconds, "s" * (workers > 1)
    sound = measured.audio_seconds / measured.seconds
    click.echo(
        f"{pace:.1f} clips/s with {workers} worker{several} ({pace / workers:.1f} each), {sound:.0f} s of sound a second"
    )
    needed = math.ceil(FAST_GPU * workers / pace)
    click.echo(f"{FAST_GPU} crops/s (ERANN-1-6 on a fast GPU; mixup takes two an example) need {needed} such workers")
    if measured.failed:
        click.echo(f"{measured.failed} clips could not be decoded", err=True)
    if measured.clips + measured.failed > measured.distinct:
        click.echo(f"only {measured.distinct} clips: most came from memory, not from the disk", err=True)
