"""Names made explicit: every column gets its source, every output a name, every expression a type."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlglot import exp
from sqlglot.errors import OptimizeError, SchemaError
from sqlglot.optimizer.qualify_columns import qualify_columns
from sqlglot.optimizer.qualify_tables import qualify_tables
from sqlglot.schema import MappingSchema

from federation.errors import QueryError
from federation.model.logical import ColumnDef, LogicalType
from federation.model.suggestion import suggest
from federation.planner.position import position_of
from federation.planner.resolve import best_copy, folded
from federation.planner.scopes import binder, sources_of
from federation.planner.sqltypes import annotate, sql_type
from federation.planner.wording import function_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from federation.planner.draft import Draft

_FRAGMENT_ID = re.compile(r"f[0-9]+\Z")

__all__ = [
    "check_columns",
    "fold_names",
    "metric_types",
    "name_outputs",
    "qualify_names",
    "qualify_tree",
    "schema_of",
    "spell_names",
]


def spell_names(draft: Draft) -> None:
    """Rule: fold names, and leave schemas to the tables of FROM."""
    _strip_schemas(draft)
    fold_names(draft.tree)


def qualify_names(draft: Draft) -> None:
    """Rule: expand ``*``, qualify every column and annotate every type."""
    columns = {name: relation.columns for name, relation in draft.relations.items()}
    hidden = {
        name: tuple(ColumnDef(spelled, type_) for spelled, (_, type_) in metrics.items())
        for name, metrics in draft.metrics.items()
    }
    draft.tree = qualify_tree(draft.tree, columns, draft.sql, hidden=hidden, metrics=metric_types(draft))


def metric_types(draft: Draft) -> dict[str, LogicalType]:
    """Every metric of every schema; one that is a number somewhere is a number."""
    known: dict[str, LogicalType] = {}
    for schema in draft.catalog.schemas:
        for name, type_ in best_copy(draft.catalog, schema).metrics.items():
            if known.get(name) is not LogicalType.FLOAT64:
                known[name] = type_
    return known


def _strip_schemas(draft: Draft) -> None:
    """Rewrite ``schema.table.column`` to ``table.column`` where the statement reads that schema's table."""
    for column in draft.tree.find_all(exp.Column):
        if not column.db:
            continue
        for table in draft.tree.find_all(exp.Table):
            relation = draft.relations.get(table.name)
            if relation is None or not relation.qualified or table.alias.lower() != column.table.lower():
                continue
            if relation.literal is not None or relation.arms[0].schema.name == column.db.lower():
                column.set("db", None)
                column.set("catalog", None)
                break
        else:
            raise draft.error(
                f"{column.db}.{column.table} is not in FROM",
                column,
                hint="name the table in FROM, or use its alias",
            )


def fold_names(tree: exp.Expr) -> None:
    """Lower the case of unquoted names, and spell qualifiers as the alias that they match."""
    aliases = {
        alias.this.name for alias in tree.find_all(exp.TableAlias) if alias.this and alias.this.args["quoted"]
    }
    aliases |= {folded(alias.this) for alias in tree.find_all(exp.TableAlias) if alias.this}
    by_lower: dict[str, set[str]] = {}
    for alias in aliases:
        by_lower.setdefault(alias.lower(), set()).add(alias)
    for column in tree.find_all(exp.Column):
        qualifier = column.args.get("table")
        if qualifier is None:
            continue
        for name in (qualifier.name, folded(qualifier), *by_lower.get(qualifier.name.lower(), ())):
            if name in aliases:
                qualifier.set("this", name)
                break
        qualifier.set("quoted", True)
    for identifier in tree.find_all(exp.Identifier):
        if not identifier.args.get("quoted"):
            identifier.set("this", identifier.name.lower())
            identifier.set("quoted", True)


def _separate_aliases(tree: exp.Expr) -> None:
    """Rename aliases that DuckDB and SQLite, which ignore case, would confuse with one another or with a fragment."""
    taken: set[str] = set()
    renamed: dict[str, str] = {}
    for alias in dict.fromkeys(node.name for node in tree.find_all(exp.TableAlias) if node.this):
        name = alias
        while name.lower() in taken or _FRAGMENT_ID.match(name.lower()):
            name += "_"
        taken.add(name.lower())
        if name != alias:
            renamed[alias] = name
    if not renamed:
        return
    for node in tree.find_all(exp.TableAlias, exp.Column, exp.Table):
        identifier = node.args.get("table") if isinstance(node, exp.Column) else node.this
        if isinstance(identifier, exp.Identifier) and identifier.name in renamed:
            identifier.set("this", renamed[identifier.name])


def schema_of(
    tables: Mapping[str, tuple[ColumnDef, ...]], hidden: Mapping[str, tuple[ColumnDef, ...]] | None = None
) -> MappingSchema:
    """The tables' columns and types as sqlglot wants them; names are compared exactly.

    ``hidden`` columns are found by their names and left out of ``*``.
    """
    more = hidden or {}
    mapping: dict[str, object] = {
        name: {column.name: sql_type(column.type) for column in (*columns, *more.get(name, ()))}
        for name, columns in tables.items()
    }
    visible: dict[str, object] | None = None
    if more:
        visible = {name: [column.name for column in columns] for name, columns in tables.items()}
    return MappingSchema(mapping, visible=visible, dialect="postgres", normalize=False)


def qualify_tree(
    tree: exp.Expr,
    tables: Mapping[str, tuple[ColumnDef, ...]],
    sql: str,
    *,
    hidden: Mapping[str, tuple[ColumnDef, ...]] | None = None,
    metrics: Iterable[str] = (),
) -> exp.Expr:
    """Qualify and annotate a tree whose table names are the keys of ``tables``; `QueryError` where that fails.

    ``hidden`` are columns that ``*`` leaves out; ``metrics`` are names that an error may suggest.
    """
    name_outputs(tree)
    schema = schema_of(tables, hidden)
    try:
        tree = qualify_tables(tree, dialect="postgres")
        tree = qualify_columns(tree, schema, dialect="postgres")
    except (OptimizeError, SchemaError) as error:
        raise _explain(tree, tables, sql, str(error), metrics) from error
    for identifier in tree.find_all(exp.Identifier):
        identifier.set("quoted", True)
    check_columns(tree, tables, sql, metrics)
    _separate_aliases(tree)
    return annotate(tree, schema)


def name_outputs(tree: exp.Expr) -> None:
    """Name the unnamed outputs of every SELECT as PostgreSQL would."""
    for select in tree.find_all(exp.Select):
        named = []
        for number, item in enumerate(select.expressions, 1):
            if isinstance(item, (exp.Alias, exp.Column, exp.Star)) or item.is_star:
                named.append(item)
            else:
                alias = exp.to_identifier(_output_name(item, number), quoted=True)
                named.append(exp.Alias(this=item, alias=alias))
        select.set("expressions", named)


def _output_name(item: exp.Expr, number: int) -> str:
    match item:
        case exp.Cast() | exp.Paren():
            return _output_name(item.this, number)
        case exp.Column():
            return str(item.name)
        case exp.Window() | exp.Filter() | exp.WithinGroup():
            return _output_name(item.this, number)
        case exp.Case():
            return "case"
        case exp.GroupConcat():
            return "string_agg"
        case exp.TimestampTrunc():
            return "date_trunc"
        case exp.LogicalAnd() | exp.LogicalOr():
            return "bool_and" if isinstance(item, exp.LogicalAnd) else "bool_or"
        case exp.Subquery() if isinstance(item.unnest(), exp.Select) and item.unnest().expressions:
            first = item.unnest().expressions[0]
            return first.alias if isinstance(first, exp.Alias) else _output_name(first, number)
        case exp.Func() if not isinstance(item, (exp.Connector, exp.Binary)):
            return function_name(item)
    return f"column{number}"


def check_columns(
    tree: exp.Expr,
    tables: Mapping[str, tuple[ColumnDef, ...]],
    sql: str,
    metrics: Iterable[str] = (),
) -> None:
    """`QueryError` for the first column that is bound to no source, and for outputs that can't be told apart."""
    for node in tree.find_all(exp.TableColumn, exp.Dot, exp.Column):
        if isinstance(node, exp.Column) and node.table:
            if binder(node) is None:
                raise _unknown_source(tree, node, sql)
        elif not (isinstance(node, exp.Column) and _names_output(node)):
            raise _unbound(node, tables, sql, metrics)
    for operation in tree.find_all(exp.SetOperation):
        left, right = len(operation.left.selects), len(operation.right.selects)
        if left != right:
            raise QueryError(
                f"{operation.key.upper()} of {left} and {right} columns",
                hint="give both sides the same number of columns",
                sql=sql,
                position=position_of(operation.right),
            )
    for subquery in tree.find_all(exp.Subquery, exp.CTE):
        if isinstance(subquery, exp.CTE) or isinstance(subquery.parent, (exp.From, exp.Join)):
            names = [select.alias_or_name.lower() for select in subquery.this.selects]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise QueryError(
                    f"sub-select {subquery.alias_or_name!r} has two columns named {twice[0]!r}",
                    hint="give them different names with AS",
                    sql=sql,
                    position=position_of(subquery.args["alias"]) or position_of(subquery),
                )


def _names_output(column: exp.Column) -> bool:
    clause = column.find_ancestor(exp.Order, exp.Distinct, exp.Select)
    if not isinstance(clause, (exp.Order, exp.Distinct)):
        return False
    query = clause.find_ancestor(exp.Query)
    return isinstance(query, exp.Query) and column.name in query.named_selects


def _visible(node: exp.Expr, tables: Mapping[str, tuple[ColumnDef, ...]]) -> dict[str, list[str]]:
    """Columns by source alias, of all SELECTs around ``node``."""
    visible: dict[str, list[str]] = {}
    ancestor = node.find_ancestor(exp.Select)
    while ancestor is not None:
        for alias, source in sources_of(ancestor).items():
            if isinstance(source, exp.Table):
                names = [column.name for column in tables.get(source.name, ())]
            else:
                names = source.named_selects if isinstance(source, exp.Subquery) else []
            visible.setdefault(alias, names)
        ancestor = ancestor.find_ancestor(exp.Select)
    return visible


def _unknown_source(tree: exp.Expr, column: exp.Column, sql: str) -> QueryError:
    aliases = [alias.name for alias in tree.find_all(exp.TableAlias)]
    return QueryError(
        f"{column.table!r} in {column.table}.{column.name} is not in FROM",
        hint=suggest(column.table, aliases, "FROM has"),
        sql=sql,
        position=position_of(column),
    )


def _column_hint(name: str, columns: Iterable[str], metrics: Iterable[str], what: str) -> str:
    """Columns and metrics that are spelled like ``name``, or else all columns."""
    if name in metrics:
        return "it is a metric: use it in the SELECT that has the table of its dataset type in FROM"
    names = list(columns)
    near = suggest(name, [*names, *metrics], what)
    return near if near.startswith("did you mean") else suggest(name, names, what)


def _unbound(
    node: exp.Expr, tables: Mapping[str, tuple[ColumnDef, ...]], sql: str, metrics: Iterable[str]
) -> QueryError:
    column = node if isinstance(node, exp.Column) else node.find(exp.Column) or node
    visible = _visible(node, tables)
    owners = [alias for alias, names in visible.items() if column.name in names]
    position = position_of(node)
    if len(owners) > 1:
        choices = " or ".join(f"{alias}.{column.name}" for alias in owners)
        return QueryError(
            f"column {column.name!r} is ambiguous", hint=f"write {choices}", sql=sql, position=position
        )
    if not visible:
        return QueryError(
            f"unknown column {column.name!r}: there is no FROM",
            hint="name a table in FROM",
            sql=sql,
            position=position,
        )
    names = [name for names in visible.values() for name in names]
    return QueryError(
        f"unknown column {column.name!r}",
        hint=_column_hint(column.name, names, metrics, "columns"),
        sql=sql,
        position=position,
    )


def _explain(
    tree: exp.Expr,
    tables: Mapping[str, tuple[ColumnDef, ...]],
    sql: str,
    message: str,
    metrics: Iterable[str],
) -> QueryError:
    """sqlglot's complaint in our words, pointing at the name it is about."""
    match = re.match(
        r"(?:Unknown column|Cannot automatically join|Unknown output column): '?\"?([^'\"\s]+)", message
    )
    if match is None:
        alias = re.match(r"Alias already used: (\S+)", message)
        if alias:
            return QueryError(
                f"{alias[1]!r} is in FROM twice",
                hint="give one of them another alias",
                sql=sql,
                position=_second(tree, alias[1]),
            )
        unknown = re.match(r"Unknown table: (\S+)", message)
        for column in tree.find_all(exp.Column):
            if unknown and column.table == unknown[1]:
                return _unknown_source(tree, column, sql)
        return QueryError(message.splitlines()[0], hint="check the names in the statement", sql=sql)
    name = match[1]
    if message.startswith("Unknown output"):
        literals = [node for node in tree.find_all(exp.Literal) if node.name == name]
        return QueryError(
            f"there is no output column {name}",
            hint="count the columns after SELECT from 1",
            sql=sql,
            position=position_of(literals[-1]) if literals else None,
        )
    for column in tree.find_all(exp.Column):
        visible = _visible(column, tables)
        if column.name == name and column.table and name not in visible.get(column.table, [name]):
            return QueryError(
                f"{column.table!r} has no column {name!r}",
                hint=_column_hint(name, visible[column.table], metrics, "its columns"),
                sql=sql,
                position=position_of(column.this),
            )
    identifiers = [node for node in tree.find_all(exp.Identifier) if node.name == name]
    every = [column.name for columns in tables.values() for column in columns]
    return QueryError(
        f"unknown column {name!r}",
        hint=_column_hint(name, every, metrics, "columns"),
        sql=sql,
        position=position_of(identifiers[0]) if identifiers else None,
    )


def _second(tree: exp.Expr, alias: str) -> int | None:
    starts = [position_of(node) for node in tree.find_all(exp.TableAlias) if node.name == alias]
    known = sorted(start for start in starts if start is not None)
    return known[-1] if known else None
