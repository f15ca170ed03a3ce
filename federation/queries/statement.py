"""A selection as one SQL statement over logical tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from federation.errors import QueryError
from federation.model.dimension import DimensionGroup, DimensionUniverse
from federation.model.logical import LogicalType, dimension_tables
from federation.queries import syntax
from federation.queries.collections import Leaf, resolve
from federation.queries.conditions import Conditions
from federation.queries.governors import GovernorCheck
from federation.queries.joins import Base, Joins, dimensions_of, join
from federation.queries.names import DatasetField, ElementField, Key, Names
from federation.queries.sources import (
    COLLECTION_FIELDS,
    DatasetSource,
    check_find_first,
    dataset_source,
    needs_rank,
)
from federation.queries.sql import column
from federation.queries.values import Values

if TYPE_CHECKING:
    from collections.abc import Iterator

    from federation.model.dataset import DatasetType
    from federation.queries.facts import Facts
    from federation.queries.names import Meaning
    from federation.queries.selection import Condition, Search, Selection

__all__ = ["Statement", "compile_selection"]


@attrs.frozen
class Statement:
    """``sql`` gives the rows; ``count_sql`` one row with their number ``n``; ``keys_sql`` what identifies them only.

    ``group`` are the dimensions of what is selected.
    """

    sql: str
    keys_sql: str
    count_sql: str
    group: DimensionGroup


def compile_selection(universe: DimensionUniverse, facts: Facts, selection: Selection) -> Statement:
    """Write the statement; `QueryError` points into the expression that is wrong."""
    return _Compiler(universe, facts, selection).statement()


@attrs.frozen(eq=False)
class _Searched:
    """One search with what is known of it."""

    search: Search
    dataset_type: DatasetType
    group: DimensionGroup
    leaves: tuple[Leaf, ...] | None


@attrs.define(eq=False)
class _Columns:
    """Where columns are (`federation.queries.values.Columns`)."""

    joins: Joins
    sources: dict[str, DatasetSource]

    def key(self, dimension: str) -> str:
        return self.joins.keys[dimension]

    def of_element(self, element: str, field: str) -> str:
        return column(element, field)

    def of_dataset(self, dataset_type: str, field: str) -> str:
        return self.sources[dataset_type].fields[field]

    def is_optional(self, element: str) -> bool:
        return element in self.joins.optional


class _InnerColumns:
    """Columns as they are before the first collection is chosen."""

    def __init__(self, dataset_type: str) -> None:
        self._alias = dataset_type

    def key(self, dimension: str) -> str:
        return column(self._alias, dimension)

    def of_element(self, element: str, field: str) -> str:
        raise AssertionError(f"{element}.{field} is not a column of datasets")

    def of_dataset(self, dataset_type: str, field: str) -> str:  # noqa: ARG002
        return column("validity", field)

    def is_optional(self, element: str) -> bool:  # noqa: ARG002
        return False


class _Compiler:
    """Writes one statement; the steps are in `statement`."""

    def __init__(self, universe: DimensionUniverse, facts: Facts, selection: Selection) -> None:
        self.universe, self.facts, self.selection = universe, facts, selection
        self.searched = [self._searched(search) for search in selection.searches]
        if selection.target == "dataset":
            self.target = self.searched[0].group
        elif selection.target == "record":
            self.target = universe.group(dimensions_of(universe[selection.element]))
        else:
            self.target = universe.group(selection.dimensions)
        dimensions = [*self.target.names, *(name for s in self.searched for name in s.group.names)]
        types = tuple(searched.dataset_type for searched in self.searched)
        self.names = Names(universe, universe.sort(set(dimensions)), types)
        self.conjuncts = [part for condition in selection.conditions for part in _conjuncts(condition)]

    def _searched(self, search: Search) -> _Searched:
        dataset_type = self.facts.dataset_type(search.dataset_type)
        leaves = (
            None
            if search.collections is None
            else resolve(self.facts, search.collections, search.dataset_type)
        )
        return _Searched(search, dataset_type, self.universe.group(dataset_type.dimensions), leaves)

    # -- what is mentioned ------------------------------------------------------------------------------------

    def meanings(self, node: syntax.Node, text: str) -> list[Meaning]:
        return [self.names.resolve(name, text) for name in syntax.names_in(node)]

    def _all_meanings(self) -> Iterator[Meaning]:
        for condition in self.selection.conditions:
            yield from self.meanings(condition.node, condition.text)
        for key in self.selection.order:
            yield self.names.resolve(key.name, key.text)

    def _related(self) -> set[frozenset[str]]:
        """Pairs of elements that the conditions relate themselves."""
        found = set()
        for condition in self.conjuncts:
            node = condition.node
            if isinstance(node, syntax.Overlaps):
                elements = {
                    m.element for m in self.meanings(node, condition.text) if isinstance(m, ElementField)
                }
                if len(elements) == 2:
                    found.add(frozenset(elements))
        return found

    # -- the statement ----------------------------------------------------------------------------------------

    def statement(self) -> Statement:
        self._check_governors()
        meanings = list(self._all_meanings())
        elements = {m.element for m in meanings if isinstance(m, ElementField)}
        if self.selection.target == "record":
            elements.add(self.selection.element)
        keys = {m.dimension for m in meanings if isinstance(m, Key)}
        spanned = {d for name in elements for d in dimensions_of(self.universe[name])}
        listed = {n for s in self.searched for n in s.group.names}
        group = self.universe.group({*self.target.names, *listed, *keys, *spanned})
        sources, inner = self._sources(meanings)
        bases = self._bases(sources, meanings, group)
        wanted = [*keys & set(group.implied), *(self.target.implied if self.selection.expanded else ())]
        try:
            joins = join(self.universe, group, bases, elements, wanted, self._related())
        except QueryError as error:
            raise self._placed(error) from error
        columns = _Columns(joins, sources)
        where = list(joins.conditions)
        for source in sources.values():
            where.extend(source.conditions)
        for condition in self.conjuncts:
            if condition not in inner:
                where.append(Conditions(Values(self.names, columns, condition.text)).of(condition.node))
        extra = set(group.required) - set(self.target.names)
        distinct = bool(extra) or any(s.may_repeat for s in sources.values())
        distinct |= self.selection.target == "data_id" and bool(self.searched)
        body = f"FROM {joins.text}" + (f" WHERE {' AND '.join(where)}" if where else "")
        return self._written(columns, body, distinct)

    def _written(self, columns: _Columns, body: str, distinct: bool) -> Statement:
        keys, rest = self._outputs(columns)
        order = self._order(columns, distinct)
        limit = self.selection.row_limit
        limited = "" if limit is None else f" LIMIT {limit}"

        def select(outputs: list[tuple[str, str]]) -> str:
            items = ", ".join(
                sql if sql == column(name) else f"{sql} AS {column(name)}" for sql, name in outputs
            )
            if not distinct:
                ordered = ", ".join(f"{sql}{' DESC' * down}" for sql, down in order)
                return f"SELECT {items} {body}{f' ORDER BY {ordered}' if order else ''}{limited}"
            hidden = [(sql, f"order {place}") for place, (sql, _) in enumerate(order)]
            inner = ", ".join(f"{sql} AS {column(name)}" for sql, name in (*outputs, *hidden))
            if not order:
                return f"SELECT DISTINCT {inner} {body}{limited}"
            shown = ", ".join(column("found", name) for _, name in outputs)
            ordered = ", ".join(
                f"{column('found', name)}{' DESC' * down}"
                for (_, name), (_, down) in zip(hidden, order, strict=True)
            )
            return (
                f'SELECT {shown} FROM (SELECT DISTINCT {inner} {body}) AS "found" ORDER BY {ordered}{limited}'
            )

        if distinct or limit is not None:
            unordered = f"SELECT {'DISTINCT ' * distinct}" + ", ".join(
                f"{sql} AS {column(name)}"
                for sql, name in (keys[:1] if self._has_id() else keys) or [("1", "one")]
            )
            count = f'SELECT count(*) AS "n" FROM ({unordered} {body}{limited}) AS "found"'
        else:
            count = f'SELECT count(*) AS "n" {body}'
        keys = keys or [("1", "one")]
        return Statement(select([*keys, *rest]), select(keys), count, self.target)

    def _has_id(self) -> bool:
        return self.selection.target == "dataset"

    # -- parts ------------------------------------------------------------------------------------------------

    def _check_governors(self) -> None:
        checks = [
            (condition, GovernorCheck(self.names, self.facts, condition.text))
            for condition in self.selection.conditions
        ]
        known = frozenset().union(*(check.fixed(condition.node) for condition, check in checks))
        for condition, check in checks:
            check.check(condition.node, known)

    def _sources(self, meanings: list[Meaning]) -> tuple[dict[str, DatasetSource], list[Condition]]:
        """Where the datasets come from, and the conditions that were applied there already."""
        sources: dict[str, DatasetSource] = {}
        applied: list[Condition] = []
        for searched in self.searched:
            name = searched.dataset_type.name
            used = {m.field for m in meanings if isinstance(m, DatasetField) and m.dataset_type == name}
            if used & COLLECTION_FIELDS and searched.leaves is None:
                field = sorted(used & COLLECTION_FIELDS)[0].partition("_")[0]
                raise self._placed(
                    QueryError(
                        f"{name}.{field} is known only of datasets in collections",
                        hint='name them: collections=["..."] or collections="*"',
                    )
                )
            inner: list[str] = []
            validity = bool(used & (COLLECTION_FIELDS - {"collection"}))
            if searched.search.find_first:
                check_find_first(searched.dataset_type, searched.leaves, validity)
            if searched.search.find_first and (validity or needs_rank(searched.leaves, True)):
                found = self._inner_conditions(searched, validity)
                inner = [
                    Conditions(Values(self.names, _InnerColumns(name), c.text)).of(c.node) for c in found
                ]
                applied.extend(found)
            if self._has_id():
                used |= {field.name for field in searched.dataset_type.metadata}
            sources[name] = dataset_source(
                searched.dataset_type,
                searched.group,
                searched.leaves,
                searched.search.find_first,
                used,
                inner,
            )
        return sources, applied

    def _inner_conditions(self, searched: _Searched, validity: bool) -> list[Condition]:
        """Conditions that choose data IDs or validity: they hold before the first collection is chosen."""
        found = []
        for condition in self.conjuncts:
            meanings = self.meanings(condition.node, condition.text)
            times = [
                m
                for m in meanings
                if isinstance(m, DatasetField) and m.field in COLLECTION_FIELDS - {"collection"}
            ]
            others = [m for m in meanings if m not in times]
            on_data_id = all(isinstance(m, Key) and m.dimension in searched.group.names for m in others)
            if times and not on_data_id:
                raise QueryError(
                    f"which {searched.dataset_type.name} comes first depends on this condition",
                    hint="pass find_first=False, or compare the validity with a fixed time",
                    sql=condition.text,
                    position=condition.node.position,
                )
            if on_data_id and meanings and (times or needs_rank(searched.leaves, True)):
                found.append(condition)
        return found

    def _bases(
        self, sources: dict[str, DatasetSource], meanings: list[Meaning], group: DimensionGroup
    ) -> list[Base]:
        bases = []
        for searched in self.searched:
            source = sources[searched.dataset_type.name]
            further = []
            if DatasetField(searched.dataset_type.name, "ingest_date", LogicalType.TIMESTAMP) in meanings:
                alias = "dataset" if len(self.searched) == 1 else f"dataset of {source.alias}"
                same = f"{column(alias, 'dataset_id')} = {source.fields['dataset_id']}"
                further.append((f"{column('dataset')} AS {column(alias)}", same))
                source.fields["ingest_date"] = column(alias, "ingest_date")
            dimensions = {name: source.fields[name] for name in searched.group.names}
            bases.append(Base(source.source, dimensions, tuple(further)))
        given = {name for base in bases for name in base.columns}
        for dimension in group.required:
            if self.universe[dimension].is_skypix and dimension not in given:
                pixels = self._pixels(dimension)
                if pixels:
                    rows = ", ".join(f"({pixel})" for pixel in pixels)
                    source_text = f"(VALUES {rows}) AS {column(dimension)}({column(dimension)})"
                    bases.append(Base(source_text, {dimension: column(dimension, dimension)}))
        return bases

    def _pixels(self, dimension: str) -> list[int]:
        """The pixels that a condition lists."""
        for condition in self.conjuncts:
            node = condition.node
            items: tuple[syntax.Node, ...] = ()
            if isinstance(node, syntax.Compare) and node.operator == "=":
                items, part = (node.right,), node.left
            elif isinstance(node, syntax.In) and not node.negated:
                items, part = node.items, node.part
            else:
                continue
            if not isinstance(part, syntax.Name) or self.names.resolve(part, condition.text) != Key(
                dimension, self.universe[dimension].key_type
            ):
                continue
            found: list[int] = []
            for item in items:
                if isinstance(item, syntax.Range):
                    found.extend(range(item.first, item.last + 1, item.step))
                elif isinstance(item, syntax.Literal) and type(item.value) is int:
                    found.append(item.value)
            return found
        return []

    def _outputs(self, columns: _Columns) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """(SQL, name) of what identifies a row, and of the rest."""
        required = [(columns.key(name), name) for name in self.target.required]
        if self._has_id():
            source = next(iter(columns.sources.values()))
            dataset_type = self.searched[0].dataset_type
            rest = [*self.target.implied, *(field.name for field in dataset_type.metadata)]
            return (
                [(source.fields["dataset_id"], "dataset_id"), (source.fields["run"], "run"), *required],
                [(source.fields[name], name) for name in rest],
            )
        if self.selection.target == "record":
            name = self.selection.element
            table = next(t for t in dimension_tables(self.universe) if t.name == name)
            return (
                [(column(name, key), key) for key in table.key],
                [(column(name, c.name), c.name) for c in table.columns if c.name not in table.key],
            )
        implied = self.target.implied if self.selection.expanded else ()
        return required, [(columns.key(name), name) for name in implied]

    def _order(self, columns: _Columns, distinct: bool) -> list[tuple[str, bool]]:
        found = []
        for key in self.selection.order:
            meaning = self.names.resolve(key.name, key.text)
            values = Values(self.names, columns, key.text)
            value = values.of(key.name)
            if isinstance(meaning, Key):
                inside = meaning.dimension in self.target.names
            elif isinstance(meaning, ElementField):
                inside = set(dimensions_of(self.universe[meaning.element])) <= set(self.target.names)
            else:
                inside = self._has_id() and meaning.field not in COLLECTION_FIELDS
            if distinct and not inside:
                raise QueryError(
                    f"one result may have several values of {key.text!r}",
                    hint="order by dimensions of the result, or by their fields",
                    sql=key.text,
                    position=0,
                )
            if meaning.type is not None and meaning.type.value == "bytes":
                raise QueryError(
                    f"{key.text!r} has no order", hint="order by another name", sql=key.text, position=0
                )
            found.append((value.sql, key.descending))
        return found

    def _placed(self, error: QueryError) -> QueryError:
        """An error of the query as a whole, with the first expression as its text."""
        texts = [condition.text for condition in self.selection.conditions if condition.text]
        return QueryError(error.message, hint=error.hint, sql=texts[0] if texts else "")


def _conjuncts(condition: Condition) -> list[Condition]:
    if isinstance(condition.node, syntax.And):
        return [
            part for node in condition.node.parts for part in _conjuncts(attrs.evolve(condition, node=node))
        ]
    return [condition]
