"""What of a registry goes into an export: collections, runs, members, dataset types; and what a Butler can't hold."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING

import attrs

from federation.errors import NotFoundError, UserError
from federation.model.collection import Collection, CollectionType
from federation.model.dimension import DimensionUniverse
from federation.model.timespan import Timespan
from federation.registry.butler.universes import NAMESPACE

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from federation.registry.butler.write_source import ExportSource
    from federation.registry.schemas import HeldSchema

__all__ = ["Choice", "choose", "collection_of_row", "matching_types", "without_place"]


@attrs.frozen
class Choice:
    """What was asked for.

    ``collections`` are those of the home schema that were chosen and all that chains among them lead to, by name with
    the schema that has them. ``ids`` are the only datasets to write, None: all. With ``is_whole`` nothing was left
    out, so that all dimension records and dataset types of the home schema go along.
    """

    collections: dict[str, tuple[HeldSchema, Collection]]
    dataset_types: tuple[str, ...]
    ids: frozenset[uuid.UUID] | None
    is_whole: bool
    #: without a choice of collections only those are written that hold a chosen dataset
    only_used: bool
    missing_children: tuple[tuple[str, str], ...]

    def runs(self) -> dict[HeldSchema, set[str]]:
        """RUNs by the schema whose datasets are in them."""
        found: dict[HeldSchema, set[str]] = {}
        for name, (held, collection) in self.collections.items():
            if collection.type is CollectionType.RUN:
                found.setdefault(held, set()).add(name)
        return found


def choose(
    source: ExportSource,
    collections: Sequence[str],
    dataset_types: Sequence[str],
    ids: Iterable[uuid.UUID] | None,
) -> Choice:
    """Match globs (none: all) with the collections of the home schema and the dataset types known here.

    `NotFoundError` for a pattern that matches nothing.
    """
    known = {row["name"]: row for row in source.rows(source.home, "collection")}
    names = _matching("collection", known, collections, str(source.home.schema))
    found, missing = _closed(source, names)
    types = matching_types(source, dataset_types)
    chosen = None if ids is None else frozenset(ids)
    some = bool(dataset_types) or chosen is not None
    return Choice(
        found, types, chosen, not some and not collections, some and not collections, tuple(missing)
    )


def matching_types(source: ExportSource, patterns: Sequence[str]) -> tuple[str, ...]:
    """Names of the dataset types known here that match one of the globs; `NotFoundError` for one that matches none."""
    return _matching("dataset type", source.dataset_types, patterns, source.registry.site)


def _matching(kind: str, known: Iterable[str], patterns: Sequence[str], where: str) -> tuple[str, ...]:
    names = tuple(known)
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(name, pattern) for name in names):
            few = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
            raise NotFoundError(
                f"no {kind} of {where} matches {pattern!r}", hint="it has: " + (few or "none")
            )
    if not patterns:
        return names
    return tuple(name for name in names if any(fnmatch.fnmatchcase(name, p) for p in patterns))


def _closed(
    source: ExportSource, names: Iterable[str]
) -> tuple[dict[str, tuple[HeldSchema, Collection]], list[tuple[str, str]]]:
    """The named collections and all that chains among them lead to; (chain, child) of children that nobody here has."""
    found: dict[str, tuple[HeldSchema, Collection]] = {}
    asked_by = dict.fromkeys(names, "")
    missing: list[tuple[str, str]] = []
    todo = set(asked_by)
    while todo:
        rows = source.find("collection", ("name",), [(name,) for name in todo])
        missing += [(asked_by[name], name) for name in sorted(todo) if (name,) not in rows]
        chains: dict[HeldSchema, list[str]] = {}
        for (name,), (held, row) in rows.items():
            found[name] = (held, collection_of_row(row, ()))
            if row["type"] == CollectionType.CHAINED:
                chains.setdefault(held, []).append(name)
        for held, parents in chains.items():
            links = source.select(held, "collection_chain", ("parent",), [(name,) for name in parents])
            for link in sorted(links, key=lambda link: (link["parent"], link["position"])):
                parent = found[link["parent"]][1]
                children = (*parent.children, link["child"])
                found[link["parent"]] = (held, attrs.evolve(parent, children=children))
                asked_by.setdefault(link["child"], link["parent"])
        todo = asked_by.keys() - found.keys() - {child for _, child in missing}
    return found, missing


def collection_of_row(row: Mapping[str, Any], children: tuple[str, ...]) -> Collection:
    """A row of ``collection`` and its children as one value."""
    return Collection(
        row["name"],
        CollectionType(row["type"]),
        row["doc"],
        children,
        row["host"],
        Timespan(row["timespan_begin"], row["timespan_end"]),
    )


def without_place(universe: DimensionUniverse) -> tuple[tuple[str, str], ...]:
    """(element, column) of a universe that a Butler's of the same version lacks; column "" for a whole element.

    `UserError` for a universe whose Butler counterpart is not known.
    """
    butler = DimensionUniverse.default()
    if (universe.namespace, universe.version) != (NAMESPACE, butler.version):
        raise UserError(
            f"universe {universe.namespace} version {universe.version} can't be exported for a Butler",
            hint=f"exports are written for universe {NAMESPACE} version {butler.version}",
        )
    found = []
    for element in universe.elements:
        if element.is_skypix:
            continue
        if element.name not in butler:
            found.append((element.name, ""))
            continue
        theirs = butler[element.name]
        if (element.required, element.primary_key) != (theirs.required, theirs.primary_key):
            raise UserError(
                f"dimension {element.name!r} has another key than a Butler's of universe version {butler.version}",
                hint="only a registry whose dimensions agree can be exported",
            )
        known = {field.name for field in (*theirs.alternate_keys, *theirs.metadata)} | {*theirs.implied}
        names = [field.name for field in (*element.alternate_keys, *element.metadata)] + [*element.implied]
        found += [(element.name, name) for name in names if name not in known]
        found += [(element.name, "region")] * (element.has_region and not theirs.has_region)
        if element.has_timespan and not theirs.has_timespan:
            found += [(element.name, "timespan_begin"), (element.name, "timespan_end")]
    return tuple(found)
