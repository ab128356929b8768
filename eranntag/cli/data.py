"""eranntag data: pack, verify, speed, mix."""

import os
import shlex
import time
from pathlib import Path

import click

from eranntag.cli._options import common
from eranntag.cli.display import terminal

PRESETS = ("dcase2018", "esc50", "esc10")  # _mixture_sources.PRESETS, which imports numpy
FAST_GPU = 460  # crops per second that ERANN-1-6 needs for training; an example mixed of two clips takes two


@click.group()
def command() -> None:
    """Prepare data sets: pack clips into large files, verify these, measure how fast clips are read, and mix new clips."""


@command.command()
@click.argument("recipe")
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@common.DATA
@click.option(
    "--codec",
    type=click.Choice(["flac", "wav"]),
    default="flac",
    show_default=True,
    help="Codec of the clips: flac is smaller, wav is faster.",
)
@click.option(
    "--shard-size",
    type=click.FloatRange(0, min_open=True),
    default=1000,
    show_default=True,
    help="Approximate size of a tar file in MB.",
)
@click.option("--workers", type=click.IntRange(1), show_default="one per CPU", help="Threads that decode.")
def pack(recipe: str, out: Path, data: str | None, codec: str, shard_size: float, workers: int | None) -> None:
    """Pack the clips of RECIPE into tar files in the folder OUT; other commands then accept OUT as --data.

    An interrupted run is continued by the same command. Exit code 3: some clips could not be decoded.
    """
    from eranntag import recipes
    from eranntag.datasets import pack as packing
    from eranntag.files import lock
    from eranntag.types import Failure

    dataset = recipes.load(recipe, data)
    total, packed, failed, size_bytes = len(dataset.examples), 0, 0, 0
    started, fresh = time.monotonic(), 0
    with lock.lock_folder(out):
        for shard, there in packing.pack(dataset, out, codec, int(shard_size * 1e6), workers or os.cpu_count() or 1):
            for source, reason in shard.failed:
                terminal.print_failure(Failure(source, reason))
            packed, failed, size_bytes = packed + len(shard.rows), failed + len(shard.failed), size_bytes + shard.bytes
            fresh += 0 if there else shard.clips
            if not there:
                pace = fresh / (time.monotonic() - started)
                done = packed + failed
                minutes = (total - done) / pace / 60
                terminal.print_status(f"{shard.name}: {done} of {total} clips  {pace:.0f} clips/s  {minutes:.0f} min left")
    left_out = {"could not be decoded": failed, "are missing": len(dataset.missing)}
    notes = "".join(f", {count} {what}" for what, count in left_out.items() if count)
    terminal.print_text(f"{out}: {packed} clips, {size_bytes / 1e6:.1f} MB{notes}")
    if failed:
        raise SystemExit(3)


@command.command()
@click.argument("out", type=click.Path(exists=True, file_okay=False, path_type=Path))
def verify(out: Path) -> None:
    """Compare every file of the pack OUT with its SHA-256. Delete a bad file, and `pack` writes it again."""
    from eranntag.cli.display import progress
    from eranntag.datasets import shards
    from eranntag.types import Failure

    counts = {"good": 0, "bad": 0}
    with progress.progress(counts) as refresh:
        for result in shards.verify(out):
            bad = isinstance(result, Failure)
            if isinstance(result, Failure):
                terminal.print_failure(result)
            counts["bad" if bad else "good"] += 1
            refresh()
    if counts["bad"]:
        raise SystemExit(1)
    terminal.print_text(f"{out}: good ({counts['good']} files)")


@command.command()
@click.argument("recipe")
@common.DATA
@click.option(
    "--seconds", type=click.FloatRange(0, min_open=True), default=10, show_default=True, help="Duration of the measurement."
)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Threads that decode.")
def speed(recipe: str, data: str | None, seconds: float, workers: int) -> None:
    """Measure how many random clips of RECIPE per second can be decoded for training, as mono at 44.1 kHz."""
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
@click.option(
    "--snr",
    callback=_snr,
    default="0,10,20",
    show_default=True,
    metavar="DB,DB,...",
    help="Signal-to-noise ratios of event to background, in dB.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the folds and of every mixture.")
@click.option(
    "--clips-per-fold",
    type=click.IntRange(1),
    default=2000,
    show_default=True,
    help="Number of mixtures, of 10 s each, per fold.",
)
@click.option(
    "--folds",
    type=click.IntRange(2),
    metavar="N",
    default=4,
    show_default=True,
    help="Number of folds; if EVENTS has folds, use only the first N.",
)
@click.option(
    "--preset", type=click.Choice(PRESETS), help="The data set in EVENTS, if that is neither a CSV file nor class folders."
)
@click.option("--stems", is_flag=True, help="Also write events and background of each mixture as two channels.")
@click.option("--workers", type=click.IntRange(1), show_default="one per CPU", help="Threads that mix.")
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
    """Mix EVENTS into BACKGROUNDS, three per 10 s: data with strong labels for `train mixtures --data OUT/snr10`.

    EVENTS: a folder for each class, or a CSV file (columns filename, label; optional fold, group, manually_verified).
    BACKGROUNDS: a folder, a CSV file, or `synthetic` for generated noise. An interrupted run is continued by the same command.
    Exit code 3: some files were left out.
    """
    from eranntag import recipes
    from eranntag.cli.display import progress
    from eranntag.datasets.mixing import plan as plans, write
    from eranntag.datasets.mixing.mix import Protocol
    from eranntag.files import lock

    threads = workers or os.cpu_count() or 1
    sources = plans.Sources(recipes.mixture_events(events, preset), recipes.mixture_backgrounds(backgrounds))
    protocol = Protocol(snr, clips_per_fold, folds, seed, trim_padding=preset in recipes.PADDED_PRESETS)
    counts = {"source files": 0, "mixtures": 0}
    with lock.lock_folder(out), progress.progress(counts) as refresh:

        def count_source() -> None:
            counts["source files"] += 1
            refresh()

        plan = plans.decide(sources, protocol, out, threads, count_source)
        for failure in plan.left_out:
            terminal.print_failure(failure)
        words = [events, backgrounds, str(out), "--snr", ",".join(f"{level:g}" for level in snr), "--seed", str(seed)]
        words += ["--clips-per-fold", str(clips_per_fold), "--folds", str(folds), *(["--preset", preset] if preset else [])]
        for _ in write.write(plan, out, threads, stems, shlex.join(["eranntag", "data", "mix", *words])):
            counts["mixtures"] += 1
            refresh()
    missing = len(sources.events.missing)
    left_out = {"files were left out": len(plan.left_out), "events are missing": missing}
    notes = "".join(f", {count} {what}" for what, count in left_out.items() if count)
    levels = ", ".join(f"{level:g}" for level in snr)
    used = f"{len(plan.events)} of {len(sources.events.examples)} events"
    terminal.print_text(f"{out}: {counts['mixtures']} mixtures of {used} at {levels} dB{notes}")
    if plan.left_out:
        raise SystemExit(3)
