"""eranntag checkpoints: list, show, pull, verify, row, convert."""

from pathlib import Path

import click

from eranntag import terminal

CONVERTED = ("cnn14",)

registry_option = click.option("--registry", metavar="FILE", help="A registry of your own.  [$ERANNTAG_REGISTRY]")


@click.group(invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """The models that have a name: list (the default), show, pull, verify, row, convert."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_)


@command.command("list")
@registry_option
@click.option("--markdown", is_flag=True, help="As the table of README.md.")
def list_(registry: str | None = None, markdown: bool = False) -> None:
    """All names, with size and accuracy."""
    from eranntag.checkpoints import table
    from eranntag.render import tables

    rows = table.read(registry)
    draw = tables.checkpoints_markdown if markdown else tables.checkpoints
    draw(rows.rows.values(), rows.default)


@command.command()
@click.argument("name")
@registry_option
def show(name: str, registry: str | None) -> None:
    """Everything known of NAME: a row of the table, or the header of a weight file."""
    import dataclasses

    from eranntag import checkpoints, render
    from eranntag.checkpoints import table

    row = table.read(registry).rows.get(name)
    fields = {key: value for key, value in dataclasses.asdict(row).items() if value} if row else {}
    if row is None or row.weights.startswith("embedded:"):
        from eranntag.checkpoints import header

        spec = dataclasses.asdict(header.read(checkpoints.find(name, registry).path))
        fields = {**spec, **fields}
    render.fields({key: value for key, value in fields.items() if value})


@command.command()
@click.argument("name")
@registry_option
def pull(name: str, registry: str | None) -> None:
    """Download NAME into the cache, verify it, and print its path; of an ensemble those of all members."""
    from eranntag import checkpoints, render

    with render.download_bar() as report:
        for found in checkpoints.find_all(name, registry, report=report):
            terminal.give(f"{found.path}\n")


@command.command()
@click.argument("name", required=False)
@registry_option
def verify(name: str | None, registry: str | None) -> None:
    """Load NAME (default: every embedded one) and check hashes, shapes and finite values."""
    from eranntag import checkpoints
    from eranntag.checkpoints import table

    rows = table.read(registry).rows.values()
    for target in [name] if name else [row.name for row in rows if row.weights.startswith("embedded:")]:
        tagger = checkpoints.load(target, device="cpu", registry=registry)
        terminal.tell(f"{target}: good ({len(tagger.labels)} classes)")


@command.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
def row(file: str) -> None:
    """Print FILE's row for a registry: architecture, hash, size and what its header knows."""
    from eranntag.checkpoints import table

    terminal.give(table.describe(file))


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--model", type=click.Choice(CONVERTED), required=True, help="The network whose published weights FILE holds.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Write to this file, .safetensors.")
@click.option("--float32", is_flag=True, help="Keep the matrices in float32, at twice the size.")
@click.option("--force", is_flag=True, help="Overwrite what is there.")
def convert(file: Path, model: str, output: Path, float32: bool, force: bool) -> None:
    """Make a weight file of FILE, which others published, and print its path.

    cnn14: PANNs' Cnn14_mAP=0.431.pth from https://zenodo.org/records/3987831 (docs/checkpoints.md). No code of FILE is run.
    """
    from eranntag.checkpoints import convert as converter

    spec = converter.convert(file, output, model, half=not float32, force=force).checkpoint
    stored = "float32" if float32 else "matrices in float16"
    about = f"{spec.title}, {len(spec.labels)} classes, {stored}; licence of the weights: {spec.licence}"
    terminal.say(f"eranntag: {output}: {output.stat().st_size / 1e6:.1f} MB, {about}")
    terminal.give(f"{output}\n")
