"""Answers that are made of one fragment's rows as they come, without the local engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from federation.execution.find_first import first_rows
from federation.model.sql_text import quoted
from federation.wire.arrow import arrow_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow as pa

    from federation.execution.gathering import Call
    from federation.execution.result_limit import ResultLimit
    from federation.planner import Plan

__all__ = ["direct_rows", "direct_schema", "is_direct", "wanted"]


def is_direct(made: Plan) -> bool:
    """Whether the rows of the plan's one fragment are the answer, or the first ones of each key are."""
    return made.find_first is not None or _passes_through(made)


def wanted(call: Call, made: Plan, limit: ResultLimit | None) -> Call:
    """The call for the fragments of a plan: they may end early where their rows are an answer that is cut anyway."""
    rows = None if limit is None or not _passes_through(made) else limit.rows_wanted
    return attrs.evolve(call, rows_wanted=rows)


def direct_rows(made: Plan, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Batches of the answer from those of the fragment."""
    if made.find_first is None:
        yield from batches
    else:
        yield from first_rows(batches, made.find_first, direct_schema(made))


def direct_schema(made: Plan) -> pa.Schema:
    """The schema of the answer; every column of such a plan has a type."""
    return arrow_schema((column.name, column.type) for column in made.columns if column.type is not None)


def _passes_through(made: Plan) -> bool:
    """Whether the local statement gives the columns of the one fragment as they are."""
    if len(made.fragments) != 1 or made.fragments[0].columns != made.columns:
        return False
    if any(column.type is None for column in made.columns):
        return False
    fragment = made.fragments[0]
    table = quoted(fragment.id)
    columns = ", ".join(f"{table}.{quoted(c.name)} AS {quoted(c.name)}" for c in made.columns)
    return made.local_sql == f"SELECT {columns} FROM {table} AS {table}"
