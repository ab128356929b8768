"""Every error that eranntag raises on purpose. One line each: what is wrong, with which value, and what to do.

EranntagError            exit code 1
|-- UsageError           2   a name, option or argument that is invalid
|-- AudioError           1   a file that cannot be read as audio
|-- DataError            1   a data set that is missing or laid out differently
|-- CheckpointError      1   a checkpoint that cannot be used
|   |-- NotPublished     1   a described model whose weights have not been released
|   |-- IntegrityError   1   weights whose SHA-256 or shapes are not the expected ones
|   `-- FetchError       1   weights that could not be downloaded
|-- TrainingError        1   a run that cannot start, continue or be resumed
`-- WriteError           1   a file that cannot be written
"""

import errno

REMEDIES = {
    errno.ENOSPC: "make room there, or choose another place",
    errno.EDQUOT: "make room there, or choose another place",
    errno.EFBIG: "raise the limit of a file's size (ulimit -f), or choose another place",
    errno.ENAMETOOLONG: "choose a shorter name",
}


class EranntagError(Exception):
    """Base of the tree; `str(error)` is the line that users see."""

    exit_code = 1


class UsageError(EranntagError):
    exit_code = 2


class AudioError(EranntagError):
    pass


class DataError(EranntagError):
    pass


class CheckpointError(EranntagError):
    pass


class NotPublished(CheckpointError):
    pass


class IntegrityError(CheckpointError):
    pass


class FetchError(CheckpointError):
    pass


class TrainingError(EranntagError):
    pass


class WriteError(EranntagError, OSError):
    """Also an OSError (errno, strerror, filename), for callers that add what is lost with the file."""

    def __str__(self) -> str:
        remedy = REMEDIES.get(self.errno or 0, "choose another place")
        return f"{self.filename}: cannot be written ({self.strerror}); {remedy}"


def error_reason(error: BaseException, source: str = "") -> str:
    """Return the first line of an error without the leading name of `source`, or the error's type if it has no text."""
    text = str(error).removeprefix(f"{source or 'clip'}: ").strip() or type(error).__name__
    return text.partition("\n")[0]
