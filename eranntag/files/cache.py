"""Where downloads and compiled networks are kept between runs."""

import os
import tempfile
from pathlib import Path


def folder() -> Path:
    """$ERANNTAG_CACHE, $XDG_CACHE_HOME/eranntag or ~/.cache/eranntag; without a home, a folder for temporary files."""
    if own := os.environ.get("ERANNTAG_CACHE"):
        return Path(own).absolute()
    if os.path.isabs(base := os.environ.get("XDG_CACHE_HOME", "")):  # relative ones are to be ignored, says XDG
        return Path(base) / "eranntag"
    home = Path(os.path.expanduser("~"))  # "~" itself, /nonexistent or / for services; another user's, where `su` left it
    if home.is_absolute() and home != Path(home.anchor) and home.is_dir() and os.access(home, os.X_OK):
        return home / ".cache" / "eranntag"
    return _temporary() / f"eranntag-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"


def _temporary() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:  # none can be written to; whoever tries to keep something there says so
        return Path(os.path.abspath(os.sep)) / "tmp"
