"""eranntag checkpoints: list, show, labels, pull, verify, row, convert."""

from pathlib import Path

import click

from eranntag.cli.display import terminal

CONVERTED = ("cnn14", "mn04", "mn10")

registry_option = click.option("--registry", metavar="FILE", help="A registry of your own.  [$ERANNTAG_REGISTRY]")
papers_option = click.option("--papers", is_flag=True, help="The papers' models instead, and the commands that train them.")


@click.group(invoke_without_command=True)
@papers_option
@click.pass_context
def command(ctx: click.Context, papers: bool) -> None:
    """The models that can be loaded by name: list (the default), show, labels, pull, verify, row, convert."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_, papers=papers)
    elif papers:
        raise click.UsageError(f"--papers: is for `eranntag checkpoints list`, not for {ctx.invoked_subcommand}")


@command.command("list")
@registry_option
@papers_option
@click.option("--markdown", is_flag=True, help="As a Markdown table, the same on every machine.")
def list_(registry: str | None = None, papers: bool = False, markdown: bool = False) -> None:
    """All names, with labels, results, size, license and where the weights are."""
    from eranntag.checkpoints import catalog, loading
    from eranntag.cli.display import checkpoints as tables

    found = catalog.load_catalog(registry)
    show = tables.show_markdown if markdown else tables.show
    if papers:
        show(tables.PAPERS, map(tables.paper, found.papers.values()), ["no weights are published of these models"])
        return
    places = [loading.place(row, look=not markdown) for row in found.rows.values()]
    cells = [tables.checkpoint(row, place, found.default) for row, place in zip(found.rows.values(), places, strict=True)]
    notes = ["* the default", "download, hub: fetched on first use; --papers shows the models that the papers describe"]
    show(tables.CHECKPOINTS, cells, notes)


@command.command()
@click.argument("name")
@registry_option
def show(name: str, registry: str | None) -> None:
    """Everything known of NAME: a row of the table, or the header of a weight file."""
    import dataclasses

    from eranntag.checkpoints import catalog, header, loading
    from eranntag.cli.display import predictions

    found = catalog.load_catalog(registry)
    row = found.rows.get(name) or found.papers.get(name)
    fields = {key: value for key, value in dataclasses.asdict(row).items() if value} if row else {}
    if row is None or (name in found.rows and loading.place(found.rows[name]) in ("embedded", "cached")):
        spec = dataclasses.asdict(header.read_checkpoint(loading.find(name, registry, offline=row is not None).path))
        fields = {**spec, **fields, "labels": ", ".join(spec["labels"])}
    predictions.fields({key: value for key, value in fields.items() if value})


@command.command()
@click.argument("name")
@registry_option
def labels(name: str, registry: str | None) -> None:
    """Print the labels of NAME, or of a weight file, one a line in the order of its scores; nothing is downloaded."""
    from eranntag.checkpoints import loading

    terminal.print_text(*loading.labels(name, registry))


@command.command()
@click.argument("name")
@registry_option
def pull(name: str, registry: str | None) -> None:
    """Download NAME into the cache, verify it, and print its path; of an ensemble those of all members."""
    from eranntag.checkpoints import loading
    from eranntag.cli.display import predictions

    with predictions.download_bar() as report:
        for found in loading.find_all(name, registry, report=report):
            terminal.write_output(f"{found.path}\n")


@command.command()
@click.argument("name", required=False)
@registry_option
def verify(name: str | None, registry: str | None) -> None:
    """Load NAME (default: every embedded one) and check hashes, shapes and finite values."""
    from eranntag.checkpoints import catalog, loading

    rows = catalog.load_catalog(registry).rows.values()
    for target in [name] if name else [row.name for row in rows if row.weights.startswith("embedded:")]:
        tagger = loading.load(target, device="cpu", registry=registry)
        terminal.print_text(f"{target}: good ({len(tagger.labels)} classes)")


@command.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
def row(file: str) -> None:
    """Print FILE's row for a registry: architecture, hash, size and what its header knows."""
    from eranntag.checkpoints import rows

    terminal.write_output(rows.file_row(file))


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--model", type=click.Choice(CONVERTED), required=True, help="The network whose published weights FILE holds.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Write to this file, .safetensors.")
@click.option("--float32", is_flag=True, help="Keep the matrices in float32, at twice the size.")
@click.option("--force", is_flag=True, help="Overwrite what is there.")
def convert(file: Path, model: str, output: Path, float32: bool, force: bool) -> None:
    """Make a weight file of FILE, which others published, and print its path.

    The files of the public taggers in `eranntag checkpoints` (docs/checkpoints.md). No code of FILE is run.
    """
    from eranntag.checkpoints import convert as converter

    spec = converter.convert(file, output, model, half=not float32, force=force).checkpoint
    stored = "float32" if float32 else "matrices in float16"
    about = f"{spec.title}, {len(spec.labels)} classes, {stored}; licence of the weights: {spec.licence}"
    terminal.print_status(f"eranntag: {output}: {output.stat().st_size / 1e6:.1f} MB, {about}")
    terminal.write_output(f"{output}\n")
