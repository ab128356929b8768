"""The command line again, for documents that say how they were made."""

import shlex

import click
from click.core import ParameterSource

NAMED = 5  # sounds


def typed(context: click.Context) -> str:
    """With what the environment added, without what is the default anyway."""
    words = ["eranntag", *context.command_path.split()[1:]]
    for parameter in context.command.params:
        name = str(parameter.name)
        if context.get_parameter_source(name) == ParameterSource.DEFAULT:
            continue
        option = [] if isinstance(parameter, click.Argument) else [max(parameter.opts, key=len)]
        value = context.params[name]
        values = value if isinstance(value, tuple) else (value,)
        if len(values) > NAMED and isinstance(parameter, click.Argument):  # what a shell made of a pattern
            values = (*values[: NAMED - 1], f"... ({len(values) - NAMED + 1} more)")
        for each in values:
            alone = each is True or each == getattr(parameter, "flag_value", None)
            words += option if alone else [*option, word(each)]
    return shlex.join(words)


def word(value: object) -> str:
    """A value as it was typed."""
    if isinstance(value, tuple):  # LABEL=NUMBER, or for all labels NUMBER
        return "=".join(word(part) for part in value if part is not None)
    return f"{value:g}" if isinstance(value, float) else str(value)
