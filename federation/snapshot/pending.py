"""Lookups gathered for the next round: each id and key is asked for once."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from federation.snapshot.lookup import RowsByIds, RowsByKeys, RowsByTimespan

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterable

    from federation.model.timespan import Timespan
    from federation.snapshot.lookup import Lookup, Requests

__all__ = ["Pending"]


class Pending:
    """What is to be asked in the next round, and what has been asked before."""

    def __init__(self) -> None:
        self._ids: dict[tuple[str, str, str], set[uuid.UUID]] = defaultdict(set)
        self._ids_asked: dict[tuple[str, str, str], set[uuid.UUID]] = defaultdict(set)
        self._keys: dict[tuple[str, tuple[str, ...]], set[tuple[Any, ...]]] = defaultdict(set)
        self._keys_asked: dict[tuple[str, tuple[str, ...]], set[tuple[Any, ...]]] = defaultdict(set)
        self._names: dict[tuple[str, str, tuple[Timespan, ...]], set[str]] = defaultdict(set)

    def ask_ids(self, table: str, column: str, ids: Iterable[uuid.UUID], *, follow: str = "") -> None:
        """Ask for rows by UUID, but for ids asked before."""
        place = (table, column, follow)
        self._ids[place].update(set(ids) - self._ids_asked[place])

    def ask_keys(self, table: str, columns: tuple[str, ...], keys: Iterable[tuple[Any, ...]]) -> None:
        """Ask for rows by value tuples, but for those asked before."""
        place = (table, columns)
        self._keys[place].update(set(keys) - self._keys_asked[place])

    def ask_timespans(self, table: str, column: str, name: str, timespans: tuple[Timespan, ...]) -> None:
        """Ask for rows of ``name`` by time; the caller keeps what it has asked for."""
        if timespans:
            self._names[table, column, timespans].add(name)

    def take(self) -> Requests:
        """Everything gathered, as the lookups of one round in a fixed order."""
        requests: list[Lookup] = []
        for (table, column, follow), ids in sorted(self._ids.items()):
            if ids:
                requests.append(RowsByIds(table, column, frozenset(ids), follow))
                self._ids_asked[table, column, follow] |= ids
        for (table, columns), keys in sorted(self._keys.items()):
            if keys:
                requests.append(RowsByKeys(table, columns, frozenset(keys)))
                self._keys_asked[table, columns] |= keys
        requests.extend(
            RowsByTimespan(table, column, frozenset(names), timespans)
            for (table, column, timespans), names in self._names.items()
        )
        self._ids.clear()
        self._keys.clear()
        self._names.clear()
        return tuple(requests)
