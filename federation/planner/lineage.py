"""Through a local statement to the fragments below it: whose values a source's columns have, and which may be filtered.

Two questions with different answers. Values of a column come from fragments also through what drops rows. A filter
reaches a fragment only through what it commutes with, and only if nothing else reads the fragment.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sqlglot import exp

from federation.planner.commuting import Passage, output_columns, passage
from federation.planner.plan import KeySource
from federation.planner.scopes import sources_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from federation.model.logical import TableDef
    from federation.planner.draft import Draft

__all__ = ["Lineage", "table_definitions"]


def table_definitions(draft: Draft) -> dict[tuple[str, str], TableDef]:
    """Every table that a relation reads, by schema and name."""
    return {
        (str(arm.schema), arm.table.name): arm.table
        for relation in draft.relations.values()
        for arm in relation.arms
    }


class Lineage:
    """Of a statement that has been cut; it must not change while this is used."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._definitions = table_definitions(draft)
        nodes = list(draft.tree.find_all(exp.Table, exp.CTE))
        tables = [node for node in nodes if isinstance(node, exp.Table)]
        # a table's way up through a union of many is as long as the union
        names = {node.alias for node in nodes if isinstance(node, exp.CTE)}
        named = [table for table in tables if table.name in names]
        self._ctes = {id(table): cte for table in named if (cte := _cte_of(table)) is not None}
        self._fragment_uses = Counter(table.name for table in tables if self._fragment(table))
        self._cte_uses = Counter(id(cte) for cte in self._ctes.values())

    def _fragment(self, table: exp.Table) -> str | None:
        """The fragment whose rows a table node stands for."""
        return table.name if id(table) not in self._ctes and table.name in self._draft.cut else None

    def values(self, node: exp.Expr, names: Sequence[str]) -> tuple[KeySource, ...] | None:
        """Fragments that together have every row of values of the outputs ``names``; None where they are not known."""
        if isinstance(node, exp.Table):
            cte = self._ctes.get(id(node))
            if cte is not None:
                return None if _is_recursive(cte) else self.values(cte.this, names)
            fragment = self._fragment(node)
            return None if fragment is None else (KeySource(fragment, tuple(names)),)
        if isinstance(node, exp.Subquery):
            return self.values(node.this, names)
        if isinstance(node, exp.Union):
            return _together(self.values(arm, own) for arm, own in _arms(node, names))
        if isinstance(node, exp.SetOperation):
            return self.values(node.this, names)
        if isinstance(node, exp.Select):
            columns = output_columns(node, names)
            if columns is None:
                return None
            source = sources_of(node)[columns[0].table]
            return self.values(source, [column.name for column in columns])
        return None

    def filtered(self, node: exp.Expr, names: Sequence[str]) -> tuple[KeySource, ...] | None:
        """Fragments whose rows may be left out where the outputs ``names`` are no key; None where that is not so."""
        if isinstance(node, exp.Table):
            cte = self._ctes.get(id(node))
            if cte is not None:
                alone = self._cte_uses[id(cte)] == 1 and not _is_recursive(cte)
                return self.filtered(cte.this, names) if alone else None
            fragment = self._fragment(node)
            if fragment is None or self._fragment_uses[fragment] > 1:
                return None
            return (KeySource(fragment, tuple(names)),)
        if any(node.args.get(part) for part in ("limit", "offset")):
            return None
        if isinstance(node, exp.Subquery):
            return self.filtered(node.this, names)
        if isinstance(node, exp.SetOperation):
            return _together(self.filtered(arm, own) for arm, own in _arms(node, names))
        if isinstance(node, exp.Select):
            passed = passage(node, names, self._is_fixed)
            return None if passed is None else self.filtered(passed.source, passed.columns)
        return None

    def never_null(self, node: exp.Expr, name: str) -> bool:
        """Whether an output is NULL in no row, by what the tables declare."""
        if isinstance(node, exp.Table):
            cte = self._ctes.get(id(node))
            if cte is not None:
                return not _is_recursive(cte) and self.never_null(cte.this, name)
            fragment = self._fragment(node)
            if fragment is not None:
                return self.never_null(self._draft.cut[fragment].tree, name)
            table = self._definitions.get((node.db, node.name))
            return table is not None and name in table.column_names and not table.column(name).nullable
        if isinstance(node, exp.Subquery):
            return self.never_null(node.this, name)
        if isinstance(node, exp.SetOperation):
            return all(self.never_null(arm, own[0]) for arm, own in _arms(node, [name]))
        if isinstance(node, exp.Select):
            columns = output_columns(node, [name])
            if columns is None or any(join.side for join in node.args.get("joins") or ()):
                return False
            return self.never_null(sources_of(node)[columns[0].table], columns[0].name)
        return False

    def _is_fixed(self, window: exp.Window, passed: Passage) -> bool:
        """Whether a partition is a key of one logical table, whose rows in several schemas agree in the columns.

        Then a filter keeps all of them or none.
        """
        partition = [
            node.name for node in window.args.get("partition_by") or () if isinstance(node, exp.Column)
        ]
        arms = self.values(passed.source, [*partition, *passed.columns])
        if not arms:
            return False
        tables = set()
        for arm in arms:
            scanned = self._scanned(arm)
            if scanned is None:
                return False
            table, columns = scanned
            fixed = {column.name for column in table.columns if column.key_determined} | set(table.key)
            if (
                set(columns[: len(partition)]) != set(table.key)
                or not set(columns[len(partition) :]) <= fixed
            ):
                return False
            tables.add(table.name)
        return len(tables) == 1

    def _scanned(self, source: KeySource) -> tuple[TableDef, tuple[str, ...]] | None:
        """The one table that a fragment reads, and which of its columns the fragment's are."""
        tree = self._draft.cut[source.fragment].tree
        columns = output_columns(tree, source.columns) if isinstance(tree, exp.Select) else None
        if columns is None or not isinstance(tree, exp.Select) or tree.args.get("joins"):
            return None
        table = tree.args["from_"].this
        definition = self._definitions.get((table.db, table.name)) if isinstance(table, exp.Table) else None
        if definition is None:
            return None
        return definition, tuple(column.name for column in columns)


def _together(found: Iterable[tuple[KeySource, ...] | None]) -> tuple[KeySource, ...] | None:
    """All of them, where each is known."""
    sources: list[KeySource] = []
    for part in found:
        if part is None:
            return None
        sources.extend(part)
    return tuple(sources)


def _arms(node: exp.SetOperation, names: Sequence[str]) -> list[tuple[exp.Expr, list[str]]]:
    """What a chain of set operations of one kind puts together, each with its names for the outputs ``names``."""
    arms: list[exp.Expr] = []
    operand: exp.Expr = node
    while type(operand) is type(node) and (
        operand is node or not any(operand.args.get(part) for part in ("limit", "offset", "with_"))
    ):
        arms.append(operand.args["expression"])
        operand = operand.this
    arms.append(operand)
    arms.reverse()
    first = _named(arms[0])
    places = [first.index(name) if name in first else len(first) for name in names]
    found = []
    for arm in arms:
        own = [*_named(arm), ""]
        found.append((arm, [own[min(place, len(own) - 1)] for place in places]))
    return found


def _named(node: exp.Expr) -> list[str]:
    return list(node.named_selects) if isinstance(node, exp.Query) else []


def _cte_of(table: exp.Table) -> exp.Expr | None:
    """The WITH query that a table node names; of several of that name the nearest."""
    if table.db:
        return None
    node: exp.Expr = table
    while node.parent is not None:
        parent = node.parent
        with_ = parent.args.get("with_") if isinstance(parent, exp.Query) else parent
        if isinstance(with_, exp.With) and with_ is not node:
            for cte in with_.expressions:
                if cte.alias == table.name and not (parent is with_ and cte is node):
                    return cte  # type: ignore[no-any-return]
                if cte is node:
                    if cte.alias == table.name and with_.args.get("recursive"):
                        return cte
                    break
        node = parent
    return None


def _is_recursive(cte: exp.Expr) -> bool:
    return isinstance(cte.parent, exp.With) and bool(cte.parent.args.get("recursive"))
