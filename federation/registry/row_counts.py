"""How many rows the tables of a schema have: counted where that is cheap, about as many where it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["COUNTED_ROWS_MAX", "RowCount", "count_rows"]

#: tables of PostgreSQL with more rows than this are not counted at all
COUNTED_ROWS_MAX = 200_000
#: of a table that had more rows than this the last count is kept, until it has been asked for so often
KEPT_ROWS_MIN, _RECOUNTED_LOOKS = 20_000, 100


@attrs.frozen
class RowCount:
    """Rows of a table; with ``is_exact`` so many, else about so many. ``looks`` counts the times it was not counted."""

    row_count: int
    is_exact: bool = True
    looks: int = 0


def count_rows(
    connection: sa.Connection,
    schema: str,
    tables: Mapping[str, sa.Table],
    known: Mapping[str, RowCount] | None = None,
) -> dict[str, RowCount]:
    """Rows of the tables of a physical schema by logical name; ``known`` is what was said before, by the same names.

    A large table is not read after every commit: PostgreSQL has an estimate of its own, and a count stands for a while.
    A count of 0 is always of now.
    """
    known = known or {}
    large = _estimated(connection, schema)
    found: dict[str, RowCount] = {}
    for name, table in tables.items():
        last = known.get(name)
        if table.name in large:
            found[name] = RowCount(large[table.name], is_exact=False)
        elif last is not None and last.row_count > KEPT_ROWS_MIN and last.looks < _RECOUNTED_LOOKS:
            found[name] = RowCount(last.row_count, is_exact=False, looks=last.looks + 1)
    counted = [name for name in tables if name not in found]
    if counted:
        counts = sa.union_all(
            *(
                sa.select(sa.literal(number).label("number"), sa.func.count().label("n")).select_from(
                    tables[name]
                )
                for number, name in enumerate(counted)
            )
        )
        found |= {counted[row.number]: RowCount(row.n) for row in connection.execute(counts)}
    return found


def _estimated(connection: sa.Connection, schema: str) -> dict[str, int]:
    """PostgreSQL's own estimate of the rows of its large tables: counting them would read them whole."""
    if connection.dialect.name != "postgresql":
        return {}
    found = connection.execute(
        sa.text(
            "SELECT c.relname, c.reltuples::bigint AS n FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace "
            "WHERE s.nspname = :schema AND c.relkind = 'r' AND c.reltuples >= :least"
        ),
        {"schema": schema, "least": COUNTED_ROWS_MAX},
    )
    return {row.relname: row.n for row in found}
