"""The folder of downloads and compiled networks, which are kept between runs."""

import os
import tempfile
from pathlib import Path


def folder() -> Path:
    """Return $ERANNTAG_CACHE, $XDG_CACHE_HOME/eranntag or ~/.cache/eranntag; without a usable home a temporary folder."""
    if configured := os.environ.get("ERANNTAG_CACHE"):
        return Path(configured).absolute()
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):  # XDG: ignore relative ones
        return Path(base) / "eranntag"
    home = Path(os.path.expanduser("~"))  # services have none, "/" or /nonexistent; after `su` it may be another user's
    if home.is_absolute() and home != Path(home.anchor) and home.is_dir() and os.access(home, os.X_OK):
        return home / ".cache" / "eranntag"
    try:
        temporary = Path(tempfile.gettempdir())
    except FileNotFoundError:  # no folder is writable, which the first write reports
        temporary = Path(os.path.abspath(os.sep)) / "tmp"
    return temporary / f"eranntag-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"
