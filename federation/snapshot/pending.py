"""Lookups gathered for the next round: each id and key is asked for once."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import attrs

from federation.snapshot.lookup import RowsByIds, RowsByKeys, RowsByTimespan
from federation.snapshot.packed_ids import PackedIds

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterable

    from federation.model.timespan import Timespan
    from federation.snapshot.lookup import Lookup, Requests

__all__ = ["Pending"]


#: definitions before what they explain, when both are asked for in one round
_ORDER = {
    "dataset_type": 0,
    "user_table": 0,
    "collection": 1,
    "collection_chain": 2,
    "provenance": 3,
    "dataset": 4,
    "calibration": 5,
}


@attrs.frozen(order=True)
class _Place:
    """Ids that are asked for together."""

    table: str
    column: str
    follow: str = ""
    depth: int | None = attrs.field(default=None, order=False)
    stop_at: tuple[str, ...] = ()


class Pending:
    """What is to be asked in the next round, and what has been asked before."""

    def __init__(self) -> None:
        #: end to end, since they may be many
        self._ids: dict[_Place, bytearray] = defaultdict(bytearray)
        self._ids_asked: dict[_Place, set[uuid.UUID]] = defaultdict(set)
        self._members = bytearray()
        self._member_tables: tuple[str, ...] = ()
        self._keys: dict[tuple[str, tuple[str, ...]], set[tuple[Any, ...]]] = defaultdict(set)
        self._keys_asked: dict[tuple[str, tuple[str, ...]], set[tuple[Any, ...]]] = defaultdict(set)
        self._names: dict[tuple[str, str, tuple[Timespan, ...]], set[str]] = defaultdict(set)

    def ask_ids(self, table: str, column: str, ids: Iterable[uuid.UUID]) -> None:
        """Ask for rows by UUID, but for ids asked before."""
        place = _Place(table, column)
        for one in set(ids) - self._ids_asked[place]:
            self._ids[place] += one.bytes
            self._ids_asked[place].add(one)

    def ask_members(self, tables: tuple[str, ...], member: uuid.UUID) -> None:
        """Ask for the rows of a member in tables, each time the same ones; it is not remembered here."""
        self._member_tables = tables
        self._members += member.bytes

    def ask_key_once(self, table: str, columns: tuple[str, ...], key: tuple[Any, ...]) -> None:
        """Ask for rows by a value tuple that the caller asks for once only; it is not remembered here."""
        self._keys[table, columns].add(key)

    def ask_once(
        self,
        table: str,
        column: str,
        identity: uuid.UUID,
        *,
        follow: str = "",
        depth: int | None = None,
        stop_at: tuple[str, ...] = (),
    ) -> None:
        """Ask for rows by a UUID that the caller gives once only, unless `ask_ids` did; it is not remembered here."""
        place = _Place(table, column, follow, depth, stop_at)
        if identity not in self._ids_asked.get(place, ()):
            self._ids[place] += identity.bytes

    def ask_keys(self, table: str, columns: tuple[str, ...], keys: Iterable[tuple[Any, ...]]) -> None:
        """Ask for rows by value tuples, but for those asked before."""
        place = (table, columns)
        new = set(keys) - self._keys_asked[place]
        self._keys[place] |= new
        self._keys_asked[place] |= new

    def ask_timespans(self, table: str, column: str, name: str, timespans: tuple[Timespan, ...]) -> None:
        """Ask for rows of ``name`` by time; the caller keeps what it has asked for."""
        if timespans:
            self._names[table, column, timespans].add(name)

    def take(self) -> Requests:
        """Everything gathered, as the lookups of one round: definitions first."""
        requests: list[Lookup] = []
        if self._members:
            members = PackedIds.joined(self._members)  # one for all tables
            requests.extend(RowsByIds(table, "dataset_id", members) for table in self._member_tables)
            self._members.clear()
        for place, ids in sorted(self._ids.items()):
            if ids:
                requests.append(
                    RowsByIds(
                        place.table,
                        place.column,
                        PackedIds.joined(ids),
                        place.follow,
                        place.depth,
                        place.stop_at,
                    )
                )
        for (table, columns), keys in sorted(self._keys.items()):
            if keys:
                requests.append(RowsByKeys(table, columns, keys))
        requests.extend(
            RowsByTimespan(table, column, frozenset(names), timespans)
            for (table, column, timespans), names in self._names.items()
        )
        self._ids.clear()
        self._keys.clear()
        self._names.clear()
        return tuple(sorted(requests, key=lambda lookup: _ORDER.get(lookup.table, len(_ORDER))))
