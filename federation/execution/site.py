"""Runs fragments at the site that holds the tables: checked, lowered, and read in one snapshot."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import attrs
from sqlglot import exp

from federation.config.settings import QueryConfig
from federation.errors import LimitError, QueryError
from federation.execution.key_filters import check_filters, filtered_batch
from federation.execution.key_tables import key_columns
from federation.execution.lowering import Lowered, PhysicalTable, lower
from federation.execution.read_positions import check_snapshot
from federation.execution.rows import FEW_ROWS, read_batches
from federation.model.position import Position, SchemaId
from federation.planner.parse import parse_query
from federation.registry.access import Access
from federation.registry.marks import read_marks
from federation.wire.arrow import arrow_schema

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    import pyarrow as pa
    import sqlalchemy as sa

    from federation.execution.key_tables import KeyColumns
    from federation.model.logical import TableDef
    from federation.registry.marks import Mark
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema
    from federation.wire.messages import ExecuteCall

__all__ = ["Answer", "SiteExecutor"]

Answer = tuple[tuple[Position, ...], "pa.Schema", "Iterator[pa.RecordBatch]"]

#: lowered fragments that are kept
_KEPT = 256


class SiteExecutor:
    """Answers fragments from one registry; ``row_count_max`` is the site's own limit for one answer.

    ``limits`` are the site's for one fragment: time, whatever the caller would wait for, and estimated cost.
    A fragment that comes again is lowered again only when a table it could name has changed.
    """

    def __init__(
        self,
        registry: Registry,
        row_count_max: int = 10_000_000,
        access: Access | None = None,
        limits: QueryConfig = QueryConfig(),
    ) -> None:
        self.registry = registry
        self._limits = limits
        self._access = access or Access(registry)
        self.row_count_max = row_count_max
        self._tables: dict[str, tuple[Mark, dict[str, TableDef]]] = {}
        self._lowered: OrderedDict[_LoweredKey, _Prepared] = OrderedDict()
        self._lock = threading.Lock()

    def execute(self, call: ExecuteCall) -> Answer:
        """(positions that were read, Arrow schema, batches); the batches hold the snapshot until they are closed.

        Raises `QueryError` and `NotFoundError` for what the site does not run, `ForbiddenError` for a schema that the
        caller may not read, `LimitError` at a limit.
        """
        schema = arrow_schema(call.columns)
        check_filters(call.filters, call.columns)
        asked = math.inf if call.timeout_s is None else call.timeout_s
        if asked > self._limits.fragment_timeout_s:
            call = attrs.evolve(call, timeout_s=self._limits.fragment_timeout_s)
        run = self._run(call, schema)
        positions = next(run)
        return positions, schema, run

    def _run(self, call: ExecuteCall, schema: pa.Schema) -> Generator[Any, None, None]:
        """Yields the positions first, then batches."""
        database = self.registry.database
        held = self._referenced(call.sql)
        # whoever made the plan, a site believes its own grants only
        for one in held:
            self._access.check(call.user, one.schema)
        with database.read([one.physical for one in held]) as connection:
            marks = read_marks(connection, [one.physical for one in held])
            check_snapshot(self.registry.site, connection, held, marks, call.at)
            prepared = self._lower(call, connection, held, marks)
            lowered = prepared.lowered
            if lowered.column_names != tuple(name for name, _ in call.columns):
                raise QueryError(
                    f"the statement gives columns {', '.join(lowered.column_names)}, "
                    f"not {', '.join(name for name, _ in call.columns)}",
                    hint="ask for the columns in their order and under their names",
                    sql=call.sql,
                )
            yield tuple(_position(one, mark) for one, mark in zip(held, marks, strict=True))
            limit = min(filter(None, (call.row_count_max, self.row_count_max)))
            row_count = read_count = 0
            for batch in read_batches(
                database,
                connection,
                lowered,
                call,
                schema,
                self._limits.fragment_cost_max,
                expects_few=prepared.row_count <= FEW_ROWS,
            ):
                read_count += batch.num_rows
                if call.filters:
                    batch = filtered_batch(batch, call.filters)
                    if not batch.num_rows:
                        continue
                row_count += batch.num_rows
                if row_count > limit:
                    raise LimitError(
                        f"site {self.registry.site}: more than {limit} rows for one fragment",
                        hint="narrow the WHERE clause, add a LIMIT, or raise row_count_max in [query]",
                    )
                yield batch
            prepared.row_count = read_count

    def _referenced(self, sql: str) -> tuple[HeldSchema, ...]:
        """The schemas held here that a fragment names; `lower` refuses any other."""
        found = (self.registry.find(SchemaId(*name.split("/", 1))) for name in sorted(_named_schemas(sql)))
        return tuple(held for held in found if held is not None)

    def _lower(
        self, call: ExecuteCall, connection: sa.Connection, held: Sequence[HeldSchema], marks: Sequence[Mark]
    ) -> _Prepared:
        tables = tuple(self._tables_of(connection, one, mark) for one, mark in zip(held, marks, strict=True))
        keys = {name: key_columns(table) for name, table in call.keys.items()}
        key = _LoweredKey(call.sql, tuple(held), tuple(keys.items()))
        with self._lock:
            found = self._lowered.get(key)
            if found is not None and found.tables == tables:
                self._lowered.move_to_end(key)
                return found
        physical = {
            (str(one.schema), name): PhysicalTable(one.physical, table, one.schema.site)
            for one, known in zip(held, tables, strict=True)
            for name, table in known.items()
        }
        kind = self.registry.database.kind
        made = _Prepared(tables, lower(call.sql, kind, physical, keys, for_reading=True))
        with self._lock:
            self._lowered[key] = made
            if len(self._lowered) > _KEPT:
                self._lowered.popitem(last=False)
        return made

    def _tables_of(self, connection: sa.Connection, held: HeldSchema, mark: Mark) -> dict[str, TableDef]:
        """Logical tables of a schema; the same object as long as they are the same tables."""
        with self._lock:
            known = self._tables.get(held.physical)
        if known is not None and known[0] == mark:
            return known[1]
        tables = self.registry.tables_in(connection, held.physical)
        if known is not None and known[1] == tables:
            tables = known[1]
        with self._lock:
            self._tables[held.physical] = (mark, tables)
        return tables


@attrs.frozen
class _LoweredKey:
    """What a lowered statement depends on besides the tables."""

    sql: str
    held: tuple[HeldSchema, ...]
    keys: tuple[tuple[str, KeyColumns], ...]


@attrs.define(eq=False)
class _Prepared:
    """A lowered statement, and how many rows it gave the last time: infinite before it gave any."""

    tables: tuple[dict[str, TableDef], ...]
    lowered: Lowered
    row_count: float = math.inf


@lru_cache(maxsize=_KEPT)
def _named_schemas(sql: str) -> frozenset[str]:
    return frozenset(table.db for table in parse_query(sql).find_all(exp.Table) if "/" in table.db)


def _position(held: HeldSchema, mark: Mark) -> Position:
    return Position(held.schema.site, held.schema.name, mark.epoch, mark.lsn)
