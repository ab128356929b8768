"""The command line; every file here that does not begin with _ is a command.

* `cli`: the click group of all commands, which prints errors and chooses the exit code (`_group`).
* `main`: the same as a process, with its streams and signals (`_process`, `_signals`).
* `_options`: options that several commands share. `display`: what is printed, the only user of rich.

Exit codes: 0 all done, 1 failed, 2 wrong use, 3 some inputs failed, 130 interrupted, 143 terminated. Commands import torch,
numpy and rich inside functions, so that --help and usage errors are instant.
"""

from eranntag.cli._group import cli
from eranntag.cli._process import run as main

__all__ = ["cli", "main"]
