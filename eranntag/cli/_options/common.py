"""Single options with one wording everywhere, and what they lead to."""

from typing import TYPE_CHECKING

import click

from eranntag.cli.display import terminal
from eranntag.results import formats

if TYPE_CHECKING:
    from eranntag.checkpoints.loading import CheckpointFile

REGISTRY = click.option(
    "--registry", metavar="FILE", help="Registry file of your own, beside checkpoints.toml.  [env var: ERANNTAG_REGISTRY]"
)
OFFLINE = click.option("--offline", is_flag=True, help="Never connect: use embedded and cached checkpoints only.")
ENGINE = click.option(
    "--engine", default="auto", show_default=True, help="auto, openvino, torch, or eager (plain torch, as in training)."
)
DEVICE = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
DATA = click.option(
    "--data",
    metavar="PLACE",
    envvar="ERANNTAG_DATA",
    show_envvar=True,
    help="The data set: its folder or the parent folder; a CSV file for the recipe csv.",
)
FOLD = click.option(
    "--fold",
    type=int,
    metavar="N",
    show_default="the data set's test clips, or all clips",
    help="Use only the clips of fold N.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def find_checkpoint(name: str | None, registry: str | None, offline: bool) -> "CheckpointFile":
    """Return the weight file of checkpoint `name`, downloaded with a progress bar where it is not on this machine."""
    from eranntag.checkpoints import loading
    from eranntag.cli.display import progress

    with progress.download_bar() as report:
        return loading.find(name, registry, offline, report)


def print_json(value: object) -> None:
    """Print `value` as JSON on standard output."""
    terminal.write_output(formats.dumps(value, indent=1) + "\n")
