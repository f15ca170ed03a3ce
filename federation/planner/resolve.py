"""Which logical table each name in FROM means: a schema's, a chain of schemas', a WITH query or a virtual one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from federation.errors import ForbiddenError
from federation.model.suggestion import suggest
from federation.planner.draft import Arm, Draft, Relation
from federation.planner.position import position_of
from federation.planner.virtual import SCHEMA, VIRTUAL_TABLES, literal_table

if TYPE_CHECKING:
    from federation.model.catalog import FederationCatalog, SchemaCatalog
    from federation.model.logical import ColumnDef, TableDef
    from federation.model.position import SchemaId

__all__ = ["best_copy", "chain_order", "folded", "resolve_tables", "visible_cte"]


def folded(identifier: exp.Expr) -> str:
    """A name as SQL compares it: lower case unless it was quoted."""
    name: str = identifier.name
    return name if identifier.args.get("quoted") else name.lower()


def best_copy(catalog: FederationCatalog, schema: SchemaId) -> SchemaCatalog:
    """The copy that says best what a schema has: the owner's, else the least stale, unfiltered ones first."""
    return min(
        (held for _, held in catalog.holders(schema)),
        key=lambda held: (
            bool(held.partial_tables),
            float("inf") if held.staleness_s is None else held.staleness_s,
        ),
    )


def resolve_tables(draft: Draft) -> None:
    """Rule: replace every table name by that of a `Relation` (``#1``, ``#2``, ...), keeping its alias."""
    for table in list(draft.tree.find_all(exp.Table)):
        cte = visible_cte(table) if not table.db else None
        if cte is not None:
            name = exp.to_identifier(folded(cte), quoted=True)
            if not table.alias:
                table.set("alias", exp.TableAlias(this=_renamed(table.this, folded(table.this))))
            table.set("this", name)
            continue
        if table.args.get("alias") and table.args["alias"].columns:
            raise draft.error(
                "columns of a table can't be renamed in FROM",
                table,
                hint="use a sub-select with column aliases",
            )
        relation = _relation(draft, table)
        draft.relations[relation.name] = relation
        if not table.alias:
            table.set("alias", exp.TableAlias(this=_renamed(table.this, table.name)))
        table.set("db", None)
        table.set("catalog", None)
        table.set("this", exp.to_identifier(relation.name, quoted=True))


def _renamed(identifier: exp.Expr, name: str) -> exp.Identifier:
    fresh = exp.to_identifier(name, quoted=True)
    fresh.meta.update(identifier.meta)
    return fresh


def visible_cte(table: exp.Table) -> exp.Expr | None:
    """The name of the WITH query that a bare table name refers to, if one is in scope."""
    name = folded(table.this)
    node: exp.Expr = table
    while node.parent is not None:
        parent = node.parent
        with_ = parent.args.get("with_") if isinstance(parent, exp.Query) else None
        if with_ is not None and with_ is not node:
            for cte in with_.expressions:
                if folded(cte.args["alias"].this) == name:
                    return cte.args["alias"].this  # type: ignore[no-any-return]
        elif isinstance(parent, exp.With):
            # inside one of its queries: those before it are in scope, and itself when it is recursive
            for cte in parent.expressions:
                if cte is node and not parent.args.get("recursive"):
                    break
                if folded(cte.args["alias"].this) == name:
                    return cte.args["alias"].this  # type: ignore[no-any-return]
                if cte is node:
                    break
        node = parent
    return None


def _relation(draft: Draft, table: exp.Table) -> Relation:
    name = f"#{len(draft.relations) + 1}"
    position = position_of(table)
    if table.db.lower() == SCHEMA and not table.catalog:
        virtual = table.name.lower()
        if virtual not in VIRTUAL_TABLES:
            raise draft.error(
                f"schema {SCHEMA} has no table {table.name!r}",
                table.this,
                hint=suggest(table.name, VIRTUAL_TABLES, "its tables"),
            )
        literal = draft.literal_tables.setdefault(virtual, literal_table(virtual, draft.catalog))
        return Relation(name, virtual, VIRTUAL_TABLES[virtual], (), (), True, position, literal)
    schemas = (_named_schema(draft, table),) if table.db else chain_order(draft)
    arms = _arms(draft, table, schemas)
    columns = _columns(draft, table, arms)
    return Relation(name, arms[0].table.name, columns, arms[0].table.key, arms, bool(table.db), position)


def chain_order(draft: Draft) -> tuple[SchemaId, ...]:
    """Schemas in the order a bare name is looked up: the caller's chain, the home site's own, then all others."""
    known = draft.catalog.schemas
    order: dict[SchemaId, None] = {}
    for name in draft.options.chain:
        found = [schema for schema in known if name in _spellings(schema)]
        if not found:
            _check_permitted(draft, name)
            if draft.options.partial and draft.catalog.unreachable:
                continue
            raise draft.error(
                f"unknown schema {name!r} in the chain",
                hint=suggest(name, (s.name for s in known), "schemas"),
            )
        order.update(dict.fromkeys(found))
    order.update(dict.fromkeys(schema for schema in known if schema.site == draft.catalog.home))
    order.update(dict.fromkeys(known))
    return tuple(order)


def _spellings(schema: SchemaId) -> tuple[str, str, str]:
    return schema.name, f"{schema.name}@{schema.site}", str(schema)


def _named_schema(draft: Draft, table: exp.Table) -> SchemaId:
    name = table.db.lower()
    found = [schema for schema in draft.catalog.schemas if name in _spellings(schema)]
    if table.catalog:
        found = [schema for schema in found if schema.site == table.catalog.lower()]
    if len(found) == 1:
        return found[0]
    if found:
        choices = " or ".join(f'"{schema.name}@{schema.site}".{table.name}' for schema in found)
        raise draft.error(
            f"schema {table.db!r} exists at {len(found)} sites", table.args["db"], hint=f"write {choices}"
        )
    _check_permitted(draft, name, table.catalog.lower() if table.catalog else "")
    hint = suggest(table.db, (schema.name for schema in draft.catalog.schemas), "schemas")
    if draft.catalog.unreachable:
        hint += f"; {_silent(draft)}"
    shown = f"{table.catalog}.{table.db}" if table.catalog else table.db
    raise draft.error(f"unknown schema {shown!r}", table.args["db"], hint=hint)


def _check_permitted(draft: Draft, name: str, site: str = "") -> None:
    """`ForbiddenError` where the name is that of a schema which the caller may not read."""
    for schema, (message, hint) in draft.catalog.forbidden.items():
        if name in _spellings(schema) and site in ("", schema.site):
            raise ForbiddenError(message, hint=hint)


def _silent(draft: Draft) -> str:
    sites = ", ".join(sorted(draft.catalog.unreachable))
    return f"no answer from {sites}, whose schemas and tables may be unknown"


def _arms(draft: Draft, table: exp.Table, schemas: tuple[SchemaId, ...]) -> tuple[Arm, ...]:
    tables = {schema: best_copy(draft.catalog, schema).tables for schema in schemas}
    spelled = table.name
    names = {known.name for held in tables.values() for known in held}
    if spelled not in names:
        alike = sorted(known for known in names if known.lower() == spelled.lower())
        if len(alike) > 1:
            raise draft.error(
                f"table name {spelled!r} could be {' or '.join(alike)}",
                table.this,
                hint="write it in one of these spellings",
            )
        if not alike:
            where = f"schema {schemas[0].name} has no table" if table.db else "unknown table"
            hint = suggest(spelled, names, "tables")
            if draft.catalog.unreachable:
                hint += f"; {_silent(draft)}"
            raise draft.error(f"{where} {spelled!r}", table.this, hint=hint)
        spelled = alike[0]
    arms = []
    for level, schema in enumerate(schemas):
        found = next((known for known in tables[schema] if known.name == spelled), None)
        if found is not None:
            arms.append(Arm(schema, found, level))
    return tuple(arms)


def _columns(draft: Draft, table: exp.Table, arms: tuple[Arm, ...]) -> tuple[ColumnDef, ...]:
    """The columns of all arms: the nearest arm's first, then those that only others have."""
    columns: dict[str, tuple[ColumnDef, TableDef, SchemaId]] = {}
    for arm in arms:
        if arm.table.key != arms[0].table.key:
            raise draft.error(
                f"{arm.table.name} has key ({', '.join(arm.table.key)}) in {arm.schema} but "
                f"({', '.join(arms[0].table.key)}) in {arms[0].schema}",
                table,
                hint=f"name the schema: {arms[0].schema.name}.{arm.table.name}",
            )
        for column in arm.table.columns:
            other = columns.setdefault(column.name, (column, arm.table, arm.schema))
            if other[0].type is not column.type:
                raise draft.error(
                    f"{arm.table.name}.{column.name} is {column.type} in {arm.schema} "
                    f"but {other[0].type} in {other[2]}",
                    table,
                    hint=f"name the schema: {other[2].name}.{arm.table.name}",
                )
    return tuple(column for column, _, _ in columns.values())
