"""eranntag checkpoints: list, show, labels, pull, verify, row, convert."""

from pathlib import Path

import click

from eranntag.cli._options import common
from eranntag.cli.display import terminal

CONVERTED = ("cnn14", "mn04", "mn10")  # convert.PUBLISHED, which imports torch

papers_option = click.option(
    "--papers", is_flag=True, help="List the papers' models instead, with the commands that train them."
)


@click.group(invoke_without_command=True)
@papers_option
@click.pass_context
def command(ctx: click.Context, papers: bool) -> None:
    """Show and manage the models that can be loaded by name: list (the default), show, labels, pull, verify, row, convert."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_, papers=papers)
    elif papers:
        raise click.UsageError(f"--papers belongs to `eranntag checkpoints list`, not to {ctx.invoked_subcommand}")


@command.command("list")
@common.REGISTRY
@papers_option
@click.option("--markdown", is_flag=True, help="Print a Markdown table, which is the same on every machine.")
def list_(registry: str | None = None, papers: bool = False, markdown: bool = False) -> None:
    """List all names with labels, results, size, license and where the weights are."""
    from eranntag.checkpoints import catalog, loading
    from eranntag.cli.display import checkpoints as display

    found = catalog.load_catalog(registry)
    show = display.print_markdown if markdown else display.print_table
    if papers:
        show(display.PAPERS, map(display.paper_cells, found.papers.values()), ["no weights of these models are published"])
        return
    cells = []
    for row in found.rows.values():
        place = loading.place(row, look=not markdown)
        cells.append(display.checkpoint_cells(row, place, found.default))
    notes = ["* the default", "download, hub: fetched on first use; --papers lists the models that the papers describe"]
    show(display.CHECKPOINTS, cells, notes)


@command.command()
@click.argument("name")
@common.REGISTRY
def show(name: str, registry: str | None) -> None:
    """Show the metadata of NAME: its row of the table, or the header of a weight file."""
    import dataclasses

    from eranntag.checkpoints import catalog, header, loading

    found = catalog.load_catalog(registry)
    row = found.rows.get(name) or found.papers.get(name)
    fields = {key: value for key, value in dataclasses.asdict(row).items() if value} if row else {}
    if row is None or (name in found.rows and loading.place(found.rows[name]) in ("embedded", "cached")):
        spec = dataclasses.asdict(header.read_checkpoint(loading.find(name, registry, offline=row is not None).path))
        fields = {**spec, **fields, "labels": ", ".join(spec["labels"])}
    terminal.print_fields({key: value for key, value in fields.items() if value})


@command.command()
@click.argument("name")
@common.REGISTRY
def labels(name: str, registry: str | None) -> None:
    """Print the labels of NAME, or of a weight file, one per line in the order of its scores; nothing is downloaded."""
    from eranntag.checkpoints import loading

    terminal.print_text(*loading.labels(name, registry))


@command.command()
@click.argument("name")
@common.REGISTRY
def pull(name: str, registry: str | None) -> None:
    """Download NAME into the cache, verify it, and print its path; for an ensemble the paths of all members."""
    from eranntag.checkpoints import loading
    from eranntag.cli.display import progress

    with progress.download_bar() as report:
        for found in loading.find_all(name, registry, report=report):
            terminal.write_output(f"{found.path}\n")


@command.command()
@click.argument("name", required=False)
@common.REGISTRY
def verify(name: str | None, registry: str | None) -> None:
    """Load NAME (default: every embedded checkpoint) and check hashes, shapes and finite values."""
    from eranntag.checkpoints import catalog, loading

    rows = catalog.load_catalog(registry).rows.values()
    for target in [name] if name else [row.name for row in rows if row.weights.startswith("embedded:")]:
        tagger = loading.load(target, device="cpu", registry=registry)
        terminal.print_text(f"{target}: good ({len(tagger.labels)} classes)")


@command.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
def row(file: str) -> None:
    """Print a registry row for FILE: architecture, hash, size and the metadata in its header."""
    from eranntag.checkpoints import rows

    terminal.write_output(rows.file_row(file))


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--model", type=click.Choice(CONVERTED), required=True, help="The architecture of the published weights in FILE.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="OUT",
    help="Write the weights to OUT, .safetensors.",
)
@click.option("--float32", is_flag=True, help="Store matrices in float32, at twice the size.")
@click.option("--force", is_flag=True, help="Overwrite OUT.")
def convert(file: Path, model: str, output: Path, float32: bool, force: bool) -> None:
    """Convert the published weights in FILE to eranntag's format, and print the path of the new file.

    FILE is one of the files of the public taggers (docs/checkpoints.md). No code in FILE is run.
    """
    from eranntag.checkpoints import convert as converter

    spec = converter.convert(file, output, model, half=not float32, force=force).checkpoint
    stored = "float32" if float32 else "matrices in float16"
    about = f"{spec.title}, {len(spec.labels)} classes, {stored}; licence of the weights: {spec.licence}"
    terminal.print_status(f"eranntag: {output}: {output.stat().st_size / 1e6:.1f} MB, {about}")
    terminal.write_output(f"{output}\n")
