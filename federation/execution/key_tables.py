"""Tables of shipped keys in a site's database: arrays of parameters on PostgreSQL, a temporary table on SQLite."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
from sqlglot import exp

from federation.model.logical import LogicalType
from federation.planner.pushdown import conjuncts
from federation.planner.scopes import binder
from federation.wire.arrow import logical_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "PARAM",
    "ArrayParameters",
    "Dialect",
    "KeyColumns",
    "fill_key_table",
    "is_key_name",
    "key_columns",
    "key_source",
    "lower_key_conditions",
    "with_placeholders",
]

Dialect = Literal["sqlite", "postgresql"]

#: (name, type) of the columns of one table of keys
KeyColumns = tuple[tuple[str, LogicalType], ...]

#: schema of the tables that hold shipped keys
PARAM = "param"

_KEY_NAME = re.compile(r"[a-z_][a-z0-9_]{0,40}\Z")
_MARKER = re.compile('"\0([^\0"]*)\0"')
#: marks the parameter with the different values of a column of keys
_DIFFERENT = " different"
#: rows that go to SQLite at a time
_FILL_ROWS = 10_000
_ARRAY_TYPES: dict[LogicalType, str] = {
    LogicalType.INT64: "bigint",
    LogicalType.FLOAT64: "double precision",
    LogicalType.BOOL: "boolean",
    LogicalType.STRING: "text",
    LogicalType.BYTES: "bytea",
    LogicalType.UUID: "uuid",
    LogicalType.TIMESTAMP: "bigint",
}


def is_key_name(name: str) -> bool:
    """Whether a table of keys may have this name."""
    return _KEY_NAME.match(name) is not None


def key_columns(keys: pa.Table) -> KeyColumns:
    """What `lower` must know of a table of keys."""
    return tuple((field.name, logical_of(field.type)) for field in keys.schema)


def key_source(name: str, columns: KeyColumns, dialect: Dialect, alias: exp.TableAlias) -> exp.Expr:
    """What stands in FROM for a table of keys."""
    if dialect == "sqlite":
        return exp.Table(this=_identifier(f"param_{name}"), db=_identifier("temp"), alias=alias)
    expressions = [
        exp.Alias(
            this=exp.Anonymous(this="unnest", expressions=[_array(name, column, kind)]),
            alias=_identifier(column),
        )
        for column, kind in columns
    ]
    # in the list of a SELECT the arrays, which are equally long, go in step
    return exp.Subquery(this=exp.Select(expressions=expressions), alias=alias)


def _identifier(name: str) -> exp.Identifier:
    return exp.to_identifier(name, quoted=True)


def _array(name: str, column: str, kind: LogicalType) -> exp.Expr:
    # a NUL can't be in a statement, so that no text of the caller's can look like this
    marker = exp.Column(this=_identifier(f"\0{name}.{column}\0"))
    return exp.Cast(this=marker, to=exp.DataType.build(f"{_ARRAY_TYPES[kind]}[]", dialect="postgres"))


def with_placeholders(text: str) -> str:
    """PostgreSQL's text with psycopg's placeholders for the arrays, and every other percent sign doubled."""
    return _MARKER.sub(lambda found: f"%({found[1]})s", text.replace("%", "%%"))


def lower_key_conditions(
    tree: exp.Expr, key_of: Callable[[str], tuple[str, KeyColumns] | None], dialect: Dialect
) -> None:
    """Write conditions on tables of keys as the database evaluates them fastest, in place; they mean the same.

    ``key_of`` says which table of keys a table of the qualified tree stands for, if any. On PostgreSQL ``x IN (SELECT
    value FROM keys)`` becomes ``x = ANY (array)``, which uses indexes and is hashed otherwise; EXISTS over several
    columns gets such a condition on the first of them beside it, since an index is looked up by a list of values faster
    than row by row, even one that begins with another column. On SQLite EXISTS over several columns of keys becomes a
    row's IN, for which SQLite uses an index or builds one.
    """
    if dialect == "postgresql":
        for condition in list(tree.find_all(exp.In)):
            query = condition.args.get("query")
            inner = query.unnest() if query is not None else None
            found = _only_keys(inner, key_of)
            shown = (
                inner.selects[0].unalias() if found is not None and isinstance(inner, exp.Select) else None
            )
            if found is None or not isinstance(shown, exp.Column) or _has_conditions(inner):
                continue
            kind = dict(found[1])[shown.name]
            array = _array(found[0], shown.name, kind)
            condition.replace(_is_any(condition.this, array))
    for exists in list(tree.find_all(exp.Exists)):
        inner = exists.this
        found = _only_keys(inner, key_of)
        pairs = _equalities(inner) if found is not None and _is_required(exists) else []
        if not pairs or found is None:
            continue
        if dialect == "sqlite":
            exists.replace(_row_in(inner, pairs))
        else:
            column, other = pairs[0]
            values = _array(found[0], column.name + _DIFFERENT, dict(found[1])[column.name])
            exists.replace(exp.and_(_is_any(other, values), exists.copy(), copy=False))


def _is_any(value: exp.Expr, array: exp.Expr) -> exp.Expr:
    return exp.EQ(this=value.copy(), expression=exp.Any(this=exp.paren(array)))


def _only_keys(
    query: exp.Expr | None, key_of: Callable[[str], tuple[str, KeyColumns] | None]
) -> tuple[str, KeyColumns] | None:
    """The one table of keys that a plain SELECT reads."""
    parts = {"expressions", "from_", "where", "kind"}
    if not isinstance(query, exp.Select) or any(v and n not in parts for n, v in query.args.items()):
        return None
    from_ = query.args.get("from_")
    source = from_.this if from_ is not None else None
    return key_of(source.name) if isinstance(source, exp.Table) else None


def _has_conditions(query: exp.Expr | None) -> bool:
    return query is not None and query.args.get("where") is not None


def _is_required(condition: exp.Expr) -> bool:
    """Whether WHERE holds only where ``condition`` does, so that NULL for false makes no difference."""
    node = condition.parent
    while isinstance(node, (exp.And, exp.Paren)):
        node = node.parent
    return isinstance(node, exp.Where)


def _equalities(query: exp.Select) -> list[tuple[exp.Column, exp.Expr]]:
    """(column of the keys, what it must equal) where the conditions are nothing else; empty otherwise."""
    where = query.args.get("where")
    found = []
    for condition in conjuncts(where.this if where else None):
        if not isinstance(condition, exp.EQ):
            return []
        sides = [condition.this, condition.expression]
        own = [isinstance(side, exp.Column) and binder(side) is query for side in sides]
        if sum(own) != 1:
            return []
        key, other = sides if own[0] else reversed(sides)
        if any(binder(used) is query for used in other.find_all(exp.Column)) or other.find(exp.Query):
            return []
        found.append((key, other))
    return found


def _row_in(query: exp.Select, pairs: Sequence[tuple[exp.Column, exp.Expr]]) -> exp.Expr:
    keys = exp.Select(
        expressions=[exp.alias_(key.copy(), key.name, quoted=True) for key, _ in pairs],
        from_=query.args["from_"].copy(),
    )
    others = [other.copy() for _, other in pairs]
    row = others[0] if len(others) == 1 else exp.Tuple(expressions=others)
    return exp.In(this=row, query=exp.Subquery(this=keys))


class ArrayParameters(Mapping[str, str]):
    """The parameters of `with_placeholders` for tables of keys, made when they are asked for.

    Each is the text of an array, which the driver quotes as a whole: from a list it would make that text value by
    value, which takes longer than most lookups of them do.
    """

    def __init__(self, keys: Mapping[str, pa.Table]) -> None:
        self._keys = keys

    def __getitem__(self, parameter: str) -> str:
        name, _, column = parameter.partition(".")
        values = self._keys[name].column(column.removesuffix(_DIFFERENT))
        if isinstance(values.type, pa.BaseExtensionType):
            values = pa.chunked_array([chunk.storage for chunk in values.chunks], values.type.storage_type)
        return _array_text(values.unique() if column.endswith(_DIFFERENT) else values)

    def __iter__(self) -> Iterator[str]:
        for name, keys in self._keys.items():
            yield from (f"{name}.{column}" for column in keys.column_names)

    def __len__(self) -> int:
        return sum(keys.num_columns for keys in self._keys.values())


def _array_text(values: pa.Array | pa.ChunkedArray) -> str:
    """An array as PostgreSQL reads it: https://www.postgresql.org/docs/15/arrays.html#ARRAYS-IO."""
    kind = values.type
    if pa.types.is_timestamp(kind):
        values = values.cast(pa.int64())
    found: list[Any] = values.to_pylist()
    if pa.types.is_string(kind):
        texts = ["NULL" if value is None else _quoted_element(value) for value in found]
    elif pa.types.is_binary(kind):
        texts = ["NULL" if value is None else f'"\\\\x{value.hex()}"' for value in found]
    elif pa.types.is_fixed_size_binary(kind):  # of UUIDs
        texts = ["NULL" if value is None else value.hex() for value in found]
    else:
        texts = ["NULL" if value is None else str(value) for value in found]
    return "{" + ",".join(texts) + "}"


def _quoted_element(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def fill_key_table(cursor: Any, name: str, keys: pa.Table) -> None:
    """Make ``temp."param_<name>"`` in SQLite; it goes with the transaction."""
    columns = ", ".join(f'"{column}"' for column in keys.column_names)
    marks = ", ".join("?" * keys.num_columns)
    cursor.execute(f'CREATE TABLE temp."param_{name}" ({columns})')
    cursor.executemany(f'INSERT INTO temp."param_{name}" VALUES ({marks})', _rows(keys))


def _rows(keys: pa.Table) -> Iterator[tuple[Any, ...]]:
    for start in range(0, keys.num_rows, _FILL_ROWS):
        part = keys.slice(start, _FILL_ROWS)
        columns = [
            [value.bytes if isinstance(value, uuid.UUID) else value for value in _values(column)]
            for column in part.columns
        ]
        yield from zip(*columns, strict=True)


def _values(values: pa.ChunkedArray) -> list[Any]:
    """Keys as Python values: UUIDs as `uuid.UUID`, timestamps as TAI nanoseconds."""
    if logical_of(values.type) is LogicalType.TIMESTAMP:
        values = values.cast(pa.int64())
    found: list[Any] = values.to_pylist()
    return found
