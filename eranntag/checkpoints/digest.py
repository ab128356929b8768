"""SHA-256 of a weight file."""

import hashlib
from pathlib import Path

from eranntag.checkpoints import limits
from eranntag.checkpoints.header import REMEDY
from eranntag.errors import CheckpointError


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a regular file. Raises CheckpointError for others, and for one larger than weight files are."""
    try:
        with limits.open_regular_file(path, REMEDY)[0] as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint file; {REMEDY}") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); {REMEDY}") from None
