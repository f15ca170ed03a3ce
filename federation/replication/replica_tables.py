"""The tables of a replica inside one transaction: those there are, and those that arriving declarations make."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import sqlalchemy as sa

from federation.errors import EpochError, UserError
from federation.registry.registry import DECLARING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from federation.model.change import Change
    from federation.model.logical import ColumnDef, TableDef
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema

__all__ = ["ReplicaTables", "adds_columns", "stored_form"]


class ReplicaTables:
    """Logical tables by name, as ``connection`` sees them and `declare` adds to them."""

    def __init__(
        self,
        registry: Registry,
        held: HeldSchema,
        connection: sa.Connection,
        known: Mapping[str, TableDef] | None = None,
    ) -> None:
        """``known`` spares reading the tables, where it is known which there are."""
        self._registry, self._held, self._connection = registry, held, connection
        self.tables = dict(registry.tables_in(connection, held.physical) if known is None else known)

    def physical(self, name: str) -> sa.Table:
        """The physical table behind a logical one."""
        return self._registry.physical_tables(self._held.physical, tuple(self.tables.values()))[name]

    def table_of(self, change: Change) -> TableDef:
        """The table whose whole rows a change puts, made now where the rows themselves declare others.

        `EpochError` for one that was never declared, `UserError` for columns that this site does not know.
        """
        table = self._known(change)
        if not set(table.key) <= set(change.columns) <= set(table.stored_names):
            raise self._unknown_columns(table, change)
        return table

    def table_of_keys(self, change: Change) -> TableDef:
        """The table of which a change deletes rows by their keys; raises what `table_of` does."""
        table = self._known(change)
        if change.columns != table.key:
            raise self._unknown_columns(table, change)
        return table

    def _known(self, change: Change) -> TableDef:
        table = self.tables.get(change.table)
        if table is None:
            raise EpochError(
                f"{self._held.schema}: rows of table {change.table!r}, which was never declared",
                hint="the replica is copied anew",
            )
        return table

    def _unknown_columns(self, table: TableDef, change: Change) -> UserError:
        return UserError(
            f"{self._held.schema}: rows of {table.name} have columns {', '.join(change.columns)}, "
            f"this site knows {', '.join(table.stored_names)}",
            hint="bring both sites to one version of software and universe",
        )

    def declare_from(self, change: Change, *, keeps_rows: bool = False) -> None:
        """Make the tables that the rows of a change declare, if it is of a declaring table; as `declare`."""
        if change.table in DECLARING:
            for row in change.rows:
                values = dict(zip(change.columns, row, strict=True))
                self.declare(self._registry.declared_table(change.table, values), keeps_rows=keeps_rows)

    def declare(self, table: TableDef, *, keeps_rows: bool = False) -> None:
        """Make a table, in the place of one of another form that a former declaration left behind.

        Columns that came to it are added. With ``keeps_rows``, `EpochError` for another change to one that has rows.
        """
        known, connection = self.tables.get(table.name), self._connection
        is_same = known is not None and stored_form(known) == stored_form(table)
        self.tables[table.name] = table
        if is_same and sa.inspect(connection).has_table(table.physical_name, schema=self._held.physical):
            return
        physical = self.physical(table.name)
        if known is not None and not is_same:
            if _add_columns(connection, known, table, physical):
                return
            if keeps_rows and connection.execute(sa.select(sa.literal(1)).select_from(physical)).first():
                raise EpochError(
                    f"{self._held.schema}: table {table.name} is declared otherwise while it has rows",
                    hint="the replica is copied anew",
                )
        if not is_same:
            physical.drop(connection, checkfirst=True)
        physical.create(connection, checkfirst=True)


def _add_columns(connection: sa.Connection, known: TableDef, table: TableDef, physical: sa.Table) -> bool:
    """Add the columns that a table has beyond those known; False, with nothing changed, if that is not all."""
    added = adds_columns(known, table)
    if not added or not sa.inspect(connection).has_table(table.physical_name, schema=physical.schema):
        return False
    quote = connection.dialect.identifier_preparer
    for column in added:
        made = sa.schema.CreateColumn(physical.c[column.name]).compile(dialect=connection.dialect)
        connection.exec_driver_sql(f"ALTER TABLE {quote.format_table(physical)} ADD COLUMN {made}")
    return True


def adds_columns(known: TableDef, table: TableDef) -> list[ColumnDef]:
    """The nullable columns that a table has beyond those known; none where it differs in anything else."""
    old = {column.name for column in known.stored}
    added = [column for column in table.stored if column.name not in old]
    kept = attrs.evolve(table, columns=tuple(c for c in table.columns if c not in added))
    is_all = stored_form(kept) == stored_form(known) and all(column.nullable for column in added)
    return added if is_all else []


def stored_form(table: TableDef) -> object:
    """What of a table's definition its physical table shows; units and descriptions may change without it."""
    columns = [(column.name, column.type, column.nullable) for column in table.stored]
    return table.physical_name, columns, table.key, table.unique, table.indexes
