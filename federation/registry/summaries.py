"""Summaries: which dataset types, with which values of governor dimensions, a collection may hold; never too few.

A row says that a collection may hold datasets of a type with a value of a governor dimension; one with an empty
governor, that it may hold some without. Of a collection without any row in a schema that registers it, nothing is
known. Removals leave rows behind, until `refresh` computes them anew. Chains have none of their own: theirs are those
of their children.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import attrs
import sqlalchemy as sa

from federation.model.collection import CollectionType
from federation.registry.chains import flatten
from federation.registry.members import governor_values, governors_of
from federation.registry.views import group_of, values_of, views

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from federation.registry.transaction import Transaction
    from federation.registry.views import Source

__all__ = ["Summary", "forget", "note", "read", "refresh", "start"]

#: (dataset type, governor, value)
_Row = tuple[str, str, str]
#: what each open transaction knows that its schema's summaries say, by collection
_KNOWN: WeakKeyDictionary[Transaction, dict[str, set[_Row]]] = WeakKeyDictionary()
#: tables that put datasets into collections, with the column that names the collection
_RELATIONS = {CollectionType.TAGGED: "collection_member", CollectionType.CALIBRATION: "calibration"}


@attrs.frozen
class Summary:
    """Values of governors by dataset type and governor; not ``known``: the collection may hold anything."""

    types: Mapping[str, Mapping[str, frozenset[str]]]
    known: bool = True

    def may_hold(self, dataset_type: str, governors: Mapping[str, Any]) -> bool:
        """Whether the collection may hold datasets of a type with these governor values."""
        if not self.known:
            return True
        held = self.types.get(dataset_type)
        return held is not None and all(
            str(value) in held[name] for name, value in governors.items() if name in held
        )


def start(tx: Transaction, collection: str) -> None:
    """Know that a collection is new in this transaction, so that nothing need be read about it."""
    _KNOWN.setdefault(tx, {})[collection] = set()


def forget(tx: Transaction, collection: str) -> None:
    """Know nothing of a collection any more."""
    _KNOWN.get(tx, {}).pop(collection, None)


def note(tx: Transaction, collection: str, dataset_type: str, governors: Mapping[str, Iterable[Any]]) -> None:
    """Note that a collection holds datasets of a type with these values of its governor dimensions.

    Only what is new is written. What a collection held before it had a summary is noted with the first.
    """
    known = _known(tx, collection)
    _write(tx, collection, _rows(dataset_type, governors) - known)


def _rows(dataset_type: str, governors: Mapping[str, Iterable[Any]]) -> set[_Row]:
    rows = {
        (dataset_type, name, str(value))
        for name, values in governors.items()
        for value in values
        if value is not None
    }
    return rows or {(dataset_type, "", "")}


def _write(tx: Transaction, collection: str, rows: Iterable[_Row]) -> int:
    fresh = sorted(rows)
    if fresh:
        types, names, values = zip(*fresh, strict=True)
        columns = {
            "collection": [collection] * len(fresh), "dataset_type": types, "governor": names, "value": values
        }  # fmt: skip
        tx.put_columns("collection_summary", columns, fresh=True)
        _known(tx, collection).update(fresh)
    return len(fresh)


def _known(tx: Transaction, collection: str) -> set[_Row]:
    """What the schema's summary of a collection says; completed from its datasets where it has none yet."""
    collections = _KNOWN.setdefault(tx, {})
    if collection not in collections:
        collections[collection] = set(_summary_rows(tx, collection))
        if not collections[collection]:
            exact, _ = _exact(tx, collection)
            _write(tx, collection, exact)
    return collections[collection]


def _summary_rows(tx: Transaction, collection: str) -> Iterator[_Row]:
    for row in tx.select("collection_summary", ("collection",), [(collection,)]):
        yield row["dataset_type"], row["governor"], row["value"]


def refresh(tx: Transaction, collections: Iterable[str] | None = None) -> int:
    """Compute summaries of collections of the transaction's schema anew (None: of all); returns how many rows changed.

    What is said of datasets that are known nowhere here is kept.
    """
    names = _all(tx) if collections is None else dict.fromkeys(collections)
    changed = 0
    for name in names:
        forget(tx, name)
        old = set(_summary_rows(tx, name))
        exact, uncertain = _exact(tx, name)
        gone = {row for row in old - exact if row[0] not in uncertain}
        _KNOWN.setdefault(tx, {})[name] = old - gone
        keys = [
            {"collection": name, "dataset_type": type_, "governor": governor, "value": value}
            for type_, governor, value in sorted(gone)
        ]
        tx.delete("collection_summary", keys)
        changed += len(gone) + _write(tx, name, exact - old)
    return changed


def _all(tx: Transaction) -> list[str]:
    """Every collection that the schema registers, or puts datasets into."""
    parts = [
        sa.select(tx.physical("collection").c.name).where(
            tx.physical("collection").c.type != CollectionType.CHAINED.value
        ),
        *(sa.select(tx.physical(table).c.collection) for table in _RELATIONS.values()),
        sa.select(tx.physical("collection_summary").c.collection),
    ]
    return sorted(tx.connection.scalars(sa.union(*parts)))


def _exact(tx: Transaction, collection: str) -> tuple[set[_Row], set[str]]:
    """What a collection holds by this schema's rows, and the types of which some datasets are unknown here."""
    exact: set[_Row] = set()
    uncertain: set[str] = set()
    datasets = tx.physical("dataset")
    of_run = sa.select(datasets.c.dataset_type).where(datasets.c.run == collection).distinct()
    for name in list(tx.connection.scalars(of_run)):
        typed = tx.physical(name)
        exact |= _distinct(tx, name, sa.select(typed).where(typed.c.run == collection).subquery())
    for table in _RELATIONS.values():
        relation = tx.physical(table)
        here = relation.c.collection == collection
        for name in list(tx.connection.scalars(sa.select(relation.c.dataset_type).where(here).distinct())):
            of_type = sa.and_(here, relation.c.dataset_type == name)
            elsewhere = sa.select(relation.c.dataset_id).where(of_type).distinct()
            if name in tx.tables:
                typed = tx.physical(name)
                same = typed.c.dataset_id == relation.c.dataset_id
                members = sa.select(typed).join_from(typed, relation, same).where(of_type)
                exact |= _distinct(tx, name, members.subquery())
                elsewhere = elsewhere.where(~sa.exists().where(same))
            orphans = [identity.bytes for identity in tx.connection.scalars(elsewhere)]
            if orphans:
                governors = governors_of(tx.registry.universe, group_of(tx, name))
                found = values_of(tx, name, governors, orphans)
                if found:
                    exact |= _rows(name, governor_values(governors, governors, found.values()))
                if len(found) < len(orphans):
                    uncertain.add(name)
    return exact, uncertain


def _distinct(tx: Transaction, dataset_type: str, members: sa.Subquery) -> set[_Row]:
    """Rows on the datasets of one type that ``members`` (rows of its table) are."""
    names = governors_of(tx.registry.universe, group_of(tx, dataset_type))
    columns = [members.c[name] for name in names] or [sa.literal(1)]
    found = tx.connection.execute(sa.select(*columns).select_from(members).distinct()).all()
    return _rows(dataset_type, governor_values(names, names, map(tuple, found))) if found else set()


def read(source: Source, names: Sequence[str]) -> dict[str, Summary]:
    """Summaries of collections by name, over all schemas here; a chain's is that of its children together."""
    members = {name: flatten(source, name) for name in names}
    wanted = [(one,) for one in dict.fromkeys(one for some in members.values() for one in some)]
    types: dict[str, dict[str, dict[str, set[str]]]] = {one: {} for (one,) in wanted}
    unknown: set[str] = set()
    registered: set[str] = set()
    for view in views(source):
        said = set()
        for collection, type_, governor, value in view.rows("collection_summary", ("collection",), wanted):
            said.add(collection)
            governors = types[collection].setdefault(type_, {})
            if governor:
                governors.setdefault(governor, set()).add(value)
        here = view.rows("collection", ("name",), wanted, ("name", "type"))
        for collection, _ in here:
            registered.add(collection)
            if collection not in said:
                unknown.add(collection)
    return {
        name: Summary(
            _merged([types[one] for one in some]),
            not any(one in unknown or one not in registered for one in some),
        )
        for name, some in members.items()
    }


def _merged(
    summaries: Sequence[Mapping[str, Mapping[str, set[str]]]],
) -> dict[str, dict[str, frozenset[str]]]:
    merged: dict[str, dict[str, frozenset[str]]] = {}
    for summary in summaries:
        for type_, governors in summary.items():
            into = merged.setdefault(type_, {})
            for governor, values in governors.items():
                into[governor] = into.get(governor, frozenset()) | values
    return merged
