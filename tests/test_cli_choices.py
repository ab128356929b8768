"""Names that --help shows without importing torch and numpy are those of the registries."""

import click

from eranntag import recipes, registry
from eranntag.checkpoints import convert, export_formats
from eranntag.cli import checkpoints, cli, data, ensemble, export, train
from eranntag.engines import selection
from eranntag.inference import fusion
from eranntag.inference.embedding import EVERY_SECONDS


def test_choices_are_the_registries() -> None:
    assert tuple(convert.PUBLISHED) == checkpoints.CONVERTED
    assert tuple(recipes.PRESETS) == data.PRESETS
    assert tuple(fusion.RULES) == ensemble.RULES
    assert tuple(export_formats.FORMATS) == export.FORMATS
    (every,) = [parameter.type for parameter in parameters("embed") if parameter.name == "every"]
    assert isinstance(every, click.FloatRange) and (every.min, every.max) == EVERY_SECONDS


def test_help_names_every_recipe_engine_and_dtype() -> None:
    assert all(name in str(train.command.help) for name in registry.names("eranntag.recipes"))
    for command in ("predict", "detect", "embed", "bench"):
        helps = {parameter.opts[0]: getattr(parameter, "help", "") for parameter in parameters(command)}
        assert all(name in helps["--engine"] for name in selection.ENGINES), command
        assert all(name in helps["--dtype"] for name in selection.DTYPES), command


def parameters(command: str) -> list[click.Parameter]:
    found = cli.get_command(click.Context(cli), command)
    assert found is not None
    return found.params
