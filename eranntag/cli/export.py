"""eranntag export: a checkpoint -> ONNX or OpenVINO IR."""

from pathlib import Path
from typing import Any

import click

from eranntag.cli._options import common
from eranntag.cli.display import terminal

FORMATS = ("onnx", "openvino")  # export_formats.FORMATS, which imports numpy


@click.command()
@click.argument("name")
@click.option("--format", "form", type=click.Choice(FORMATS), required=True, help="Format of the network.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    show_default="NAME.onnx or NAME.xml",
    help="Write to FILE.",
)
@click.option("--clip", "clips", multiple=True, metavar="FILE", help="Also compare on this sound; repeatable.")
@click.option("--half", is_flag=True, help="Store the weights in float16 (openvino).")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@common.REGISTRY
@common.OFFLINE
def command(name: str, form: str, **options: Any) -> None:
    """Export NAME (as for predict -c) as a network for ONNX Runtime or OpenVINO, and print the path.

    The input of the network is the image of its front-end, whose settings are stored in the file (docs/export.md). The file is
    written only if the network computes the same as eranntag on built-in sounds and on every --clip.
    """
    from eranntag.checkpoints import export
    from eranntag.cli.display import progress

    with progress.download_bar() as report:
        done = export.export(name, form, **options, report=report)
    within = f"probabilities within {done.difference:.1e} of eranntag's ({done.worst})"
    terminal.print_status(f"eranntag: {done.path}: {done.size / 1e6:.1f} MB, {within}, on {', '.join(done.sounds)}")
    terminal.write_output(f"{done.path}\n")
