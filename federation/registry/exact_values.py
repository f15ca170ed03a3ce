"""What holds of every row of a table, found by its index without reading the rows: bounds, and lists of few values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from federation.model.logical import LogicalType
from federation.registry.sampling import TEXT_MAX

if TYPE_CHECKING:
    from federation.model.logical import TableDef
    from federation.model.statistics import Value

__all__ = ["ExactValues", "exact_values"]

#: different values of the leading columns together, beyond which only bounds are told
VALUES_MAX = 32

#: by column: least and greatest value, and all values where they are few
ExactValues = dict[str, tuple["Value", "Value", "tuple[Value, ...] | None"]]

_KINDS = {LogicalType.INT64, LogicalType.STRING, LogicalType.TIMESTAMP}


def exact_values(connection: sa.Connection, physical: sa.Table, table: TableDef) -> ExactValues:
    """Of the leading columns of the order that rows lie in, as long as there are few values of them together.

    Each value costs one step into the index, whatever the number of rows. Empty for a table without rows.
    """
    found: ExactValues = {}
    prefixes: list[tuple[Any, ...]] = [()]
    order = table.clustering or table.key
    for place, name in enumerate(order):
        if table.column(name).type not in _KINDS:
            break
        leading = [physical.c[one] for one in order[:place]]
        bounds = [_bounds(connection, physical.c[name], leading, prefix) for prefix in prefixes]
        present = [bound for bound in bounds if bound[0] is not None]
        if not present:
            break
        low, high = min(bound[0] for bound in present), max(bound[1] for bound in present)
        if any(isinstance(bound, str) and len(bound) > TEXT_MAX for bound in (low, high)):
            break
        longer = _longer(connection, physical.c[name], leading, prefixes)
        values = None if longer is None else tuple(sorted({prefix[-1] for prefix in longer}))
        found[name] = (low, high, values)
        if longer is None:
            break
        prefixes = longer
    return found


def _bounds(
    connection: sa.Connection, column: sa.Column[Any], leading: list[sa.Column[Any]], prefix: tuple[Any, ...]
) -> tuple[Any, Any]:
    """Least and greatest value below a prefix: two steps, as a database looks up one extreme by index, not both."""
    here = [one == value for one, value in zip(leading, prefix, strict=True)]
    least, greatest = (
        sa.select(extreme(column)).where(*here).scalar_subquery() for extreme in (sa.func.min, sa.func.max)
    )
    row = connection.execute(sa.select(least, greatest)).one()
    return row[0], row[1]


def _longer(
    connection: sa.Connection,
    column: sa.Column[Any],
    leading: list[sa.Column[Any]],
    prefixes: list[tuple[Any, ...]],
) -> list[tuple[Any, ...]] | None:
    """Every prefix with every value that follows it, from value to value over the index; None where there are many."""
    longer: list[tuple[Any, ...]] = []
    for prefix in prefixes:
        here = [one == value for one, value in zip(leading, prefix, strict=True)]
        values = sa.select(sa.func.min(column).label("v")).where(*here).cte("found", recursive=True)
        following = sa.select(sa.func.min(column)).where(*here, column > values.c.v).scalar_subquery()
        values = values.union_all(sa.select(following).where(values.c.v.is_not(None)))
        statement = sa.select(values.c.v).where(values.c.v.is_not(None)).limit(VALUES_MAX + 1)
        longer += [(*prefix, value) for value in connection.scalars(statement)]
        if len(longer) > VALUES_MAX:
            return None
    return longer
