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
    home = Path(os.path.expanduser("~"))
    if home.is_dir() and home != Path(home.anchor):  # not "~", /nonexistent or /, as services and containers have it
        return home / ".cache" / "eranntag"
    return Path(tempfile.gettempdir()) / f"eranntag-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"
