"""What entries of a log come to: laid over the rows at the position before them, it gives those after them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from federation.changelog import LogState, chain_hash, decode_changes, digest_of
from federation.errors import CorruptionError, EpochError, LimitError, LogGapError, UnavailableError
from federation.model.change import Operation
from federation.registry.registry import DECLARING
from federation.replication.replica_tables import adds_columns, stored_form
from federation.replication.row_match import chosen_rows
from federation.wire.messages import FollowFrom

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from federation.model.change import Change, LogEntry
    from federation.model.log_filter import LogFilter
    from federation.model.logical import TableDef
    from federation.model.position import SchemaId
    from federation.registry.registry import Registry
    from federation.wire.client import SiteClient

    Columns = Sequence[Sequence[Any]]
    Key = tuple[Any, ...]

__all__ = ["Overlay", "read_log"]

#: rows that are kept in memory; a replica that is further behind must catch up first
ROWS_MAX = 1_000_000


class Overlay:
    """The last word of some entries on each key they touch; ``tables`` are those at the position they follow."""

    def __init__(
        self, registry: Registry, schema: SchemaId, tables: dict[str, TableDef], position: LogState
    ) -> None:
        self._registry, self._schema = registry, schema
        self._former, self.tables = dict(tables), dict(tables)
        self.position = position
        #: tables whose former rows do not count any more: dropped, or declared anew in another form
        self.emptied: set[str] = set()
        self._touched: dict[str, dict[Key, dict[str, Any] | None]] = {}
        self._row_count = 0

    def add(self, entry: LogEntry) -> None:
        """Take in the next entry; `LimitError` when there are too many rows to keep."""
        for change in decode_changes(entry.body):
            table = self.tables.get(change.table)
            if table is None:
                raise EpochError(
                    f"{self._schema}: entry {entry.lsn} is of table {change.table!r}, which was never declared",
                    hint="run: federation replica verify --repair",
                )
            self._row_count += change.row_count
            if self._row_count > ROWS_MAX:
                raise LimitError(
                    f"{self._schema}: the replica is behind by more than {ROWS_MAX} rows at lsn "
                    f"{self.position.lsn}",
                    hint="let it catch up first: federation replica status",
                )
            self._add(change, table)
        self.position = LogState(self.position.epoch, entry.lsn, entry.chain)

    def _add(self, change: Change, table: TableDef) -> None:
        touched = self._touched.setdefault(change.table, {})
        places = [change.columns.index(name) for name in table.key]
        for row in change.rows:
            key = tuple(row[place] for place in places)
            if change.operation is Operation.DELETE:
                touched[key] = None
                if change.table in DECLARING:
                    self._forget(str(key[0]))
                continue
            values = dict(zip(change.columns, row, strict=True))
            touched[key] = {**(touched.get(key) or {}), **values}
            if change.table in DECLARING:
                declared = self._registry.declared_table(change.table, touched[key] or {})
                known = self.tables.get(declared.name)
                is_same = known is not None and stored_form(known) == stored_form(declared)
                if known is not None and not is_same and not adds_columns(known, declared):
                    self._forget(declared.name)
                self.tables[declared.name] = declared

    def _forget(self, name: str) -> None:
        self.tables.pop(name, None)
        self._touched.pop(name, None)
        self.emptied.add(name)

    def over(self, table: TableDef, chunks: Iterable[Columns]) -> Iterator[Columns]:
        """The rows of a table with the entries applied, from those at the position that they follow."""
        touched = self._touched.get(table.name, {})
        bases: dict[Key, dict[str, Any]] = {}
        if table.name not in self.emptied:
            names = self._former[table.name].stored_names if table.name in self._former else ()
            for chunk in chunks:
                columns = _with_names(chunk, names, table.stored_names)
                if not touched:
                    yield columns
                    continue
                keys = _keys(table, columns)
                for place, key in enumerate(keys):
                    if touched.get(key) is not None:
                        values = [column[place] for column in columns]
                        bases[key] = dict(zip(table.stored_names, values, strict=True))
                left = [place for place, key in enumerate(keys) if key not in touched]
                if left:
                    yield chosen_rows(columns, left)
        put = [{**bases.get(key, {}), **row} for key, row in touched.items() if row is not None]
        if put:
            yield tuple([row.get(name) for row in put] for name in table.stored_names)

    def untouched(self, table: TableDef, columns: Columns) -> Columns:
        """Of some rows those that no entry has touched."""
        touched = self._touched.get(table.name)
        if not touched:
            return columns
        return chosen_rows(
            columns, [place for place, key in enumerate(_keys(table, columns)) if key not in touched]
        )


def _with_names(columns: Columns, former: Sequence[str], names: Sequence[str]) -> Columns:
    """Columns by other names; those that were not there before are NULL."""
    if tuple(former) == tuple(names):
        return columns
    known = dict(zip(former, columns, strict=True))
    return tuple(known.get(name) or [None] * len(columns[0]) for name in names)


def _keys(table: TableDef, columns: Columns) -> list[Key]:
    return list(zip(*(columns[table.stored_names.index(name)] for name in table.key), strict=True))


def read_log(
    client: SiteClient,
    registry: Registry,
    schema: SchemaId,
    start: LogState,
    until_lsn: int,
    wanted: LogFilter,
) -> Iterator[LogEntry]:
    """The entries of a source after ``start`` up to ``until_lsn``, each checked to continue the one before.

    `EpochError` and `LogGapError` when the source has another history than ``start`` is of, or no longer what follows.
    """
    name = registry.site
    fingerprint = registry.universe.fingerprint
    asked = FollowFrom(schema, start.epoch, start.lsn, start.chain, name, fingerprint, wanted)
    lsn, chain = start.lsn, start.chain
    with client.follow(asked) as stream:
        for batch in stream:
            for entry in batch.entries:
                if entry.lsn != lsn + 1:
                    raise LogGapError(f"{schema}: expected lsn {lsn + 1}, got {entry.lsn}", hint="try again")
                if digest_of(entry.body) != (entry.body_digest or entry.digest):
                    raise CorruptionError(
                        f"{schema}: entry {entry.lsn} has another digest than announced", hint="try again"
                    )
                if chain_hash(chain, entry.digest) != entry.chain:
                    raise EpochError(
                        f"{schema}: entry {entry.lsn} does not continue the replica's history",
                        hint="it is copied when it is followed again",
                    )
                lsn, chain = entry.lsn, entry.chain
                if lsn <= until_lsn:
                    yield entry
            if lsn >= until_lsn:
                return
    raise UnavailableError(f"the log of {schema} ended at {lsn} before {until_lsn}", hint="try again")
