"""Queries as immutable values that run when their results are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import attrs

from federation.errors import UserError
from federation.model.data_id import DataId, ExpandedDataId
from federation.model.dataset import DatasetRef
from federation.queries import objects
from federation.queries.objects import DimensionRecord
from federation.queries.runner import QueryRunner
from federation.queries.selection import Options, Selection, conditions_from, order_key

if TYPE_CHECKING:
    import pyarrow as pa

    from federation.execution.result import Result
    from federation.planner import Plan
    from federation.queries.statement import Statement

__all__ = ["DataIdQuery", "DatasetQuery", "DimensionRecordQuery", "Query"]

T_co = TypeVar("T_co", covariant=True)


@attrs.frozen(eq=False)
class Query(Generic[T_co]):
    """A query that has not run; each method that changes it gives a new one. Iteration gives objects.

    Every use runs it anew. Raises `QueryError` where an expression is wrong, `NotFoundError` for unknown names,
    `UnavailableError` and `LimitError` as SQL does.
    """

    _runner: QueryRunner = attrs.field(repr=False)
    _selection: Selection
    _options: Options

    def where(
        self,
        *conditions: str | Mapping[str, Any],
        bind: Mapping[str, Any] | None = None,
        **data_id: Any,
    ) -> Self:
        """Narrowed by expressions, by mappings from names to values (a data ID), and by keyword values.

        A sequence as a value stands for any of its members. ``bind`` gives values to names in the expressions.
        """
        found = conditions_from(conditions, bind, data_id, self._runner.universe)
        return self._evolve(conditions=(*self._selection.conditions, *found))

    def order_by(self, *names: str) -> Self:
        """Ordered by names, after the order that it has already; ``"-name"`` puts the greatest first."""
        return self._evolve(order=(*self._selection.order, *map(order_key, names)))

    def limit(self, row_count: int | None) -> Self:
        """At most so many results; None for all."""
        if row_count is not None and (
            isinstance(row_count, bool) or not isinstance(row_count, int) or row_count < 0
        ):
            raise UserError(f"limit {row_count!r} is not a number of rows", hint="pass 0 or more, or None")
        return self._evolve(row_limit=row_count)

    def _evolve(self, **changes: Any) -> Self:
        return attrs.evolve(self, selection=attrs.evolve(self._selection, **changes))

    # -- answers ----------------------------------------------------------------------------------------------

    @property
    def sql(self) -> str:
        """The statement it stands for."""
        return self._statement().sql

    def explain(self) -> Plan:
        """Which site would run what; nothing is run."""
        return self._runner.explain(self.sql, self._options)

    def count(self) -> int:
        """How many results there are."""
        table = self._runner.result(self._statement().count_sql, self._options).table
        return int(table.column("n")[0].as_py())

    def exists(self) -> bool:
        """Whether there is any result."""
        if self._selection.row_limit == 0:
            return False
        first = attrs.evolve(self._selection, order=(), row_limit=1)
        sql = self._runner.compile(first, self._options).keys_sql
        return self._runner.result(sql, self._options).row_count > 0

    def any(self) -> bool:
        """The same as `exists`."""
        return self.exists()

    def result(self) -> Result:
        """All results as `Session.query` gives them: with their positions, and what a partial answer lacks."""
        return self._runner.result(self.sql, self._options)

    def to_arrow(self) -> pa.Table:
        """All results as an Arrow table."""
        return self.result().table

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Results as Arrow batches, as they arrive."""
        return self._runner.batches(self.sql, self._options)

    def to_pandas(self) -> Any:
        """A pandas frame; needs pandas."""
        try:
            return self.to_arrow().to_pandas()
        except ImportError as error:
            raise UserError(
                "pandas is not installed", hint="pip install pandas, or use to_arrow()"
            ) from error

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError

    def _statement(self) -> Statement:
        return self._runner.compile(self._selection, self._options)


class DatasetQuery(Query[DatasetRef]):
    """Datasets of one type; columns are dataset_id, run, the dimensions and the type's metadata."""

    def __iter__(self) -> Iterator[DatasetRef]:
        statement = self._statement()
        name = self._selection.searches[0].dataset_type
        for batch in self._runner.batches(statement.keys_sql, self._options):
            yield from objects.dataset_refs(batch, name, statement.group.required)


class DataIdQuery(Query[DataId]):
    """Data IDs; columns are the required dimensions."""

    def __iter__(self) -> Iterator[DataId]:
        statement = self._statement()
        for batch in self._runner.batches(statement.keys_sql, self._options):
            yield from objects.data_ids(batch, statement.group.required)

    def expanded(self) -> ExpandedDataIdQuery:
        """With the implied dimensions too."""
        selection = attrs.evolve(self._selection, expanded=True)
        return ExpandedDataIdQuery(self._runner, selection, self._options)


class ExpandedDataIdQuery(Query[ExpandedDataId]):
    """Data IDs with the values that they imply, None where no record gives one."""

    def __iter__(self) -> Iterator[ExpandedDataId]:
        statement = self._statement()
        for batch in self._runner.batches(statement.sql, self._options):
            group = statement.group
            yield from objects.expanded_data_ids(batch, group.required, group.implied)


class DimensionRecordQuery(Query[DimensionRecord]):
    """Records of one element; columns are those of its table."""

    def __iter__(self) -> Iterator[DimensionRecord]:
        names: tuple[str, ...] = ()
        for batch in self._runner.batches(self.sql, self._options):
            names = names or tuple(batch.schema.names)
            yield from objects.records(batch, self._selection.element, names)
