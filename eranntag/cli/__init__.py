"""The command line. Only this package imports click; every command is a file here with a `command`.

Exit codes: 0 all done, 1 failed, 2 wrong use, 3 some inputs failed, 130 interrupted, 143 terminated. Modules here import
torch, numpy and rich inside functions, so that help and usage errors are instant.
"""

import os
import signal
import sys
import traceback
from typing import Any

import click

import eranntag
from eranntag import records, registry
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

    def invoke(self, ctx: click.Context) -> Any:
        debug = ctx.params["debug"]
        cause: BaseException
        try:
            return super().invoke(ctx)
        except click.exceptions.NoArgsIsHelpError:  # a group without a command
            raise
        except click.UsageError as error:
            cause, code = error, error.exit_code
            text = " ".join(error.format_message().split("\n")).replace("\t", "")
            line = f"{text} (see `{(error.ctx or ctx).command_path} --help`)"
        except (click.exceptions.Exit, SystemExit):
            raise
        except BrokenPipeError:  # `eranntag predict ... | head -1`: whoever closed the pipe has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)
        except (KeyboardInterrupt, click.Abort):
            click.echo("eranntag: interrupted", err=True)
            ctx.exit(130)
        except EranntagError as error:
            cause, code, line = error, error.exit_code, str(error)
        except Exception as error:
            cause, code, line = error, 1, f"{type(error).__name__}: {error} (--debug shows where)"
        if debug:
            traceback.print_exception(cause)
        click.echo(f"eranntag: error: {records.printable(line)}", err=True)
        ctx.exit(code)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(eranntag.__version__, prog_name="eranntag")
@click.option("--debug", is_flag=True, help="Show where an error comes from.")
def cli(debug: bool) -> None:
    """Tag sounds with ERANN networks: predict, train, evaluate."""


def main() -> None:
    def terminate(*_: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise SystemExit(143)

    def interrupt(*_: Any) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would only break the end that is under way
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, terminate)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else whoever started this wants it to be ignored
        signal.signal(signal.SIGINT, interrupt)
    cli(prog_name="eranntag")
