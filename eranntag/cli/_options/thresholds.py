"""The option --threshold: one score for all labels, or one for each."""

from typing import Any

import click

from eranntag.cli._command_line import word
from eranntag.cli._options.group import Decorator

Thresholds = tuple[tuple[str | None, float], ...]  # (label, or None for all labels, score)


class _Threshold(click.ParamType):  # type: ignore[type-arg]  # generic in new versions of click only
    """Converts `0.3` to (None, 0.3), and `Speech=0.4` to ("Speech", 0.4)."""

    name = "threshold"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str | None, float]:
        label, separator, number = value.rpartition("=")
        try:
            if not 0 <= float(number) <= 1:
                raise ValueError
        except ValueError:
            self.fail(f"{value!r} is not a number from 0 to 1, or LABEL=NUMBER", param, ctx)
        return label if separator else None, float(number)


def threshold(help: str, default: str | bool = False) -> Decorator:
    """Return the option --threshold, whose values `detector.thresholds` takes; `default` describes its default in --help."""
    return click.option("--threshold", type=_Threshold(), multiple=True, metavar="[LABEL=]P", help=help, show_default=default)


def as_typed(thresholds: Thresholds) -> list[str] | None:
    """Return `thresholds` as they stand on a command line; None if there are none."""
    return [word(each) for each in thresholds] or None
