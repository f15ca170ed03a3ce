"""What a statement gives: its output columns, their order, and the number of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from federation.errors import QueryError
from federation.model.logical import LogicalType, dimension_tables
from federation.queries.joins import dimensions_of
from federation.queries.names import ElementField, Key
from federation.queries.sources import COLLECTION_FIELDS
from federation.queries.sql import column, output
from federation.queries.values import Values

if TYPE_CHECKING:
    from federation.model.dimension import DimensionGroup
    from federation.queries.names import Names
    from federation.queries.selection import OrderKey, Selection
    from federation.queries.values import Columns

__all__ = ["Results"]

#: (SQL, name) of an output column
_Output = tuple[str, str]


@attrs.frozen(eq=False)
class Results:
    """Writes the statements over ``body``, which is FROM and WHERE; ``target`` are the dimensions of a result.

    ``distinct`` when the body may give one result several times.
    """

    names: Names
    selection: Selection
    target: DimensionGroup
    columns: Columns
    body: str
    distinct: bool

    def select(self, *, keys_only: bool = False) -> str:
        """The statement for all columns, or for those that identify a result."""
        keys, rest = self._outputs()
        outputs = (keys if keys_only else [*keys, *rest]) or [("1", "one")]
        order = [(self._order_sql(key), " DESC" * key.descending) for key in self.selection.order]
        limited = self._limited()
        items = ", ".join(output(sql, name) for sql, name in outputs)
        if not self.distinct:
            ordered = ", ".join(sql + direction for sql, direction in order)
            return f"SELECT {items} {self.body}{f' ORDER BY {ordered}' if order else ''}{limited}"
        if not order:
            return f"SELECT DISTINCT {items} {self.body}{limited}"
        # SELECT DISTINCT can be ordered by its output columns only
        hidden = ", ".join(output(sql, f"order {place}") for place, (sql, _) in enumerate(order))
        shown = ", ".join(column("found", name) for _, name in outputs)
        ordered = ", ".join(
            column("found", f"order {place}") + direction for place, (_, direction) in enumerate(order)
        )
        inner = f"SELECT DISTINCT {items}, {hidden} {self.body}"
        return f'SELECT {shown} FROM ({inner}) AS "found" ORDER BY {ordered}{limited}'

    def count(self) -> str:
        """The statement whose only value ``n`` is the number of results."""
        if not self.distinct and self.selection.row_limit is None:
            return f'SELECT count(*) AS "n" {self.body}'
        keys = self._outputs()[0] or [("1", "one")]
        if self._has_id:
            keys = keys[:1]
        items = ", ".join(output(sql, name) for sql, name in keys)
        inner = f"SELECT {'DISTINCT ' * self.distinct}{items} {self.body}{self._limited()}"
        return f'SELECT count(*) AS "n" FROM ({inner}) AS "found"'

    @property
    def _has_id(self) -> bool:
        return self.selection.target == "dataset"

    def _limited(self) -> str:
        limit = self.selection.row_limit
        return "" if limit is None else f" LIMIT {limit}"

    def _outputs(self) -> tuple[list[_Output], list[_Output]]:
        """What identifies a result, and the rest."""
        required = [(self.columns.key(name), name) for name in self.target.required]
        if self._has_id:
            type_ = self.names.dataset_types[0]
            rest = [*self.target.implied, *(field.name for field in type_.metadata)]
            identity = [(self.columns.of_dataset(type_.name, name), name) for name in ("dataset_id", "run")]
            return [*identity, *required], [
                (self.columns.of_dataset(type_.name, name), name) for name in rest
            ]
        if self.selection.target == "record":
            name = self.selection.element
            table = next(t for t in dimension_tables(self.names.universe) if t.name == name)
            others = [c for c in table.column_names if c not in table.key]
            return [(column(name, c), c) for c in table.key], [(column(name, c), c) for c in others]
        implied = self.target.implied if self.selection.expanded else ()
        return required, [(self.columns.key(name), name) for name in implied]

    def _order_sql(self, key: OrderKey) -> str:
        meaning = self.names.resolve(key.name, key.text)
        value = Values(self.names, self.columns, key.text).of(key.name)
        if isinstance(meaning, Key):
            has_one = meaning.dimension in self.target.names
        elif isinstance(meaning, ElementField):
            element = self.names.universe[meaning.element]
            has_one = set(dimensions_of(element)) <= set(self.target.names)
        else:
            has_one = self._has_id and meaning.field not in COLLECTION_FIELDS
        if self.distinct and not has_one:
            raise QueryError(
                f"one result may have several values of {key.text!r}",
                hint="order by dimensions of the result, or by their fields",
                sql=key.text,
                position=0,
            )
        if value.type is LogicalType.BYTES:
            raise QueryError(
                f"{key.text!r} has no order", hint="order by another name", sql=key.text, position=0
            )
        return value.sql
