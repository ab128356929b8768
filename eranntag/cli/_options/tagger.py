"""What commands that tag have in common: which checkpoint, and how it is executed."""

from collections.abc import Callable
from typing import Any

import click

ENGINE = click.option(
    "--engine", default="auto", show_default=True, help="auto, openvino, torch, or eager (torch as it trains)."
)
DEVICE = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
REGISTRY = click.option(
    "--registry", metavar="FILE", help="A registry of your own beside checkpoints.toml.  [$ERANNTAG_REGISTRY]"
)
OFFLINE = click.option("--offline", is_flag=True, help="Never connect: embedded and cached checkpoints only.")

_OPTIONS = [
    click.option("-c", "--checkpoint", metavar="NAME", help="A name of `eranntag checkpoints`, a file, or hf:OWNER/REPO."),
    ENGINE,
    DEVICE,
    click.option("--dtype", default="auto", show_default=True, help="auto, float32, bfloat16 or float16."),
    click.option("--batch", type=click.IntRange(1), help="Clips computed at once.  [1 on a CPU, 16 on a GPU]"),
    REGISTRY,
    OFFLINE,
    click.option("-v", "--verbose", is_flag=True, help="Say on standard error what runs, and why."),
]


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds them to a command; `load` takes them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def load(given: dict[str, Any], many: bool) -> Any:
    """The Tagger that the options name. `many`: it will hear a lot of clips."""
    from eranntag.checkpoints import loading
    from eranntag.cli._allocator import keep_memory
    from eranntag.cli.display import predictions, terminal

    keep_memory()
    names = ("device", "dtype", "engine", "registry", "offline")
    with predictions.download_bar() as report:
        tagger = loading.load(given["checkpoint"], **{name: given[name] for name in names}, report=report, many=many)
    if given["verbose"]:
        for note in tagger.notes:
            terminal.print_status(f"eranntag: {note}")
    return tagger
