"""eranntag average: checkpoints of one run -> one with their mean weights."""

from pathlib import Path

import click

from eranntag.cli._options import common
from eranntag.cli.display import terminal


@click.command()
@click.argument("checkpoints", nargs=-1, required=True)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", required=True, help="The new checkpoint, .safetensors."
)
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@common.REGISTRY
@common.OFFLINE
def command(checkpoints: tuple[str, ...], output: Path, force: bool, registry: str | None, offline: bool) -> None:
    """Average the weights of CHECKPOINTS (names or files) of one run, as PSLA does with its last epochs.

    `eranntag train ... --set keep_every=208` keeps RUN/iteration-*.safetensors for it.
    """
    from eranntag.checkpoints import loading, weights
    from eranntag.checkpoints.output import check_output
    from eranntag.errors import UsageError
    from eranntag.training import averaging

    if len(checkpoints) < 2:
        raise UsageError("average needs two checkpoints or more")
    if repeated := [name for name in dict.fromkeys(checkpoints) if checkpoints.count(name) > 1]:
        raise UsageError(f"{repeated[0]}: is named twice; each checkpoint counts once")
    check_output(output, (".safetensors",), force)
    networks = [loading.find(name, registry, offline).network() for name in checkpoints]
    weights.save(averaging.mean(networks), output)
    terminal.write_output(f"{output}\n")
