"""The group of all commands: it finds them, prints errors and chooses the exit code."""

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
from eranntag.cli import _signals
from eranntag.cli.display import terminal
from eranntag.errors import EranntagError


class Commands(click.Group):
    """A group whose commands are the files of the package `eranntag.cli`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(registry.names("eranntag.cli"))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        known = self.list_commands(ctx)
        if name not in known:
            ctx.fail(f"no such command {name!r}{registry.did_you_mean(name, known)}")
        command: click.Command = registry.get("eranntag.cli", name).command
        return command

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = "eranntag", *_: Any, **extra: Any) -> NoReturn:
        """Run the command line `args` and raise SystemExit with its exit code."""
        if "_ERANNTAG_COMPLETE" in os.environ:  # the shell requests completions
            super().main(args, prog_name, **extra)
        words = list(sys.argv[1:] if args is None else args)
        debug = "--debug" in takewhile(lambda word: word.startswith("-"), words)
        try:
            with self.make_context(prog_name, words, **extra) as context:
                self.invoke(context)
        except (Exception, KeyboardInterrupt) as error:
            sys.exit(_handle(error, debug))
        sys.exit(0)


def _handle(error: BaseException, debug: bool) -> int:
    """Print the one line that describes `error`, after its traceback if `debug`, and return the exit code."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.exceptions.NoArgsIsHelpError):  # a group without a command
        error.show()
        return error.exit_code
    if isinstance(error, BrokenPipeError):  # `eranntag predict ... | head -1`: the reader needs no more
        terminal.redirect_to_devnull(sys.stdout)
        return 0
    if isinstance(error, KeyboardInterrupt | click.Abort):
        terminal.print_status("eranntag: interrupted")
        return 130
    if debug:
        for line in "".join(traceback.format_exception(error)).splitlines():
            terminal.print_status(line)
    if isinstance(error, OSError):
        terminal.redirect_to_devnull(sys.stdout)  # Python would try again at exit to write what is buffered
    code, line = _describe(error)
    terminal.print_status(line)
    return code


def _describe(error: BaseException) -> tuple[int, str]:
    """Return the exit code of `error` and the line that users see."""
    if _signals.received:  # a library may have made another error of the interruption
        return 128 + _signals.received[0], "eranntag: interrupted"
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
    if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:  # click printing --help
        return 1, f"eranntag: error: standard output cannot be written ({error.strerror}); see where it goes"
    text = str(error).strip().partition("\n")[0]
    return 1, f"eranntag: error: {type(error).__name__}: {text} (--debug shows where)"


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(eranntag.__version__, prog_name="eranntag")
@click.option("--debug", is_flag=True, help="Print the traceback of an error.")
def cli(debug: bool) -> None:
    """Tag sounds with ERANN networks: predict, train, evaluate."""
