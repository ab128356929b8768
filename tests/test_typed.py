"""The command line in documents: what was typed, so that it can be typed again."""

import shlex
from typing import Any

import click
import pytest

from eranntag.cli._command_line import typed
from eranntag.cli._options.thresholds import threshold


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("x.wav --threshold dog=.9 --threshold .5", "x.wav --threshold dog=0.9 --threshold 0.5"),
        ("'a b.wav' --flag", "'a b.wav' --flag"),
        ("a b c d e", "a b c d e"),
        ("a b c d e f g", "a b c d '... (3 more)'"),
    ],
)
def test_options_and_names_are_as_they_were_typed(words: str, expected: str) -> None:
    told: list[str] = []

    @click.command("eranntag")
    @click.argument("paths", nargs=-1)
    @threshold("")
    @click.option("--flag", is_flag=True)
    @click.pass_context
    def command(context: click.Context, /, **options: Any) -> None:
        told.append(typed(context))

    command.main(shlex.split(words), prog_name="eranntag", standalone_mode=False)
    assert told == [f"eranntag {expected}"]
