"""Neighboring classes: an ontology in the form of AudioSet's ontology.json."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter

import numpy as np

from eranntag.errors import DataError
from eranntag.files import bounded
from eranntag.recipes.audioset import CLASSES

MOST_BYTES = 1 << 26  # AudioSet's has 340 kB


@dataclass(frozen=True)
class Ontology:
    """A graph without cycles in which a node may have several parents: `children` of every node, by id; `abstract` nodes only
    group others and are no sounds. `sha256` is its file's."""

    path: str
    sha256: str
    names: Mapping[str, str]
    children: Mapping[str, tuple[str, ...]]
    abstract: frozenset[str]

    @cached_property
    def parents(self) -> dict[str, list[str]]:
        parents: dict[str, list[str]] = {node: [] for node in self.children}
        for node, children in self.children.items():
            for child in children:
                parents[child].append(node)
        return parents

    def ancestors(self, node: str, which: str) -> set[str]:
        """ "all" that are reached through nodes that are not abstract, "through-abstract" ones too, or the "direct" parents."""
        if which == "direct":
            return set(self.parents[node])
        found: set[str] = set()
        waiting = [node]
        while waiting:
            for parent in self.parents[waiting.pop()]:
                if parent not in found and (which == "through-abstract" or parent not in self.abstract):
                    found.add(parent)
                    waiting.append(parent)
        return found


@dataclass(frozen=True, eq=False)
class Neighbors:
    """`related` (classes, classes) bool: what may be added to a clip with the row's class. `absent` are the classes that the
    ontology does not have."""

    related: np.ndarray
    absent: tuple[str, ...] = ()


def read(path: str | os.PathLike[str]) -> Ontology:
    """An ontology in AudioSet's form: a JSON list of nodes, {"id", "name", "child_ids": [...], "restrictions": ["abstract"]},
    the last two optional. DataError for anything else, for unknown children and for cycles."""
    content = bounded.read_bytes(path, MOST_BYTES)
    try:
        nodes = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not JSON ({error}); an ontology has the form of AudioSet's ontology.json") from None
    if not isinstance(nodes, list) or not nodes:
        raise DataError(f"{path}: is no list of nodes; an ontology has the form of AudioSet's ontology.json")
    names: dict[str, str] = {}
    children: dict[str, tuple[str, ...]] = {}
    abstract: set[str] = set()
    for place, node in enumerate(nodes, 1):
        where = f"{path}: node {place}"
        if not isinstance(node, dict) or not all(isinstance(node.get(key), str) for key in ("id", "name")):
            raise DataError(f"{where} has no id and name that are text")
        identity, lists = node["id"], [node.get(key, []) for key in ("child_ids", "restrictions")]
        if not all(isinstance(each, list) and all(isinstance(item, str) for item in each) for each in lists):
            raise DataError(f"{where} ({node['name']}): child_ids and restrictions must be lists of text")
        if identity in names:
            raise DataError(f"{where} ({node['name']}): the id {identity!r} was there before ({names[identity]})")
        names[identity], children[identity] = node["name"], tuple(lists[0])
        abstract |= {identity} if "abstract" in lists[1] else set()
    _check_graph(path, names, children)
    return Ontology(os.fspath(path), hashlib.sha256(content).hexdigest(), names, children, frozenset(abstract))


def _check_graph(path: str | os.PathLike[str], names: Mapping[str, str], children: Mapping[str, tuple[str, ...]]) -> None:
    for node, theirs in children.items():
        for child in theirs:
            if child not in names:
                raise DataError(f"{path}: {names[node]} has the child {child!r}, which is no node there")
    try:
        TopologicalSorter(children).prepare()
    except CycleError as error:
        circle = " > ".join(names[node] for node in reversed(error.args[1]))
        raise DataError(f"{path}: a node is its own ancestor: {circle}") from None


def nodes(ontology: Ontology, labels: Sequence[str]) -> tuple[str | None, ...]:
    """The node of each class: by id where they are AudioSet's, else by name; None for a class that is not there.

    DataError when none is there, when two nodes have the name of a class, or when a class is abstract.
    """
    if tuple(labels) == tuple(CLASSES.values()):
        found = tuple(mid if mid in ontology.names else None for mid in CLASSES)
    else:
        named: dict[str, str] = {}
        for node, name in ontology.names.items():
            if named.setdefault(name, node) != node and name in labels:
                raise DataError(f"{ontology.path}: {name} is the name of two nodes, {named[name]} and {node}")
        found = tuple(named.get(label) for label in labels)
    if not any(found):
        raise DataError(
            f"{ontology.path}: none of the {len(labels)} classes is there, such as {labels[0]}; names must be equal"
        )
    for label, at in zip(labels, found, strict=True):
        if at in ontology.abstract:
            raise DataError(f"{ontology.path}: {label} is abstract there, but a class of the clips")
    return found


def neighbors(ontology: Ontology, labels: Sequence[str], kind: str = "both", ancestors: str = "all") -> Neighbors:
    """ "children" (type I) are direct ones; "parents" (type II) are those of `Ontology.ancestors`; "both" are either. DataError
    as of `nodes`."""
    found = nodes(ontology, labels)
    index = {node: at for at, node in enumerate(found) if node is not None}
    matrix = np.zeros((len(labels), len(labels)), bool)
    for node, at in index.items():
        related = set(ontology.children[node]) if kind != "parents" else set()
        related |= ontology.ancestors(node, ancestors) if kind != "children" else set()
        matrix[at, [index[other] for other in related if other in index]] = True
    return Neighbors(matrix, tuple(label for label, node in zip(labels, found, strict=True) if node is None))
