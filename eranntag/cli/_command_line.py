"""The command line as text, for documents that name the command that made them."""

import shlex

import click
from click.core import ParameterSource

MAX_NAMES = 5  # of files in an argument


def typed(context: click.Context) -> str:
    """Return the command line of `context`, with values from the environment and without defaults."""
    words = ["eranntag", *context.command_path.split()[1:]]
    for parameter in context.command.params:
        name = str(parameter.name)
        if context.get_parameter_source(name) == ParameterSource.DEFAULT:
            continue
        option = [] if isinstance(parameter, click.Argument) else [max(parameter.opts, key=len)]
        value = context.params[name]
        values = value if isinstance(value, tuple) else (value,)
        if len(values) > MAX_NAMES and isinstance(parameter, click.Argument):  # a pattern that the shell expanded
            values = (*values[: MAX_NAMES - 1], f"... ({len(values) - MAX_NAMES + 1} more)")
        for each in values:
            is_flag = each is True or each == getattr(parameter, "flag_value", None)
            words += option if is_flag else [*option, word(each)]
    return shlex.join(words)


def word(value: object) -> str:
    """Return a value as it is typed."""
    if isinstance(value, tuple):  # LABEL=NUMBER, or NUMBER for all labels
        return "=".join(word(part) for part in value if part is not None)
    return f"{value:g}" if isinstance(value, float) else str(value)
