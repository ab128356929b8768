"""eranntag bench: speed and memory, beside the paper's."""

import os
from pathlib import Path

import click

from eranntag.cli._command_line import typed
from eranntag.cli._options import common
from eranntag.cli.display import terminal

PAGE = "docs/benchmarks.md"
_SECONDS = click.FloatRange(0, min_open=True)

threads_option = click.option("--threads", type=click.IntRange(1), show_default="all", help="Number of processors to use.")
budget_option = click.option("--budget", type=_SECONDS, default=5, show_default=True, help="Seconds per measurement.")


@click.group(invoke_without_command=True)
@click.option(
    "-c",
    "--checkpoint",
    "names",
    metavar="NAME",
    multiple=True,
    help="A checkpoint, or an architecture such as erann-1-6; repeatable.",
)
@click.option(
    "--batch",
    "batches",
    type=click.IntRange(1),
    multiple=True,
    default=(1, 32),
    show_default=True,
    help="Batch size; repeatable.",
)
@click.option("--seconds", type=_SECONDS, default=10, show_default=True, help="Clip length in seconds.")
@click.option(
    "--clips", type=click.IntRange(1), default=64, show_default=True, help="Number of files in the end-to-end measurement."
)
@common.ENGINE
@common.DEVICE
@click.option(
    "--dtype",
    "dtypes",
    multiple=True,
    default=("auto",),
    show_default=True,
    help="auto, float32, bfloat16 or float16; repeatable.",
)
@threads_option
@budget_option
@click.option(
    "--cold-runs",
    type=click.IntRange(0),
    default=5,
    show_default=True,
    help="Number of cold-start runs; 0 also skips the memory measurement.",
)
@click.option(
    "--peers", is_flag=True, help="Also measure AST (transformers) and CNN14 (panns-inference), whichever is installed."
)
@common.REGISTRY
@common.OFFLINE
@common.JSON
@click.option(
    "--write",
    "page",
    metavar="[FILE]",
    is_flag=False,
    flag_value=PAGE,
    help=f"Also write the tables into a Markdown page ({PAGE}), between its markers.",
)
@click.pass_context
def command(
    context: click.Context,
    /,
    names: tuple[str, ...],
    batches: tuple[int, ...],
    seconds: float,
    clips: int,
    engine: str,
    device: str,
    dtypes: tuple[str, ...],
    threads: int | None,
    budget: float,
    cold_runs: int,
    peers: bool,
    registry: str | None,
    offline: bool,
    as_json: bool,
    page: str | None,
) -> None:
    """Measure how fast checkpoints tag here, and in how much memory: the network alone, files from end to end, and cold starts.

    An architecture gets random weights, which are as fast as trained ones. `train` measures a training iteration, `features`
    the front-ends, `memory` the memory of `predict` for many files and for long ones.
    """
    if context.invoked_subcommand is not None:
        if typed(context) != "eranntag bench":
            raise click.UsageError(f"options of `bench {context.invoked_subcommand}` come after it")
        return
    _limit_processors(threads)
    from eranntag.benchmark import report_page, run
    from eranntag.benchmark.plan import Plan
    from eranntag.cli._allocator import keep_memory
    from eranntag.cli.display import benchmark as display

    if page:
        report_page.check(Path(page))
    keep_memory()
    plan = Plan(tuple(dict.fromkeys(batches)), seconds, clips, engine, device, budget=budget, cold_runs=cold_runs)
    report = run.run(
        list(dict.fromkeys(names)) or [None],
        plan,
        registry,
        offline,
        peers,
        typed(context),
        _log,
        tuple(dict.fromkeys(dtypes)),
    )
    if as_json:
        common.print_json(report.to_dict())
    else:
        display.print_report(report)
    if page:
        report_page.write(Path(page), display.to_markdown(report))


@command.command()
@click.option("--model", default="erann-2-2", show_default=True, help="Architecture: erann-S-W, psla, cnn14.")
@click.option("--batch", type=click.IntRange(1), default=32, show_default=True, help="Examples per iteration.")
@click.option("--seconds", type=_SECONDS, default=4, show_default=True, help="Crop length in whole seconds.")
@common.DEVICE
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Data type of autocast in the network.",
)
@click.option("--compile", "compiled", is_flag=True, help="torch.compile the network.")
@threads_option
@budget_option
@common.JSON
def train(
    model: str,
    batch: int,
    seconds: float,
    device: str,
    dtype: str,
    compiled: bool,
    threads: int | None,
    budget: float,
    as_json: bool,
) -> None:
    """Measure a training iteration on noise, by AudioSet's protocol, without decoding, evaluations and saves."""
    _limit_processors(threads)
    import dataclasses

    from eranntag.benchmark import training
    from eranntag.cli._allocator import keep_memory
    from eranntag.cli.display import benchmark as display
    from eranntag.models import resolve

    keep_memory()
    resolve(model)
    measured = training.measure(model, batch, seconds, dtype, device, compiled, budget, _log)
    if as_json:
        common.print_json(dataclasses.asdict(measured))
    else:
        display.print_training(measured)


@command.command()
@click.option("--batch", type=click.IntRange(1), default=8, show_default=True, help="Clips per batch.")
@click.option("--seconds", type=_SECONDS, default=5, show_default=True, help="Clip length in seconds.")
@common.DEVICE
@threads_option
@budget_option
@common.JSON
def features(batch: int, seconds: float, device: str, threads: int | None, budget: float, as_json: bool) -> None:
    """Measure every front-end alone, in torch, on noise."""
    _limit_processors(threads)
    import dataclasses

    from eranntag.benchmark import frontends
    from eranntag.cli._allocator import keep_memory
    from eranntag.cli.display import benchmark as display

    keep_memory()
    measured = frontends.measure(batch, seconds, device, budget, _log)
    if as_json:
        common.print_json([dataclasses.asdict(each) for each in measured])
    else:
        display.print_frontends(measured)


@command.command()
@click.option("-c", "--checkpoint", metavar="NAME", help="As of `predict`.")
@click.option(
    "--files",
    type=click.IntRange(0),
    default=5000,
    show_default=True,
    help="Number of short files, 1 to 4 s; 0 skips that measurement.",
)
@click.option(
    "--hours", type=_SECONDS, multiple=True, default=(0.05, 3), show_default=True, help="Length of a long file; repeatable."
)
@common.ENGINE
@common.REGISTRY
@common.JSON
def memory(
    checkpoint: str | None, files: int, hours: tuple[float, ...], engine: str, registry: str | None, as_json: bool
) -> None:
    """Measure how much memory `predict` needs for many files, and for files of several hours. Linux only.

    Noise is written into the folder for temporary files: 0.35 GB for three hours.
    """
    import dataclasses

    from eranntag.benchmark import memory
    from eranntag.cli.display import benchmark as display

    options = {"--checkpoint": checkpoint, "--engine": engine, "--registry": registry}
    words = [word for name, value in options.items() if value for word in (name, value)]
    measured = memory.measure(words, files, hours, _log)
    if as_json:
        common.print_json(dataclasses.asdict(measured))
    else:
        display.print_memory(measured)


def _log(line: str) -> None:
    terminal.print_status(f"eranntag: {line}")


def _limit_processors(threads: int | None) -> None:
    """Restrict this process and its children to `threads` processors; called before any library counts them."""
    if threads is None:
        return
    if not hasattr(os, "sched_setaffinity"):
        raise click.UsageError("--threads: this system cannot limit a process to some processors; leave it out")
    available = sorted(os.sched_getaffinity(0))
    if threads > len(available):
        raise click.UsageError(f"--threads {threads}: there are {len(available)} processors")
    os.sched_setaffinity(0, available[:threads])
    import torch

    torch.set_num_threads(threads)
