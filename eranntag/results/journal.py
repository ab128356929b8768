"""The lines of a journal, and how they are written and compared."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import Any, TypeVar

from eranntag.errors import UsageError

Source = TypeVar("Source")


def check_same(journal: Path, before: Mapping[str, Any], settings: Mapping[str, Any], remedy: str) -> None:
    """UsageError naming the first of `settings` that is not what it was, `before`, when the run began."""
    now = json.loads(json.dumps(settings))
    for name in {**before, **now}:
        if before.get(name) != now.get(name):
            said = f"begun with {_words(name, before.get(name))}, now {_words(name, now.get(name))}"
            raise UsageError(f"{journal}: {said}; {remedy}")


def _words(name: str, value: Any) -> str:
    if value is None:
        return f"no {name}"
    return f"{name} {', '.join(map(str, value)) if isinstance(value, list) else value}"


def remaining(sources: Iterable[Source], done: Counter[int], key: Callable[[str], Any] = str) -> Iterator[Source]:
    """The `sources` that are not `done` (hashes of the `key` of names); a name is left out as often as it was written."""
    for source in sources:
        if isinstance(source, str) and done.get(name := hash(key(source))):
            done[name] -= 1
        else:
            yield source


def to_line(value: Any) -> bytes:
    """Of a journal: ASCII, whatever bytes a name has."""
    return json.dumps(value).encode() + b"\n"


def parsed(line: bytes) -> Any:
    """None for a line that is torn."""
    try:
        return json.loads(line) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):
        return None


def append(file: FileIO, content: bytes) -> None:
    """`write` alone may stop anywhere, as on a disk that is full."""
    while content:
        content = content[file.write(content) :]
