"""eranntag export: a checkpoint -> ONNX or OpenVINO IR."""

from pathlib import Path
from typing import Any

import click

from eranntag.cli._options.tagger import OFFLINE, REGISTRY
from eranntag.cli.display import terminal

FORMATS = ("onnx", "openvino")


@click.command()
@click.argument("name")
@click.option("--format", "form", type=click.Choice(FORMATS), required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write to this file.  [NAME.onnx or NAME.xml, here]")
@click.option("--clip", "clips", multiple=True, metavar="FILE", help="Compare on this sound too; may be repeated.")
@click.option("--half", is_flag=True, help="Store the weights in float16 (openvino).")
@click.option("--force", is_flag=True, help="Overwrite what is there.")
@REGISTRY
@OFFLINE
def command(name: str, form: str, **options: Any) -> None:
    """Write NAME (as for predict -c) as a network for ONNX Runtime or OpenVINO.

    The network takes images of its front-end, and its file says how they are computed (docs/export.md). It is written only if
    it computes the same as eranntag on built-in sounds and on every --clip. Prints the path.
    """
    from eranntag.checkpoints import export
    from eranntag.cli.display import predictions
    from eranntag.results.formats import printable

    with predictions.download_bar() as report:
        done = export.export(name, form, **options, report=report)
    within = f"probabilities within {done.difference:.1e} of eranntag's ({done.worst})"
    terminal.print_status(printable(f"eranntag: {done.path}: {done.size / 1e6:.1f} MB, {within}, on {', '.join(done.sounds)}"))
    terminal.write_output(f"{done.path}\n")
