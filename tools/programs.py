"""Run external programs."""

import subprocess
from pathlib import Path

from eranntag.errors import DataError


def run(command: list[str | Path], text: str = "", encoding: str = "utf-8") -> str:
    """The program's output, with `text` as its input; DataError if it is not installed or fails."""
    name = str(command[0])
    try:
        done = subprocess.run(command, input=text.encode(encoding), capture_output=True)
    except FileNotFoundError:
        raise DataError(f"{name}: not installed; docs/free-audio.md shows the command that installs it") from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise DataError(f"{name}: failed with exit code {done.returncode}: {lines[-1]}")
    return done.stdout.decode(errors="replace")
