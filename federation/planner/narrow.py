"""A fragment's statement with conditions on its outputs, evaluated as early as they may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from federation.planner.commuting import Passage, output_columns, passage
from federation.planner.expand import column, identifier, output

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from federation.model.logical import TableDef

__all__ = ["key_condition", "narrowed"]

_PARAM = "param"
_WRAPPED = "#fragment"


def key_condition(name: str, columns: Sequence[str], values: Sequence[exp.Expr]) -> exp.Expr:
    """That ``values`` are a row of the key table ``name``, which has ``columns``."""
    alias = f"#{name}"  # no source of a statement has such a name
    source = exp.From(
        this=exp.Table(
            this=identifier(name), db=identifier(_PARAM), alias=exp.TableAlias(this=identifier(alias))
        )
    )
    if len(columns) == 1:
        keys = exp.Select(expressions=[output(column(columns[0], alias), columns[0])], from_=source)
        return exp.In(this=values[0].copy(), query=exp.Subquery(this=keys))
    equal = [
        exp.EQ(this=column(key, alias), expression=value.copy())
        for key, value in zip(columns, values, strict=True)
    ]
    matching = exp.Select(
        expressions=[output(exp.Literal.number(1), "one")],
        from_=source,
        where=exp.Where(this=exp.and_(*equal, copy=False)),
    )
    return exp.Exists(this=matching)


def narrowed(
    tree: exp.Query,
    names: Sequence[str],
    key: str,
    key_columns: Sequence[str],
    definitions: Mapping[tuple[str, str], TableDef],
) -> tuple[exp.Query, tuple[str, ...]]:
    """A copy of ``tree`` that gives only rows whose outputs ``names`` are a row of ``key``, and the conditions' texts.

    The condition goes below set operations, and below the choice of the nearest row of several schemas where rows of
    one key agree in the columns. Where it may not go into a query at all, the query becomes a sub-select.
    """
    work = _Narrowing(key, key_columns, definitions)
    done = work.query(tree.copy(), names)
    return done, tuple(dict.fromkeys(condition.sql("postgres", identify=True) for condition in work.placed))


class _Narrowing:
    def __init__(
        self, key: str, key_columns: Sequence[str], definitions: Mapping[tuple[str, str], TableDef]
    ) -> None:
        self._key, self._key_columns, self._definitions = key, key_columns, definitions
        self.placed: list[exp.Expr] = []

    def query(self, query: exp.Query, names: Sequence[str]) -> exp.Query:
        """``query`` with the condition inside it, or around it."""
        return query if self._inside(query, names) else self._around(query, names)

    def _inside(self, query: exp.Expr, names: Sequence[str]) -> bool:
        """Put the condition into a query, in place; False where it may not be there."""
        if isinstance(query, exp.Select):
            passed = passage(query, names, self._is_fixed)
            if passed is None:
                return False
            if not (isinstance(passed.source, exp.Subquery) and self._inside(passed.source, passed.columns)):
                self._add(query, [column(name, passed.alias) for name in passed.columns])
            return True
        if any(query.args.get(part) for part in ("limit", "offset", "with_")):
            return False
        if isinstance(query, exp.Subquery):
            return self._inside(query.this, names)
        if isinstance(query, exp.SetOperation):
            sides = (query.this, query.expression)
            positions = [query.named_selects.index(name) for name in names]
            for side in sides:
                own = [side.named_selects[position] for position in positions]
                if not self._inside(side, own):
                    fresh = exp.Subquery()
                    side.replace(fresh)
                    inner = side.this if isinstance(side, exp.Subquery) and not _is_modified(side) else side
                    fresh.set("this", self._around(inner, own))
            return True
        return False

    def _add(self, select: exp.Select, values: Sequence[exp.Expr]) -> None:
        condition = key_condition(self._key, self._key_columns, values)
        self.placed.append(condition)
        where = select.args.get("where")
        parts = [*([where.this] if where else []), condition]
        select.set("where", exp.Where(this=exp.and_(*parts, copy=False)))

    def _around(self, query: exp.Query, names: Sequence[str]) -> exp.Select:
        inner = exp.Subquery(this=query, alias=exp.TableAlias(this=identifier(_WRAPPED)))
        select = exp.Select(
            expressions=[output(column(name, _WRAPPED), name) for name in query.named_selects],
            from_=exp.From(this=inner),
        )
        self._add(select, [column(name, _WRAPPED) for name in names])
        return select

    def _is_fixed(self, window: exp.Window, passed: Passage) -> bool:
        """Whether the rows are of one logical table's schemas, with its key as partition, which decides the columns."""
        partition = [
            node.name for node in window.args.get("partition_by") or () if isinstance(node, exp.Column)
        ]
        source = passed.source
        arms = _arms(source.this) if isinstance(source, exp.Subquery) else []
        tables = set()
        for arm in arms:
            definition = self._scanned(arm)
            keys, columns = output_columns(arm, partition), output_columns(arm, passed.columns)
            if definition is None or keys is None or columns is None:
                return False
            tables.add(definition.name)
            fixed = {known.name for known in definition.columns if known.key_determined} | set(definition.key)
            if {used.name for used in keys} != set(definition.key) or not {c.name for c in columns} <= fixed:
                return False
        return len(tables) == 1

    def _scanned(self, arm: exp.Select) -> TableDef | None:
        """The one table that a SELECT reads."""
        from_ = arm.args.get("from_")
        table = from_.this if from_ is not None and not arm.args.get("joins") else None
        return self._definitions.get((table.db, table.name)) if isinstance(table, exp.Table) else None


def _is_modified(query: exp.Subquery) -> bool:
    return any(query.args.get(part) for part in ("limit", "offset", "order", "with_"))


def _arms(query: exp.Expr) -> list[exp.Select]:
    """The SELECTs that UNION ALL puts together; empty where something else is among them."""
    if isinstance(query, exp.Select):
        return [query]
    if isinstance(query, exp.Subquery) and not _is_modified(query):
        return _arms(query.this)
    if not isinstance(query, exp.Union) or query.args.get("distinct") or query.args.get("limit"):
        return []
    left, right = _arms(query.this), _arms(query.expression)
    return [*left, *right] if left and right else []
