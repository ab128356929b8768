"""Every error that eranntag raises on purpose. One line each: what is wrong, with which value, and what to do.

EranntagError            exit code 1
|-- UsageError           2   a name, option or argument that makes no sense
|-- AudioError           1   a file that cannot be read as audio
|-- DataError            1   a data set that is missing or laid out differently
|-- CheckpointError      1   a checkpoint that cannot be used
|   |-- NotPublished     1   a described model whose weights nobody has released yet
|   |-- IntegrityError   1   weights whose SHA-256 or shapes are not the expected ones
|   `-- FetchError       1   weights that could not be downloaded
`-- TrainingError        1   a run that cannot start, go on or be resumed
"""


def reason(error: BaseException, source: str) -> str:
    """Its first line without the name of `source`, which is told beside it; the error's type where it says nothing."""
    text = str(error).removeprefix(f"{source or 'clip'}: ").strip() or type(error).__name__
    return text.partition("\n")[0]


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
