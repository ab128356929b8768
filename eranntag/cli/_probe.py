"""`finetune --head probe`: its options and its runs."""

from pathlib import Path
from typing import Any

import click

from eranntag.cli.display import terminal

# The probe has no iterations: the other options of `finetune` would have no effect.
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
    """Raise UsageError for options of a training run, and without scikit-learn."""
    from eranntag.training import logistic

    for parameter in context.command.params:
        is_typed = parameter.name and context.get_parameter_source(parameter.name) is click.core.ParameterSource.COMMANDLINE
        if is_typed and parameter.name not in OPTIONS:
            raise click.UsageError(f"{parameter.opts[0]} is for training; --head probe fits a logistic regression instead")
    logistic.check()
    if (out := context.params["out"]) and out.exists() and not out.is_dir():
        raise click.UsageError(f"--out {out}: is a file; name a folder")


def run(dataset: Any, name: str, options: dict[str, Any]) -> None:
    """Fit a probe on the checkpoint `name` for each fold and seed.

    Paths of checkpoints go to standard output, results to standard error. Raises SystemExit(3) if some clips cannot be read.
    """
    from eranntag.checkpoints import loading
    from eranntag.cli._options.common import find_checkpoint
    from eranntag.cli._options.training import folds_from
    from eranntag.cli.display import progress, training as display
    from eranntag.training import paper_comparison, probe, splits
    from eranntag.types import Failure

    folds = folds_from(options["folds"], dataset.recipe)
    seeds = range(options["seed"], options["seed"] + options["repeats"])
    found = find_checkpoint(name, options["registry"], options["offline"])
    tagger = loading.load(name, options["device"], registry=options["registry"], offline=True, many=True)
    base = found.network()
    identity = f"{base.checkpoint.name} {tagger.sha256[0][:12]}"
    display.data(dataset)
    failures: list[Failure] = []
    with progress.counter("embedded") as count:
        vectors = probe.embedded(tagger, dataset, failures, options["batch"], count)
    for failure in failures:
        terminal.print_failure(failure)
    one_fold = f"-fold{folds[0]}" if folds[0] is not None else ""
    several = len(folds) * len(seeds) > 1
    where = f"{base.checkpoint.name}-{dataset.recipe.name}-probe"
    folder = options["out"] or Path("runs") / (where if several else f"{where}{one_fold}-seed{options['seed']}")
    done = []
    for each in probe.probes(dataset, vectors, base, identity, folds, seeds, folder, options["restart"]):
        done.append(each)
        review = splits.review(dataset.recipe, each.splits, base.checkpoint)
        display.probe(dataset.recipe, each, base.checkpoint.name, review)
        terminal.write_output(f"{each.path}\n")
    if several:
        result = probe.summary(dataset.recipe, base.checkpoint.name, done)
        display.cross_validation(result, paper_comparison.write_summary(result, folder))
    if failures:
        raise SystemExit(3)
