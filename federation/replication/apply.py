"""Applying a source's changes to its replica: rows and watermark in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import sqlalchemy as sa

from federation.changelog import LogState, decode_changes, log_state, move_to
from federation.changelog.log import log_tables
from federation.errors import CorruptionError, EpochError, UnavailableError, UserError
from federation.killpoints import killpoint
from federation.model.change import Operation
from federation.registry.bulk import delete_columns, upsert_columns
from federation.registry.registry import DECLARING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from federation.model.change import Change
    from federation.model.logical import TableDef
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema
    from federation.replication.state import Apply
    from federation.wire.messages import BootstrapPart

__all__ = ["apply_bootstrap", "apply_entries"]

Key = tuple[Any, ...]


class _Moved(Exception):  # noqa: N818 - not an error: it rolls the transaction back
    """Another follower has moved the watermark."""


def apply_entries(registry: Registry, held: HeldSchema, step: Apply) -> bool:
    """Apply verified entries to a replica; False, with nothing changed, when it no longer stands at ``step.previous``.

    All or nothing: the entries' rows and the watermark commit together.
    """
    registry.check_writable()
    try:
        with registry.database.write(held.physical) as connection:
            if _locked_state(connection, held) != step.previous:
                raise _Moved
            killpoint("apply.before_rows")
            replica = _Replica(registry, held, connection)
            for entry in step.entries:
                for change in decode_changes(entry.body):
                    replica.add(change)
            replica.flush()
            killpoint("apply.before_watermark")
            if not move_to(connection, held.physical, step.previous, step.target):
                raise _Moved
            killpoint("apply.before_commit")
    except _Moved:
        return False
    killpoint("apply.after_commit")
    return True


def apply_bootstrap(registry: Registry, held: HeldSchema, parts: Iterable[BootstrapPart]) -> LogState:
    """Replace all rows of a replica by a copy of its source, and set the watermark to the copy's position.

    Nothing changes unless the copy is complete: `UnavailableError` when it breaks off, `CorruptionError` when its
    parts are of different positions.
    """
    registry.check_writable()
    with registry.database.write(held.physical) as connection:
        previous = _locked_state(connection, held)
        replica = _Replica(registry, held, connection)
        replica.clear()
        target = None
        for part in _complete(held, parts):
            state = LogState(part.epoch, part.lsn, part.chain)
            if target not in (None, state):
                raise CorruptionError(
                    f"the copy of {held.schema} mixes two positions", hint="it is asked for again"
                )
            target = state
            for change in decode_changes(part.body):
                replica.add(change)
            replica.flush()
        assert target is not None
        if not move_to(connection, held.physical, previous, target):
            raise UnavailableError(f"another process follows {held.schema} too", hint="end one of the two")
        killpoint("bootstrap.before_commit")
    return target


def _locked_state(connection: sa.Connection, held: HeldSchema) -> LogState:
    """Where the replica stands, once no other follower is applying to it."""
    connection.execute(sa.select(log_tables(held.physical).state.c.id).with_for_update())
    return log_state(connection, held.physical)


def _complete(held: HeldSchema, parts: Iterable[BootstrapPart]) -> Iterator[BootstrapPart]:
    for part in parts:
        yield part
        if part.last:
            return
    raise UnavailableError(f"the copy of {held.schema} broke off", hint="it is asked for again")


@attrs.define
class _Pending:
    """What several changes come to for one table: the last word on every key, in order of the last words."""

    columns: tuple[str, ...] = ()
    rows: dict[Key, tuple[Any, ...] | None] = attrs.field(factory=dict)


class _Replica:
    """The tables of a replica inside one transaction; `flush` writes what `add` collected."""

    def __init__(self, registry: Registry, held: HeldSchema, connection: sa.Connection) -> None:
        self._registry, self._held, self._connection = registry, held, connection
        self._tables = registry.tables_in(connection, held.physical)
        self._pending: dict[str, _Pending] = {}

    def _physical(self, name: str) -> sa.Table:
        return self._registry.physical_tables(self._held.physical, tuple(self._tables.values()))[name]

    def clear(self) -> None:
        """Remove every row."""
        for name in self._tables:
            self._connection.execute(self._physical(name).delete())

    def add(self, change: Change) -> None:
        """Take in one change; a new dataset type gets its table at once."""
        table = self._tables.get(change.table)
        if table is None:
            raise EpochError(
                f"{self._held.schema}: a change to table {change.table!r}, which was never declared",
                hint="the replica is copied anew",
            )
        pending = self._pending.setdefault(change.table, _Pending())
        if change.operation is Operation.DELETE:
            if change.columns != table.key:
                raise self._unknown_columns(table, change)
            for key in change.rows:
                pending.rows.pop(key, None)
                pending.rows[key] = None
            return
        if not set(table.key) <= set(change.columns) <= set(table.stored_names):
            raise self._unknown_columns(table, change)
        if change.table in DECLARING:
            for row in change.rows:
                values = dict(zip(change.columns, row, strict=True))
                self._declare(self._registry.declared_table(change.table, values))
        if change.columns != pending.columns:
            if pending.rows:
                self._write(change.table, pending)
            pending.columns = change.columns
        places = [change.columns.index(name) for name in table.key]
        for row in change.rows:
            key = tuple(row[place] for place in places)
            pending.rows.pop(key, None)
            pending.rows[key] = row

    def _unknown_columns(self, table: TableDef, change: Change) -> UserError:
        return UserError(
            f"{self._held.schema}: a change to {table.name} has columns {', '.join(change.columns)}, "
            f"this site knows {', '.join(table.stored_names)}",
            hint="bring both sites to one version of software and universe",
        )

    def _declare(self, table: TableDef) -> None:
        known = self._tables.get(table.name)
        is_same = known is not None and _stored_form(known) == _stored_form(table)
        if is_same and sa.inspect(self._connection).has_table(
            table.physical_name, schema=self._held.physical
        ):
            self._tables[table.name] = table
            return
        if table.name in self._pending:
            self._write(table.name, self._pending.pop(table.name))
        self._tables[table.name] = table
        physical = self._physical(table.name)
        if not is_same:  # what a dropped declaration left behind has other columns
            physical.drop(self._connection, checkfirst=True)
        physical.create(self._connection, checkfirst=True)

    def flush(self) -> None:
        """Write what was collected."""
        for name, pending in self._pending.items():
            self._write(name, pending)
        self._pending.clear()

    def _write(self, name: str, pending: _Pending) -> None:
        table, physical, connection = self._tables[name], self._physical(name), self._connection
        rows = [row for row in pending.rows.values() if row is not None]
        gone = [key for key, row in pending.rows.items() if row is None]
        delete_columns(connection, physical, table, tuple(zip(*gone, strict=True)))
        columns = tuple(zip(*rows, strict=True))
        try:
            upsert_columns(connection, physical, table, pending.columns, columns)
        except sa.exc.IntegrityError:
            if not table.unique:
                raise
            # a row took over another's unique values: only the state after the last entry is without conflict
            delete_columns(connection, physical, table, tuple(zip(*pending.rows, strict=True)))
            upsert_columns(connection, physical, table, pending.columns, columns)
        pending.rows.clear()


def _stored_form(table: TableDef) -> object:
    """What of a table's definition its physical table shows; units and descriptions may change without it."""
    columns = [(column.name, column.type, column.nullable) for column in table.stored]
    return table.physical_name, columns, table.key, table.unique, table.indexes
