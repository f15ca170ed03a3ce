"""A selection as one SQL statement over logical tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from federation.errors import QueryError
from federation.model.dimension import DimensionGroup, DimensionUniverse
from federation.model.logical import LogicalType
from federation.queries import syntax
from federation.queries.collections import Leaf, resolve
from federation.queries.columns import InnerColumns, StatementColumns
from federation.queries.conditions import Conditions
from federation.queries.governors import GovernorCheck
from federation.queries.joins import Base, dimensions_of, join
from federation.queries.names import DatasetField, ElementField, Key, Names
from federation.queries.results import Results
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
        columns = StatementColumns(joins, sources)
        where = list(joins.conditions)
        for source in sources.values():
            where.extend(source.conditions)
        for condition in self.conjuncts:
            if condition not in inner:
                where.append(Conditions(Values(self.names, columns, condition.text)).of(condition.node))
        self._check_governors()
        extra = set(group.required) - set(self.target.names)
        distinct = bool(extra) or any(s.may_repeat for s in sources.values())
        distinct |= self.selection.target == "data_id" and bool(self.searched)
        body = f"FROM {joins.text}" + (f" WHERE {' AND '.join(where)}" if where else "")
        results = Results(self.names, self.selection, self.target, columns, body, distinct)
        return Statement(results.select(), results.select(keys_only=True), results.count(), self.target)

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
                found = self._inner_conditions(searched)
                inner = [Conditions(Values(self.names, InnerColumns(name), c.text)).of(c.node) for c in found]
                applied.extend(found)
            if self.selection.target == "dataset":
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

    def _inner_conditions(self, searched: _Searched) -> list[Condition]:
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
                table = column("dataset")
                further.append((table if alias == "dataset" else f"{table} AS {column(alias)}", same))
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
