"""eranntag data: pack, verify, speed, mix."""

import os
import shlex
import time
from pathlib import Path

import click

from eranntag.cli.display import terminal

data_option = click.option(
    "--data", envvar="ERANNTAG_DATA", help="The data set's folder, or one that holds it.  [$ERANNTAG_DATA]"
)
FAST_GPU = 460  # crops a second that ERANN-1-6 takes; an example mixed of two takes two


@click.group()
def command() -> None:
    """Data sets of many clips: pack them into large files, verify those, measure how fast clips are read; mix new ones."""


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
    from eranntag import recipes
    from eranntag.cli.display import predictions
    from eranntag.datasets import pack as packing
    from eranntag.files import lock
    from eranntag.types import Failure

    dataset = recipes.load(recipe, data)
    total, packed, failed, size_bytes = len(dataset.examples), 0, 0, 0
    started, fresh = time.monotonic(), 0
    with lock.lock_folder(out):
        for shard, there in packing.pack(dataset, out, codec, int(shard_size * 1e6), workers or os.cpu_count() or 1):
            for source, reason in shard.failed:
                predictions.failure(Failure(source, reason))
            packed, failed, size_bytes = packed + len(shard.rows), failed + len(shard.failed), size_bytes + shard.bytes
            fresh += 0 if there else shard.clips
            if not there:
                predictions.packing(shard.name, packed + failed, total, fresh / (time.monotonic() - started))
    left_out = {"could not be decoded": failed, "are missing": len(dataset.missing)}
    notes = "".join(f", {count} {what}" for what, count in left_out.items() if count)
    terminal.print_text(f"{out}: {packed} clips, {size_bytes / 1e6:.1f} MB{notes}")
    if failed:
        raise SystemExit(3)


@command.command()
@click.argument("out", type=click.Path(exists=True, file_okay=False, path_type=Path))
def verify(out: Path) -> None:
    """Compare every file of the pack OUT with its SHA-256. A bad one: delete it, and `pack` makes it again."""
    from eranntag.cli.display import predictions
    from eranntag.datasets import shards
    from eranntag.types import Failure

    counts = {"good": 0, "bad": 0}
    with predictions.progress(counts) as step:
        for result in shards.verify(out):
            bad = isinstance(result, Failure)
            if isinstance(result, Failure):
                predictions.failure(result)
            counts["bad" if bad else "good"] += 1
            step()
    if counts["bad"]:
        raise SystemExit(1)
    terminal.print_text(f"{out}: good ({counts['good']} files)")


@command.command()
@click.argument("recipe")
@data_option
@click.option("--seconds", type=click.FloatRange(0, min_open=True), default=10, show_default=True, help="How long to measure.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Threads that decode.")
def speed(recipe: str, data: str | None, seconds: float, workers: int) -> None:
    """Measure how many clips of RECIPE a second can be read for training: random ones, decoded, mono, at 44.1 kHz."""
    import math

    from eranntag import recipes
    from eranntag.datasets import pack as packing

    measured = packing.speed(recipes.load(recipe, data), seconds, workers)
    pace, several = measured.clips / measured.seconds, "s" * (workers > 1)
    sound = measured.audio_seconds / measured.seconds
    terminal.print_text(
        f"{pace:.1f} clips/s with {workers} worker{several} ({pace / workers:.1f} each), {sound:.0f} s of sound a second"
    )
    needed = math.ceil(FAST_GPU * workers / pace)
    terminal.print_text(f"{FAST_GPU} crops/s (ERANN-1-6 on a fast GPU; mixup takes two an example) need {needed} such workers")
    if measured.failed:
        terminal.print_status(f"{measured.failed} clips could not be decoded")
    if measured.clips + measured.failed > measured.distinct:
        terminal.print_status(f"only {measured.distinct} clips: most came from memory, not from the disk")


def _snr(context: click.Context, parameter: click.Parameter, value: str) -> tuple[float, ...]:
    try:
        levels = tuple(float(word) for word in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a list of decibels, such as 0,10,20") from None
    if not all(abs(level) <= 100 for level in levels) or len(set(levels)) < len(levels):
        raise click.BadParameter(f"{value!r} must be different levels from -100 to 100 dB")
    return levels


@command.command()
@click.argument("events")
@click.argument("backgrounds")
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--snr", callback=_snr, default="0,10,20", show_default=True, help="Of event over background, in dB.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the folds and of every mixture.")
@click.option("--clips-per-fold", type=click.IntRange(1), default=2000, show_default=True, help="Mixtures of 10 s each.")
@click.option(
    "--folds", type=click.IntRange(2), default=4, show_default=True, help="Of EVENTS with folds of their own the first so many."
)
@click.option(
    "--preset", type=click.Choice(["dcase2018", "esc50", "esc10"]), help="What EVENTS are, if neither a CSV nor class folders."
)
@click.option("--stems", is_flag=True, help="Also write events and background as two channels.")
@click.option("--workers", type=click.IntRange(1), help="Threads.  [one a processor]")
def mix(
    events: str,
    backgrounds: str,
    out: Path,
    snr: tuple[float, ...],
    seed: int,
    clips_per_fold: int,
    folds: int,
    preset: str | None,
    stems: bool,
    workers: int | None,
) -> None:
    """Mix EVENTS into BACKGROUNDS, three in every 10 s: data with strong labels for `train mixtures --data OUT/snr10`.

    EVENTS: a folder for each class, or a CSV file (filename,label, perhaps fold, group, manually_verified). BACKGROUNDS: a
    folder, a CSV file, or `synthetic` for computed noise. Interrupt it at any moment: the same command goes on where it
    stopped. Exit code 3: some files were left out.
    """
    from eranntag import recipes
    from eranntag.cli.display import predictions
    from eranntag.datasets.mixing import plan as plans, write
    from eranntag.files import lock

    threads = workers or os.cpu_count() or 1
    sources = plans.Sources(recipes.mixture_events(events, preset), recipes.mixture_backgrounds(backgrounds))
    protocol = plans.Protocol(snr, clips_per_fold, folds, seed, trim_padding=preset in recipes.PADDED_PRESETS)
    counts = {"source files": 0, "mixtures": 0}
    with lock.lock_folder(out), predictions.progress(counts) as step:

        def heard() -> None:
            counts["source files"] += 1
            step()

        plan = plans.decide(sources, protocol, out, threads, heard)
        for failure in plan.left_out:
            predictions.failure(failure)
        asked = [events, backgrounds, str(out), "--snr", ",".join(f"{level:g}" for level in snr), "--seed", str(seed)]
        asked += ["--clips-per-fold", str(clips_per_fold), "--folds", str(folds), *(["--preset", preset] if preset else [])]
        for _ in write.write(plan, out, threads, stems, shlex.join(["eranntag", "data", "mix", *asked])):
            counts["mixtures"] += 1
            step()
    missing = len(sources.events.missing)
    left_out = {"files were left out": len(plan.left_out), "events are missing": missing}
    notes = "".join(f", {count} {what}" for what, count in left_out.items() if count)
    levels = ", ".join(f"{level:g}" for level in snr)
    used = f"{len(plan.events)} of {len(sources.events.examples)} events"
    terminal.print_text(f"{out}: {counts['mixtures']} mixtures of {used} at {levels} dB{notes}")
    if plan.left_out:
        raise SystemExit(3)
