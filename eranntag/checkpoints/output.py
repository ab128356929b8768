"""The check of an --output before the work whose result it is."""

from collections.abc import Sequence
from pathlib import Path

from eranntag.errors import UsageError


def check_output(path: Path, suffixes: Sequence[str], force: bool) -> None:
    """Raise UsageError if the files `path` with `suffixes` may not be written; `path` itself has the last of them.

    `force` allows to overwrite regular files.
    """
    if path.suffix != suffixes[-1]:
        raise UsageError(f"--output {path}: must end in {suffixes[-1]}")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--output {path}: must be in a folder that exists")
    for file in (path.with_suffix(suffix) for suffix in suffixes):
        if file.exists() and not (force and file.is_file()):
            raise UsageError(f"{file} is there already; use --force to overwrite it, or another --output")
