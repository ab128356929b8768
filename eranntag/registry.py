"""A folder is a registry: `features/logmel.py` is the front-end named `logmel`. No table to keep, nothing to import."""

import difflib
import importlib
import pkgutil
from collections.abc import Iterable
from types import ModuleType

from eranntag.errors import UsageError


def names(package: str) -> tuple[str, ...]:
    """The plug-ins of `package` ("eranntag.features"): its public files, in alphabetical order."""
    path = importlib.import_module(package).__path__
    files = (module.name for module in pkgutil.iter_modules(path) if not module.ispkg)
    return tuple(sorted(name for name in files if not name.startswith("_")))


def get(package: str, name: str) -> ModuleType:
    """The module of one plug-in; UsageError with a suggestion when there is none of that name."""
    known = names(package)
    if name not in known:
        kind = package.rpartition(".")[2]
        raise UsageError(f"no {name!r} among the {kind} ({', '.join(known)}){did_you_mean(name, known)}")
    return importlib.import_module(f"{package}.{name}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """ "; did you mean 'x'?" for the nearest known word, or "" when none is near."""
    known = list(known)
    begun = [each for each in known if each.startswith(f"{word}-")] if word else []  # mn04 -> mn04-audioset
    near = begun if len(begun) == 1 else difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
