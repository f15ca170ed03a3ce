"""A fragment's text, checked and rewritten for the database that a site has; no I/O.

A site trusts nobody's SQL: the text is parsed afresh, every node, function, table and column is checked against what
fragments may hold, and what the database gets is written anew over its physical tables.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import attrs
from sqlglot import ErrorLevel, exp
from sqlglot.errors import UnsupportedError

from federation.errors import NotFoundError, QueryError
from federation.execution.constants import take_constants
from federation.execution.key_tables import (
    PARAM,
    Dialect,
    KeyColumns,
    is_key_name,
    key_source,
    lower_key_conditions,
    with_placeholders,
)
from federation.execution.packed_scan import PackedScan, packed_scan
from federation.execution.sequence import in_sequence
from federation.execution.sqlite_integers import guard_sums
from federation.model.logical import ColumnDef, LogicalType
from federation.model.timespan import parse_tai
from federation.planner.grouping import check_tree_grouping
from federation.planner.like_patterns import lowered_like
from federation.planner.literals import literal_type_of, type_tree_literals
from federation.planner.parse import parse_query
from federation.planner.position import position_of
from federation.planner.pushable import obstacle
from federation.planner.qualify import fold_names, qualify_tree
from federation.planner.resolve import visible_cte
from federation.planner.scopes import bound_columns
from federation.planner.sqltypes import logical_type

if TYPE_CHECKING:
    from collections.abc import Mapping

    from federation.model.logical import TableDef

__all__ = ["Dialect", "Lowered", "LoweredPart", "PhysicalTable", "lower"]


@attrs.frozen
class PhysicalTable:
    """Where a logical table is in the database: ``schema`` is the physical one, ``site`` the owner's name."""

    schema: str
    table: TableDef
    site: str


@attrs.frozen
class LoweredPart:
    """One statement for the site's database.

    For PostgreSQL it has psycopg's named parameters, one array for each column of keys (`ArrayParameters`), and
    every other percent sign doubled; for SQLite the caller fills ``temp."param_<key>"``, which has these columns.
    ``constants`` are the values, by position, of columns that ``sql`` leaves out because its condition fixes them.
    ``scan`` gives the same rows, where SQLite can pack them.
    """

    sql: str
    constants: Mapping[int, str | int] = attrs.field(factory=dict)
    scan: PackedScan | None = None


@attrs.frozen
class Lowered:
    """A fragment as statements for the site's database, whose rows follow each other: mostly one."""

    parts: tuple[LoweredPart, ...]
    key_names: tuple[str, ...]
    column_names: tuple[str, ...]

    @property
    def sql(self) -> str:
        """The text of the only statement."""
        (part,) = self.parts
        return part.sql


def lower(
    sql: str,
    dialect: Dialect,
    tables: Mapping[tuple[str, str], PhysicalTable],
    key_tables: Mapping[str, KeyColumns],
    *,
    for_reading: bool = False,
) -> Lowered:
    """Rewrite one fragment for a site's database.

    ``for_reading`` makes some of its columns ``constants``, and a statement in the order of listed values several
    parts; without, it is one statement with all columns.

    ``tables`` maps (``"site/schema"``, logical name) to what the site holds and the caller may read, ``key_tables``
    the name of each table of keys to its columns. Raises `QueryError` for anything that a fragment may not hold and
    `NotFoundError` for a table that is not in ``tables``.
    """
    tree: exp.Expr = parse_query(sql)
    sources = _resolve(tree, tables, key_tables)
    fold_names(tree)
    tree = qualify_tree(tree, {name: source.columns for name, source in sources.items()}, sql)
    check_tree_grouping(tree, sql)
    type_tree_literals(tree, sql)
    assert isinstance(tree, exp.Query)
    reason = obstacle(tree)
    untyped = next((select for select in tree.selects if logical_type(select) is None), None)
    if reason is None and untyped is not None:
        reason = f"the type of output {untyped.alias_or_name!r} is not known"
    if reason is not None:
        raise QueryError(
            f"not allowed in a fragment: {reason}", hint="let the planner cut the statement", sql=sql
        )
    columns = tuple(tree.named_selects)
    keys = tuple(dict.fromkeys(source.key for source in sources.values() if source.key))

    def key_of(name: str) -> tuple[str, KeyColumns] | None:
        source = sources.get(name)
        return (source.key, key_tables[source.key]) if source is not None and source.key else None

    lower_key_conditions(tree, key_of, dialect)
    for table in list(tree.find_all(exp.Table)):
        if table.name in sources:
            table.replace(_physical(table, sources[table.name], dialect))
    tree = _wrap_operands(tree)
    if dialect == "sqlite":
        tree = guard_sums(tree)
    for node in list(tree.walk()):
        if dialect == "postgresql" and isinstance(node, exp.Sum):
            _lower_sum(node)
        tree = _lower_literal(node, dialect, tree)
    parts = []
    for part in in_sequence(tree) if for_reading else (tree,):
        constants = take_constants(part) if for_reading else {}
        scan = None
        if for_reading and dialect == "sqlite":
            here = {
                (one.physical.schema, one.physical.table.physical_name): one.physical.table
                for one in sources.values()
                if one.physical is not None
            }
            scan = packed_scan(part, here, lambda made: _write(made, dialect))
        parts.append(LoweredPart(_write(part, dialect), constants, scan))
    return Lowered(tuple(parts), keys, columns)


@attrs.frozen
class _Source:
    """What one table name of a fragment stands for: a physical table or a table of keys."""

    columns: tuple[ColumnDef, ...]
    physical: PhysicalTable | None = None
    key: str = ""


def _resolve(
    tree: exp.Expr, tables: Mapping[tuple[str, str], PhysicalTable], key_tables: Mapping[str, KeyColumns]
) -> dict[str, _Source]:
    """Name every table ``#1``, ``#2``, ... and say what each is."""
    sources: dict[str, _Source] = {}
    for table in list(tree.find_all(exp.Table)):
        if table.args.get("alias") and table.args["alias"].columns:
            raise QueryError("columns of a table can't be renamed in FROM", position=position_of(table))
        if not table.alias:
            table.set("alias", exp.TableAlias(this=exp.to_identifier(table.name, quoted=True)))
        if not table.db:
            cte = visible_cte(table)
            if cte is None:
                raise NotFoundError(
                    f"table {table.name!r} has no schema",
                    hint='fragments name tables as "site/schema"."table"',
                )
            table.set(
                "this", exp.to_identifier(cte.name if cte.args["quoted"] else cte.name.lower(), quoted=True)
            )
            continue
        sources[f"#{len(sources) + 1}"] = _source(table, tables, key_tables)
        table.set("this", exp.to_identifier(f"#{len(sources)}", quoted=True))
        table.set("db", None)
    return sources


def _source(
    table: exp.Table, tables: Mapping[tuple[str, str], PhysicalTable], key_tables: Mapping[str, KeyColumns]
) -> _Source:
    if table.catalog:
        raise NotFoundError(f"unknown catalog {table.catalog!r}", hint='write "site/schema"."table"')
    if table.db == PARAM:
        if table.name not in key_tables or not is_key_name(table.name):
            raise NotFoundError(
                f"no keys named {table.name!r} were sent", hint="sent: " + (", ".join(key_tables) or "none")
            )
        columns = key_tables[table.name]
        return _Source(tuple(ColumnDef(name, kind) for name, kind in columns), key=table.name)
    physical = tables.get((table.db, table.name))
    if physical is None:
        raise NotFoundError(
            f"table {table.db}.{table.name} is not here",
            hint="ask for the catalog again; the table may have been added or dropped since",
        )
    return _Source(physical.table.columns, physical)


def _identifier(name: str) -> exp.Identifier:
    return exp.to_identifier(name, quoted=True)


def _physical(table: exp.Table, source: _Source, dialect: Dialect) -> exp.Expr:
    """The physical table, aliased as the fragment does; a sub-select where the owner's name must be filled in."""
    alias = exp.TableAlias(this=table.args["alias"].this.copy())
    if source.physical is None:
        columns = tuple((column.name, column.type) for column in source.columns)
        return key_source(source.key, columns, dialect, alias)
    physical = source.physical
    plain = exp.Table(this=_identifier(physical.table.physical_name), db=_identifier(physical.schema))
    select = table.find_ancestor(exp.Select)
    assert isinstance(select, exp.Select)
    used = {column.name for column in bound_columns(select, table.alias)}
    wanted = [column for column in physical.table.columns if column.name in used]
    if not any(column.origin for column in wanted):
        plain.set("alias", alias)
        return plain
    # as a column of a sub-select the owner's name becomes NULL where an outer join finds no row
    expressions = [
        exp.Alias(
            this=exp.Literal.string(physical.site)
            if column.origin
            else exp.Column(this=_identifier(column.name)),
            alias=_identifier(column.name),
        )
        for column in wanted
    ]
    if dialect == "postgresql":
        for expression in expressions:
            if isinstance(expression.this, exp.Literal):
                expression.set("this", exp.Cast(this=expression.this, to=exp.DataType.build("text")))
    return exp.Subquery(this=exp.Select(expressions=expressions, from_=exp.From(this=plain)), alias=alias)


def _wrap_operands(tree: exp.Expr) -> exp.Expr:
    """Make every nested operand of a set operation a plain SELECT, which both databases read in one way only."""
    number = 0
    for operation in list(tree.find_all(exp.SetOperation)):
        for name in ("this", "expression"):
            operand = operation.args[name]
            inner = operand.unnest() if isinstance(operand, exp.Subquery) else operand
            same_chain = (
                name == "this"
                and type(operand) is type(operation)
                and bool(operand.args.get("distinct")) == bool(operation.args.get("distinct"))
            )
            ordered = any(operand.args.get(part) for part in ("order", "limit", "offset", "with_"))
            if not ordered and (same_chain or isinstance(operand, exp.Select)):
                continue
            number += 1
            modifiers = {}
            if isinstance(operand, exp.Subquery) and ordered:
                modifiers = {
                    part: operand.args[part]
                    for part in ("order", "limit", "offset")
                    if operand.args.get(part)
                }
            operation.set(name, _select_all(inner, f"#operand{number}", modifiers))
    if isinstance(tree, exp.Subquery):
        modifiers = {part: tree.args[part] for part in ("order", "limit", "offset") if tree.args.get(part)}
        return _select_all(tree.this, "#statement", modifiers)
    return tree


def _select_all(query: exp.Expr, alias: str, modifiers: dict[str, exp.Expr]) -> exp.Select:
    source = exp.Subquery(this=query.copy(), alias=exp.TableAlias(this=_identifier(alias)))
    return exp.Select(
        expressions=[exp.Star()],
        from_=exp.From(this=source),
        **{name: modifier.copy() for name, modifier in modifiers.items()},
    )


def _lower_literal(node: exp.Expr, dialect: Dialect, tree: exp.Expr) -> exp.Expr:
    """Replace one typed literal by the database's own; returns the tree's root."""
    fresh: exp.Expr | None = None
    if isinstance(node, exp.Cast):
        fresh = _lower_cast(node, dialect)
    elif isinstance(node, (exp.Like, exp.Escape)) and not isinstance(node.parent, exp.Escape):
        fresh = lowered_like(node, for_sqlite=dialect == "sqlite")
    elif isinstance(node, exp.Literal) and not node.is_string and not node.this.isdigit():
        # PostgreSQL would read an exact numeric
        if dialect == "postgresql" and not isinstance(node.parent, exp.Cast):
            fresh = exp.Cast(this=node.copy(), to=exp.DataType.build("double"))
    elif isinstance(node, exp.Boolean) and dialect == "sqlite" and not isinstance(node.parent, exp.Is):
        fresh = exp.Literal.number(int(node.this))
    if fresh is None:
        return tree
    if node is tree:
        return fresh
    node.replace(fresh)
    return tree


def _lower_sum(node: exp.Sum) -> None:
    """SUM of integers, which PostgreSQL widens to numeric, as a 64-bit integer or an error."""
    argument = node.this.expressions[0] if isinstance(node.this, exp.Distinct) else node.this
    if logical_type(argument) is LogicalType.INT64:
        cast = exp.Cast(to=exp.DataType.build("bigint"))
        node.replace(cast)
        cast.set("this", node)


def _lower_cast(node: exp.Cast, dialect: Dialect) -> exp.Expr | None:
    kind = literal_type_of(node)
    if kind is LogicalType.TIMESTAMP:
        tai_ns = parse_tai(node.this.name)
        number = exp.Literal.number(abs(tai_ns))
        return number if tai_ns >= 0 else exp.paren(exp.Neg(this=number), copy=False)
    if kind is LogicalType.UUID and dialect == "sqlite":
        return exp.HexString(this=uuid.UUID(node.this.name).hex)
    if isinstance(node.this, exp.Null):
        if dialect == "sqlite":
            return exp.Null()
        if node.to.this is exp.DataType.Type.TIMESTAMP:
            return exp.Cast(this=exp.Null(), to=exp.DataType.build("bigint"))
    return None


def _write(tree: exp.Expr, dialect: Dialect) -> str:
    try:
        text = tree.sql(
            "sqlite" if dialect == "sqlite" else "postgres", identify=True, unsupported_level=ErrorLevel.RAISE
        )
    except UnsupportedError as error:
        raise QueryError(
            f"not possible on {dialect}: {error}", hint="let the planner cut the statement"
        ) from error
    return text if dialect == "sqlite" else with_placeholders(text)
