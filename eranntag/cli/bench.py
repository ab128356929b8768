"""eranntag bench: speed and size, beside the paper's."""

import os
from pathlib import Path
from typing import Any

import click

from eranntag.cli._command_line import typed
from eranntag.cli._options.tagger import DEVICE, ENGINE, OFFLINE, REGISTRY
from eranntag.cli.display import terminal
from eranntag.results import formats

PAGE = "docs/benchmarks.md"

threads_option = click.option("--threads", type=click.IntRange(1), help="Use this many processors only.  [all]")
json_option = click.option("--json", is_flag=True, help="Print everything as JSON.")
budget_option = click.option(
    "--budget", type=click.FloatRange(0, min_open=True), default=5, show_default=True, help="Seconds for each measurement."
)
seconds_type = click.FloatRange(0, min_open=True)


@click.group(invoke_without_command=True)
@click.option(
    "-c", "--checkpoint", "names", metavar="NAME", multiple=True, help="A checkpoint, or an architecture such as erann-1-6."
)
@click.option("--batch", "batches", type=click.IntRange(1), multiple=True, default=(1, 32), help="Clips at once.  [1 and 32]")
@click.option("--seconds", type=seconds_type, default=10, show_default=True, help="Of a clip.")
@click.option("--clips", type=click.IntRange(1), default=64, show_default=True, help="Files from end to end.")
@ENGINE
@DEVICE
@click.option("--dtype", "dtypes", multiple=True, default=("auto",), help="auto, float32, bfloat16 or float16.  [auto]")
@threads_option
@budget_option
@click.option("--cold-runs", type=click.IntRange(0), default=5, show_default=True, help="Fresh processes; 0: no memory either.")
@click.option("--peers", is_flag=True, help="Also what is installed of AST (transformers) and CNN14 (panns-inference).")
@REGISTRY
@OFFLINE
@json_option
@click.option(
    "--write",
    metavar="[FILE]",
    is_flag=False,
    flag_value=PAGE,
    help=f"Also write the tables into a page ({PAGE}), between its markers.",
)
@click.pass_context
def command(ctx: click.Context, **options: Any) -> None:
    """Measure how fast checkpoints tag here, and in how much memory: network alone, files, fresh processes, the plain way.

    -c, --dtype and --batch may be repeated. An architecture gets random weights, which are as fast. `train` measures a training
    step, `features` the front-ends, `memory` what many files and long ones hold.
    """
    if ctx.invoked_subcommand is not None:
        if typed(ctx) != "eranntag bench":
            raise click.UsageError(f"options of `bench {ctx.invoked_subcommand}` come after it")
        return
    _limit(options["threads"])
    from eranntag.benchmark import report_page, run
    from eranntag.benchmark.plan import Plan
    from eranntag.cli._allocator import keep_memory
    from eranntag.cli.display import benchmark as tables

    if options["write"]:
        report_page.check(Path(options["write"]))
    keep_memory()
    fields = ("seconds", "clips", "engine", "device", "budget", "cold_runs")
    report = run.run(
        list(dict.fromkeys(options["names"])) or [None],
        Plan(tuple(dict.fromkeys(options["batches"])), **{name: options[name] for name in fields}),
        options["registry"],
        options["offline"],
        options["peers"],
        typed(ctx),
        lambda line: terminal.print_status(f"eranntag: {line}"),
        tuple(dict.fromkeys(options["dtypes"])),
    )
    if options["json"]:
        terminal.write_output(formats.dumps(report.to_dict(), indent=1) + "\n")
    else:
        tables.report(report)
    if options["write"]:
        report_page.write(Path(options["write"]), tables.markdown(report))


@command.command()
@click.option("--model", default="erann-2-2", show_default=True, help="Architecture: erann-S-W, psla, cnn14.")
@click.option("--batch", type=click.IntRange(1), default=32, show_default=True, help="Examples an iteration.")
@click.option("--seconds", type=seconds_type, default=4, show_default=True, help="Of a crop; whole ones.")
@DEVICE
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True)
@click.option("--compile", "compiled", is_flag=True, help="torch.compile the network.")
@threads_option
@budget_option
@json_option
def train(threads: int | None, json: bool, **options: Any) -> None:
    """Measure an iteration of training by AudioSet's protocol on noise: all but decoding, evaluations and saves."""
    _limit(threads)
    import dataclasses

    from eranntag.benchmark import training
    from eranntag.cli._allocator import keep_memory
    from eranntag.cli.display import benchmark as tables
    from eranntag.models import resolve

    keep_memory()
    resolve(options["model"])
    measured = training.measured(**options, tell=lambda line: terminal.print_status(f"eranntag: {line}"))
    if json:
        terminal.write_output(formats.dumps(dataclasses.asdict(measured), indent=1) + "\n")
    else:
        tables.training(measured)


@command.command()
@click.option("--batch", type=click.IntRange(1), default=8, show_default=True, help="Clips at once.")
@click.option("--seconds", type=seconds_type, default=5, show_default=True, help="Of a clip.")
@DEVICE
@threads_option
@budget_option
@json_option
def features(threads: int | None, json: bool, **options: Any) -> None:
    """Measure every front-end alone, in torch, on noise."""
    _limit(threads)
    import dataclasses

    from eranntag.benchmark import frontends
    from eranntag.cli._allocator import keep_memory
    from eranntag.cli.display import benchmark as tables

    keep_memory()
    measured = frontends.measured(**options, tell=lambda line: terminal.print_status(f"eranntag: {line}"))
    if json:
        terminal.write_output(formats.dumps([dataclasses.asdict(each) for each in measured], indent=1) + "\n")
    else:
        tables.frontends(measured)


@command.command()
@click.option("-c", "--checkpoint", metavar="NAME", help="As of `predict`.")
@click.option("--files", type=click.IntRange(0), default=5000, show_default=True, help="Short files, 1 to 4 s; 0: none.")
@click.option(
    "--hours", type=seconds_type, multiple=True, default=(0.05, 3), help="Length of a long sound. Repeatable.  [0.05 and 3]"
)
@ENGINE
@REGISTRY
@json_option
def memory(json: bool, files: int, hours: tuple[float, ...], **options: Any) -> None:
    """Measure how much memory `predict` holds while it goes through many files, and through one of hours. Linux only.

    Noise is written into the folder for temporary files: 0.35 GB for three hours.
    """
    import dataclasses

    from eranntag.benchmark import memory
    from eranntag.cli.display import benchmark as tables

    given = [word for name, value in options.items() if value for word in (f"--{name}", value)]
    measured = memory.measured(given, files, hours, lambda line: terminal.print_status(f"eranntag: {line}"))
    if json:
        terminal.write_output(formats.dumps(dataclasses.asdict(measured), indent=1) + "\n")
    else:
        tables.memory(measured)


def _limit(threads: int | None) -> None:
    """Take processors away from this process and its children, before anything counts them: it holds for every engine."""
    if threads is None:
        return
    if not hasattr(os, "sched_setaffinity"):
        raise click.UsageError("--threads: this system cannot limit a process to some processors; leave it out")
    there = sorted(os.sched_getaffinity(0))
    if threads > len(there):
        raise click.UsageError(f"--threads {threads}: there are {len(there)} processors")
    os.sched_setaffinity(0, there[:threads])
    import torch

    torch.set_num_threads(threads)
