"""`finetune --head probe`: which options it takes, and its runs."""

from pathlib import Path
from typing import Any

import click

from eranntag.cli.display import terminal

# The probe has no iterations: what else `finetune` takes would be without effect.
OPTIONS = {
    "checkpoint",
    "recipe",
    "head",
    "registry",
    "offline",
    "data",
    "folds",
    "repeats",
    "batch",
    "seed",
    "out",
    "restart",
    "device",
}


def check(context: click.Context) -> None:
    """Raises UsageError for options of a training run, and without scikit-learn."""
    from eranntag.training import logistic

    for parameter in context.command.params:
        typed = parameter.name and context.get_parameter_source(parameter.name) is click.core.ParameterSource.COMMANDLINE
        if typed and parameter.name not in OPTIONS:
            raise click.UsageError(f"{parameter.opts[0]} is for training; --head probe fits a logistic regression instead")
    logistic.check()
    if (out := context.params["out"]) and out.exists() and not out.is_dir():
        raise click.UsageError(f"--out {out}: is a file; name a folder")


def run(dataset: Any, name: str, options: dict[str, Any]) -> None:
    """Fits a probe on the checkpoint `name` for each fold and seed.

    The checkpoints' paths go to standard output, what they reach to standard error. SystemExit(3) if some clips cannot
    be read.
    """
    from eranntag.checkpoints import loading
    from eranntag.cli._options.training import folds_from
    from eranntag.cli.display import predictions, training as pages
    from eranntag.training import paper_comparison, probe, splits
    from eranntag.types import Failure

    folds = folds_from(options["folds"], dataset.recipe)
    seeds = range(options["seed"], options["seed"] + options["repeats"])
    with predictions.download_bar() as report:
        found = loading.find(name, options["registry"], options["offline"], report)
        tagger = loading.load(name, options["device"], registry=options["registry"], offline=True, many=True)
    base = found.network()
    identity = f"{base.checkpoint.name} {tagger.sha256[0][:12]}"
    pages.data(dataset)
    failures: list[Failure] = []
    counts = {"embedded": 0}
    with predictions.progress(counts) as step:

        def one() -> None:
            counts["embedded"] += 1
            step()

        vectors = probe.embedded(tagger, dataset, failures, options["batch"], one)
    for failure in failures:
        predictions.failure(failure)
    one_fold = f"-fold{folds[0]}" if folds[0] is not None else ""
    several = len(folds) * len(seeds) > 1
    where = f"{base.checkpoint.name}-{dataset.recipe.name}-probe"
    folder = options["out"] or Path("runs") / (where if several else f"{where}{one_fold}-seed{options['seed']}")
    done = []
    for each in probe.probes(dataset, vectors, base, identity, folds, seeds, folder, options["restart"]):
        done.append(each)
        review = splits.review(dataset.recipe, each.splits, base.checkpoint)
        pages.probe(dataset.recipe, each, base.checkpoint.name, review)
        terminal.write_output(f"{each.path}\n")
    if several:
        result = probe.summary(dataset.recipe, base.checkpoint.name, done)
        pages.cross_validation(result, paper_comparison.write_summary(result, folder))
    if failures:
        raise SystemExit(3)
