"""Which collections a search looks into, in what order: names, patterns and chains resolved to their leaves."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from typing import TYPE_CHECKING

import attrs

from federation.errors import NotFoundError, UserError
from federation.model.collection import CollectionType
from federation.model.suggestion import suggest

if TYPE_CHECKING:
    from federation.queries.facts import Facts

__all__ = ["Leaf", "given_names", "resolve"]


@attrs.frozen
class Leaf:
    """A collection that holds datasets itself: a RUN, TAGGED or CALIBRATION."""

    name: str
    type: CollectionType


def given_names(collections: str | Iterable[str] | None) -> tuple[str, ...] | None:
    """The names or patterns that a caller gave; None stands for all collections."""
    if collections is None:
        return None
    names = (collections,) if isinstance(collections, str) else tuple(collections)
    for name in names:
        if not isinstance(name, str):
            raise UserError(
                f"collection {name!r} is not a text", hint="give names or patterns of collections"
            )
    return names


def resolve(facts: Facts, names: Iterable[str], dataset_type: str) -> tuple[Leaf, ...]:
    """The leaves that may hold datasets of a type, in search order, each once.

    A pattern with ``*``, ``?`` or ``[...]`` stands for the matching names in alphabetical order. A collection whose
    summary lacks the type is left out, one without a summary is kept; a CALIBRATION collection holds calibrations
    only. `NotFoundError` for a name that no site knows.
    """
    leaves: dict[str, Leaf] = {}
    for name in names:
        for found in _matching(facts, name):
            _expand(facts, found, leaves, set())
    is_calibration = facts.dataset_type(dataset_type).is_calibration
    return tuple(
        leaf
        for leaf in leaves.values()
        if (leaf.name not in facts.summaries or dataset_type in facts.summaries[leaf.name])
        and (is_calibration or leaf.type is not CollectionType.CALIBRATION)
    )


def _matching(facts: Facts, name: str) -> list[str]:
    if name in facts.collections:
        return [name]
    if any(mark in name for mark in "*?["):
        return sorted(known for known in facts.collections if fnmatch.fnmatchcase(known, name))
    raise NotFoundError(f"unknown collection {name!r}", hint=suggest(name, facts.collections, "collections"))


def _expand(facts: Facts, name: str, leaves: dict[str, Leaf], above: set[str]) -> None:
    kind = facts.collections.get(name)
    if kind is CollectionType.CHAINED:
        # a chain may lead back to itself where its parts were registered at different sites
        if name not in above:
            for child in facts.chains.get(name, ()):
                _expand(facts, child, leaves, above | {name})
    elif kind is not None:
        # a child that no site registered holds nothing
        leaves.setdefault(name, Leaf(name, kind))
