"""Groups of options: frozen dataclasses whose fields are click options."""

import functools
from collections.abc import Callable
from dataclasses import field, fields
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def option(*names: str, **attributes: Any) -> Any:
    """Return a dataclass field that is set by a click option; the arguments are those of `click.option`."""
    return from_decorator(click.option(*names, **attributes))


def from_decorator(decorator: Decorator) -> Any:
    """Return a dataclass field that is set by the click parameter which `decorator` adds; both have the same name."""
    return field(metadata={"decorator": decorator})


def add_options(group: type, name: str) -> Decorator:
    """Return a decorator that adds the options of the dataclass `group` to a command.

    The command receives them as one instance of `group`, its argument `name`.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_group(*args: Any, **values: Any) -> Any:
            options = group(**{each.name: values.pop(each.name) for each in fields(group)})
            return command(*args, **{name: options}, **values)

        return combine(*(each.metadata["decorator"] for each in fields(group)))(with_group)

    return decorate


def combine(*decorators: Decorator) -> Decorator:
    """Return a decorator that applies `decorators` so that --help lists their options in this order."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate
