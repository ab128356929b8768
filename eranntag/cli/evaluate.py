"""eranntag evaluate: checkpoint + data set -> its measures."""

import click


@click.command()
@click.argument("recipe")
@click.option("--data", envvar="ERANNTAG_DATA", help="The data set's folder, or one that holds it.  [$ERANNTAG_DATA]")
@click.option("--fold", type=int, help="Only the clips of this fold.  [all]")
@click.option("-c", "--checkpoint", metavar="NAME", help="A name of `eranntag checkpoints`, a file, or hf:OWNER/REPO.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
@click.option("--dtype", type=click.Choice(["auto", "float32", "bfloat16", "float16"]), default="auto", show_default=True)
@click.option("--batch", type=click.IntRange(1), help="Clips computed at once.  [1 on a CPU, 16 on a GPU]")
@click.option("--registry", metavar="FILE", help="A registry of your own.  [$ERANNTAG_REGISTRY]")
def command(
    recipe: str,
    data: str | None,
    fold: int | None,
    checkpoint: str | None,
    as_json: bool,
    device: str,
    dtype: str,
    batch: int | None,
    registry: str | None,
) -> None:
    """Measure a checkpoint on the data set RECIPE (such as esc50), from the files, as `predict` hears them."""
    import json

    from eranntag import checkpoints, render
    from eranntag import registry as folders
    from eranntag.cli._allocator import keep_memory
    from eranntag.evaluation import evaluate

    keep_memory()
    module = folders.get("eranntag.recipes", recipe)
    examples = module.examples(data)
    with render.download_bar() as report:
        tagger = checkpoints.load(checkpoint, device, dtype, registry, report=report)
    counts = {"evaluated": 0}
    with render.progress(counts) as step:

        def one() -> None:
            counts["evaluated"] += 1
            step()

        result = evaluate(tagger, module.RECIPE, examples, fold, batch, one)
    for failure in result.failures:
        render.failure(failure)
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=1))
    else:
        render.evaluation(result)
    if result.failures:
        raise SystemExit(3)
