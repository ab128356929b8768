"""The command line again, for documents that say how they were made."""

import shlex

import click
from click.core import ParameterSource


def typed(context: click.Context) -> str:
    """With what the environment added, without what is the default anyway."""
    words = ["eranntag", *context.command_path.split()[1:]]
    for parameter in context.command.params:
        name = str(parameter.name)
        if context.get_parameter_source(name) == ParameterSource.DEFAULT:
            continue
        option = [] if isinstance(parameter, click.Argument) else [max(parameter.opts, key=len)]
        value = context.params[name]
        for each in value if isinstance(value, tuple) else (value,):
            alone = each is True or each == getattr(parameter, "flag_value", None)
            words += option if alone else [*option, f"{each:g}" if isinstance(each, float) else str(each)]
    return shlex.join(words)
