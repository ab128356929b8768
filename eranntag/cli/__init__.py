"""The command line. Only this package imports click; every command is a file here with a `command`.

Exit codes: 0 all done, 1 failed, 2 wrong use, 3 some inputs failed, 130 interrupted, 143 terminated. Modules here import
torch, numpy and rich inside functions, so that help and usage errors are instant.
"""

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from itertools import takewhile
from typing import Any, NoReturn

import click

import eranntag
from eranntag import registry
from eranntag.cli import _process
from eranntag.cli._process import stopped
from eranntag.cli.display import terminal
from eranntag.errors import EranntagError


class Commands(click.Group):
    """A group whose commands are the files of this package, and the one place that prints errors."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(registry.names("eranntag.cli"))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        known = self.list_commands(ctx)
        if name not in known:
            ctx.fail(f"no such command {name!r}{registry.did_you_mean(name, known)}")
        return registry.get("eranntag.cli", name).command

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = "eranntag", *_: Any, **extra: Any) -> NoReturn:
        """Run what `args` say; SystemExit with the exit code."""
        if "_ERANNTAG_COMPLETE" in os.environ:  # a shell asks what could be typed
            super().main(args, prog_name, **extra)
        words = list(sys.argv[1:] if args is None else args)
        debug = "--debug" in takewhile(lambda word: word.startswith("-"), words)
        sys.exit(self._run(words, debug, prog_name, extra))

    def _run(self, words: list[str], debug: bool, prog_name: str | None, extra: dict[str, Any]) -> int:
        """The exit code."""
        try:
            with self.make_context(prog_name, words, **extra) as context:
                self.invoke(context)
            return 0
        except click.exceptions.Exit as end:
            return end.exit_code
        except click.exceptions.NoArgsIsHelpError as error:  # a group without a command
            error.show()
            return error.exit_code
        except BrokenPipeError:  # `eranntag predict ... | head -1`: whoever closed the pipe has enough
            terminal.redirect_to_devnull(sys.stdout)
            return 0
        except (KeyboardInterrupt, click.Abort):
            terminal.print_status("eranntag: interrupted")
            return 130
        except Exception as error:
            if debug:
                for line in "".join(traceback.format_exception(error)).splitlines():
                    terminal.print_status(line)
            if isinstance(error, OSError):
                terminal.redirect_to_devnull(sys.stdout)  # what could not be written is not tried again at the end
            code, line = _told(error)
            terminal.print_status(line)
            return code


def _told(error: Exception) -> tuple[int, str]:
    """The exit code, and the line that users see."""
    if stopped:  # and some library made another error of the interruption
        return 128 + stopped[0], "eranntag: interrupted"
    if isinstance(error, EranntagError):
        return error.exit_code, f"eranntag: error: {error}"
    if isinstance(error, click.UsageError):
        text = " ".join(error.format_message().split("\n")).replace("\t", "")
        where = error.ctx.command_path if error.ctx else "eranntag"
        return error.exit_code, f"eranntag: error: {text} (see `{where} --help`)"
    if isinstance(error, MemoryError):
        return 1, "eranntag: error: not enough memory; try fewer clips at once (--batch 1), or end other programs"
    if isinstance(error, FileNotFoundError) and error.filename is None:
        return 1, "eranntag: error: the working folder is gone; change to one that exists"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:  # as of --help, by click
        return 1, f"eranntag: error: standard output cannot be written ({error.strerror}); see where it goes"
    text = str(error).strip().partition("\n")[0]
    return 1, f"eranntag: error: {type(error).__name__}: {text} (--debug shows where)"


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(eranntag.__version__, prog_name="eranntag")
@click.option("--debug", is_flag=True, help="Show where an error comes from.")
def cli(debug: bool) -> None:
    """Tag sounds with ERANN networks: predict, train, evaluate."""


def main() -> None:
    _process.run()
