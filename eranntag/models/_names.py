"""Architectures by name: "erann-1-6" and its family, configuration and front-end."""

from typing import Any

from eranntag import registry
from eranntag.errors import UsageError


def resolve(name: str) -> tuple[str, Any]:
    """(family, Config) of an architecture's name, such as "erann-1-6". Raises UsageError."""
    for family in registry.names("eranntag.models"):
        if (config := registry.get("eranntag.models", family).from_name(name)) is not None:
            return family, config
    modules = [registry.get("eranntag.models", other) for other in registry.names("eranntag.models") if other != "erann"]
    others = [module.to_name(module.Config()) for module in modules]
    known = f"ERANN's are named erann-S-W, such as erann-1-6; others: {', '.join(others)}"
    raise UsageError(f"no architecture is called {name!r}; {known}{registry.did_you_mean(name.lower(), others)}")


def front_end(name: str) -> tuple[str, dict[str, Any]]:
    """The front-end that an architecture's paper uses, and the arguments of its Config. Raises UsageError."""
    found: tuple[str, dict[str, Any]] = registry.get("eranntag.models", resolve(name)[0]).FRONTEND
    return found


def described(name: str, family: str, features: str) -> str:
    """The name of an architecture of `family`, with that of its front-end if it is another than its paper's."""
    return name if features == registry.get("eranntag.models", family).FRONTEND[0] else f"{name}-{features}"


def name_of(family: str, config: Any) -> str:
    """The architecture's name: the inverse of `resolve`."""
    return str(registry.get("eranntag.models", family).to_name(config))
