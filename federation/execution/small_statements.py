"""Local statements of the plainest shapes over few rows, run on Arrow: the engine plans them longer than they take.

Tables joined on equal columns, or one after another; filtered, ordered, the first of each key, cut. Whatever else a
statement has, or a value whose place in an order is a matter of convention, is left to the engine.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, TypeGuard

import attrs
import pyarrow as pa
import pyarrow.compute as pc
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from federation.execution.engine_types import typed
from federation.planner.pushdown import conjuncts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from federation.planner.plan import OutputColumn

__all__ = ["run_small"]

#: rows of all tables together, beyond which the engine is quicker
_ROWS_MAX = 50_000
#: rows that a join can have at most
_PAIRS_MAX = 2_000_000
_KERNELS: dict[type[exp.Expr], str] = {
    exp.EQ: "equal",
    exp.NEQ: "not_equal",
    exp.LT: "less",
    exp.LTE: "less_equal",
    exp.GT: "greater",
    exp.GTE: "greater_equal",
}
_KEPT = 256
#: kinds of which equal values are the same bytes
_KEY_TYPES = frozenset({pa.int64(), pa.string(), pa.binary(16), pa.timestamp("ns")})
#: kinds that are compared as in SQL
_COMPARED_TYPES = _KEY_TYPES | {pa.float64()}

#: (alias, column)
_Name = tuple[str, str]


@attrs.frozen
class _Scan:
    """Columns of a table, under the names that a statement knows them by."""

    table: str
    columns: tuple[tuple[_Name, str], ...] | None = None
    alias: str = ""


@attrs.frozen
class _Condition:
    """A comparison of a column with a value or with another column, by the name of Arrow's kernel."""

    kernel: str
    left: _Name
    right: _Name | str | int | float


@attrs.frozen
class _Statement:
    """``scans`` follow each other, or each is joined to those before it; then the rest of SELECT, in its order.

    ``joins`` are, for each scan after the first, pairs of (column of an earlier one, its own column) that are equal.
    """

    scans: tuple[_Scan, ...]
    joins: tuple[tuple[tuple[_Name, _Name], ...], ...]
    conditions: tuple[_Condition, ...]
    order: tuple[tuple[_Name, bool], ...]
    first_of: tuple[_Name, ...]
    limit: int | None
    outputs: tuple[_Name, ...]


def run_small(tables: Mapping[str, pa.Table], sql: str, columns: Sequence[OutputColumn]) -> pa.Table | None:
    """What the local statement gives of ``tables``; None where it is the engine's work."""
    counts = [table.num_rows for table in tables.values()]
    if sum(counts) > _ROWS_MAX or any(column.type is None for column in columns):
        return None
    found = _read(sql)
    if found is None or any(scan.table not in tables for scan in found.scans):
        return None
    parts = [_scanned(tables[scan.table], scan) for scan in found.scans]
    rows = _joined(parts, found.joins) if found.joins else _stacked(parts)
    rows = None if rows is None else _filtered(rows, found.conditions)
    rows = None if rows is None else _ordered(rows, found)
    if rows is None:
        return None
    rows = rows.slice(0, found.limit)
    shown = pa.table(
        [rows.column(_flat(name)) for name in found.outputs], names=[column.name for column in columns]
    )
    return typed(shown, columns)


# -- rows -------------------------------------------------------------------------------------------------------------


def _flat(name: _Name) -> str:
    return "\0".join(name)


def _scanned(table: pa.Table, scan: _Scan) -> pa.Table:
    """The table's columns, of extension types what these are stored as: kernels know nothing else."""
    named = (
        [((scan.alias, column), column) for column in table.column_names]
        if scan.columns is None
        else scan.columns
    )
    return pa.table([_storage(table.column(of)) for _, of in named], names=[_flat(name) for name, _ in named])


def _storage(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not isinstance(column.type, pa.BaseExtensionType):
        return column
    return pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)


def _stacked(parts: Sequence[pa.Table]) -> pa.Table | None:
    if any(part.schema != parts[0].schema for part in parts):
        return None  # the engine finds a type that fits all
    return pa.concat_tables(parts)


def _joined(parts: Sequence[pa.Table], joins: Sequence[Sequence[tuple[_Name, _Name]]]) -> pa.Table | None:
    from pyarrow import acero  # takes a while, and brings pandas along where it finds it

    rows = parts[0]
    for part, pairs in zip(parts[1:], joins, strict=True):
        left, right = [_flat(one) for one, _ in pairs], [_flat(other) for _, other in pairs]
        kinds = [
            (rows.schema.field(one).type, part.schema.field(other).type)
            for one, other in zip(left, right, strict=True)
        ]
        is_large = rows.num_rows * part.num_rows > _PAIRS_MAX
        if is_large or any(one != other or one not in _KEY_TYPES for one, other in kinds):
            return None
        sources = [
            acero.Declaration("table_source", acero.TableSourceNodeOptions(side)) for side in (rows, part)
        ]
        options = acero.HashJoinNodeOptions("inner", left, right, rows.column_names, part.column_names)
        rows = acero.Declaration("hashjoin", options, sources).to_table(use_threads=False)
    return rows


def _filtered(rows: pa.Table, conditions: Sequence[_Condition]) -> pa.Table | None:
    for one in conditions:
        column = rows.column(_flat(one.left))
        other = rows.column(_flat(one.right)) if isinstance(one.right, tuple) else pa.scalar(one.right)
        if isinstance(one.right, int) and pa.types.is_floating(column.type):
            other = pa.scalar(float(one.right))
        if column.type != other.type or _has_nan(column) or column.type not in _COMPARED_TYPES:
            return None
        rows = rows.filter(pc.call_function(one.kernel, [column, other]))
    return rows


def _has_nan(column: pa.ChunkedArray) -> bool:
    """Whether there is a NaN, which in SQL is greater than any number."""
    return pa.types.is_floating(column.type) and bool(pc.any(pc.is_nan(column)).as_py())


def _ordered(rows: pa.Table, found: _Statement) -> pa.Table | None:
    if not found.order:
        return rows
    for name, _ in found.order:
        column = rows.column(_flat(name))
        # where NULL and NaN come is another matter here than in SQL
        if column.null_count or _has_nan(column):
            return None
    keys = [(_flat(name), "descending" if is_down else "ascending") for name, is_down in found.order]
    rows = rows.take(pc.sort_indices(rows, sort_keys=keys)).combine_chunks()
    if not found.first_of or not rows.num_rows:
        return rows
    is_first = pa.repeat(pa.scalar(False), rows.num_rows - 1)
    for name in found.first_of:
        column = rows.column(_flat(name)).combine_chunks()
        is_first = pc.or_(is_first, pc.not_equal(column[1:], column[:-1]))
    return rows.filter(pa.concat_arrays([pa.array([True]), is_first]))


# -- text -------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=_KEPT)
def _read(sql: str) -> _Statement | None:
    """The statement, if it is of a shape that `run_small` knows."""
    try:
        tree = sqlglot.parse_one(sql, dialect="duckdb")
    except SqlglotError:
        return None
    parts = {"expressions", "from_", "joins", "where", "order", "limit", "distinct"}
    if not isinstance(tree, exp.Select) or any(v and n not in parts for n, v in tree.args.items()):
        return None
    scans, joins = _sources(tree)
    outputs = [_column(select.unalias()) for select in tree.selects]
    where = tree.args.get("where")
    conditions = [_condition(condition) for condition in conjuncts(where.this if where else None)]
    order = [_ordering(one) for one in (tree.args["order"].expressions if tree.args.get("order") else ())]
    first_of = _first_of(tree)
    limit = tree.args.get("limit")
    count = limit.expression if isinstance(limit, exp.Limit) else None
    is_cut = count is not None and isinstance(count, exp.Literal) and count.is_int
    if not scans or first_of is None or (limit is not None and not is_cut):
        return None
    if None in outputs or None in conditions or None in order:
        return None
    made = _Statement(
        scans,
        joins,
        tuple(one for one in conditions if one is not None),
        tuple(one for one in order if one is not None),
        first_of,
        int(count.this) if is_cut and count is not None else None,
        tuple(one for one in outputs if one is not None),
    )
    # the first of each key is the first of those that follow each other
    leading = {name for name, _ in made.order[: len(first_of)]}
    return made if leading == set(first_of) or not first_of else None


def _sources(tree: exp.Select) -> tuple[tuple[_Scan, ...], tuple[tuple[tuple[_Name, _Name], ...], ...]]:
    """Tables and what must be equal between them, as in `_Statement`; nothing where FROM has anything else."""
    source, joins = tree.args["from_"].this if tree.args.get("from_") else None, tree.args.get("joins") or []
    if isinstance(source, exp.Subquery) and not joins and isinstance(source.this, exp.Query):
        return _union(source.this, source.alias), ()
    if not _is_plain(source):
        return (), ()
    scans = [_Scan(source.name, alias=source.alias_or_name)]
    found = []
    for join in joins:
        if not _is_plain(join.this) or any(v and n not in ("this", "on") for n, v in join.args.items()):
            return (), ()
        own, earlier = join.this.alias_or_name, {scan.alias for scan in scans}
        pairs = [_pair(condition, own, earlier) for condition in conjuncts(join.args.get("on"))]
        if not pairs or None in pairs:
            return (), ()
        scans.append(_Scan(join.this.name, alias=own))
        found.append(tuple(pair for pair in pairs if pair is not None))
    return tuple(scans), tuple(found)


def _pair(condition: exp.Expr, own: str, earlier: set[str]) -> tuple[_Name, _Name] | None:
    """(column of an earlier table, the table's own) that a condition equates."""
    if not isinstance(condition, exp.EQ):
        return None
    one, other = _column(condition.this), _column(condition.expression)
    if one is None or other is None:
        return None
    if one[0] == own:
        one, other = other, one
    return (one, other) if other[0] == own and one[0] in earlier else None


def _is_plain(source: object) -> TypeGuard[exp.Table]:
    """Whether it is a table by its name, with an alias at most."""
    return (
        isinstance(source, exp.Table)
        and all(not v or n in ("this", "alias") for n, v in source.args.items())
        and not source.alias_column_names
    )


def _union(query: exp.Expr, alias: str) -> tuple[_Scan, ...]:
    """Plain reads of tables, one after another, under the names of the first."""
    reads: list[exp.Select] = []
    waiting = [query]
    while waiting:
        node = waiting.pop().unnest()
        if isinstance(node, exp.Union) and not node.args.get("distinct") and not _has_more(node):
            waiting.extend((node.expression, node.this))
        elif isinstance(node, exp.Select):
            reads.append(node)
        else:
            return ()
    scans = []
    names = reads[0].named_selects
    for read in reads:
        from_ = read.args.get("from_")
        columns = [_column(select.unalias()) for select in read.selects]
        plain = all(not v or n in ("expressions", "from_") for n, v in read.args.items())
        if not plain or from_ is None or not _is_plain(from_.this) or None in columns:
            return ()
        used = [(alias, name) for name in names]
        of = [column[1] for column in columns if column is not None]
        if len(used) != len(of) or len(set(used)) < len(used):
            return ()
        scans.append(_Scan(from_.this.name, tuple(zip(used, of, strict=True))))
    return tuple(scans)


def _has_more(union: exp.Expr) -> bool:
    return any(union.args.get(part) for part in ("order", "limit", "offset", "with_", "by_name"))


def _column(node: exp.Expr) -> _Name | None:
    return (node.table, node.name) if isinstance(node, exp.Column) and node.table else None


def _condition(node: exp.Expr) -> _Condition | None:
    kernel = _KERNELS.get(type(node))
    left = _column(node.this) if kernel is not None else None
    if kernel is None or left is None:
        return None
    right = node.expression
    if isinstance(right, exp.Literal):
        value = right.this if right.is_string else int(right.this) if right.is_int else float(right.this)
        return _Condition(kernel, left, value)
    other = _column(right)
    return None if other is None else _Condition(kernel, left, other)


def _ordering(node: exp.Expr) -> tuple[_Name, bool] | None:
    name = _column(node.this) if isinstance(node, exp.Ordered) else None
    return None if name is None else (name, bool(node.args.get("desc")))


def _first_of(tree: exp.Select) -> tuple[_Name, ...] | None:
    """The columns of DISTINCT ON; None for any other DISTINCT."""
    distinct = tree.args.get("distinct")
    if distinct is None:
        return ()
    on = distinct.args.get("on")
    names = [_column(one) for one in on.expressions] if isinstance(on, exp.Tuple) else [None]
    found = tuple(name for name in names if name is not None)
    return found if found and len(found) == len(names) == len(set(found)) else None
