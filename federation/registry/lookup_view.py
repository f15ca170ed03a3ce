"""What point lookups remember of a registry: its schemas, dataset types and collections, as of marks."""

from __future__ import annotations

from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import attrs

from federation.errors import NotFoundError
from federation.model.collection import CollectionType

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from federation.model.dimension import DimensionGroup
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema

__all__ = [
    "Group",
    "Leaf",
    "LookupView",
    "Rows",
    "TypeTables",
    "mark_count",
    "with_marks",
]

Rows = list[tuple[Any, ...]]
#: SQLite attaches ten files to one connection
_GROUP_MAX = 10


@attrs.frozen
class Group:
    """Schemas that one statement reads: all of them on PostgreSQL, as many as can be attached on SQLite.

    ``members`` are (level, physical name); level 0 is nearest.
    """

    members: tuple[tuple[int, str], ...]

    @property
    def schemas(self) -> tuple[str, ...]:
        return tuple(schema for _, schema in self.members)


@attrs.frozen
class TypeTables:
    """One dataset type: its data IDs, and the levels of the schemas that declare it so."""

    name: str
    group: DimensionGroup
    levels: frozenset[int]


@attrs.frozen
class Leaf:
    """A collection that holds datasets itself."""

    name: str
    type: CollectionType


class LookupView:
    """Schemas and dataset types of a registry as of ``marks``; collections as they are asked for.

    What is remembered is right as long as a later look at the marks finds them unchanged.
    """

    def __init__(self, registry: Registry, chain: Sequence[str]) -> None:
        self.registry = registry
        self.is_sqlite = registry.database.kind == "sqlite"
        self.schemas = _ordered(registry, chain)
        size = _GROUP_MAX if self.is_sqlite else len(self.schemas)
        numbered = tuple((level, held.physical) for level, held in enumerate(self.schemas))
        self.groups = tuple(
            Group(numbered[start : start + size]) for start in range(0, len(numbered), max(size, 1))
        )
        self.marks: dict[Group, tuple[Any, ...]] = {}
        self.types: dict[str, TypeTables] = {}
        self._definitions: dict[str, tuple[CollectionType, tuple[str, ...]] | None] = {}
        self._leaves: dict[tuple[str, ...], tuple[Leaf, ...]] = {}
        for group in self.groups:
            with self.connection(group) as raw:
                self._read_types(group, raw)

    @contextmanager
    def connection(self, group: Group) -> Iterator[Any]:
        """A driver's connection that sees the schemas of a group."""
        with self.registry.database.statements(group.schemas) as raw:
            yield raw

    def run(self, raw: Any, sql: str, values: Sequence[Any] = ()) -> Rows:
        """The rows of one statement, whose values are written as question marks."""
        rows: Rows = raw.execute(sql if self.is_sqlite else _for_postgres(sql), values).fetchall()
        return rows

    def among(self, column: str, values: Sequence[Any]) -> tuple[str, list[Any]]:
        """SQL for ``column IN values`` that is the same text for many lengths, and its values."""
        if not self.is_sqlite:
            return f"{column} = ANY(?)", [list(values)]
        padded = [*values, *[values[-1]] * ((1 << (len(values) - 1).bit_length()) - len(values))]
        return f"{column} IN ({', '.join('?' * len(padded))})", padded

    # -- dataset types ----------------------------------------------------------------------------------------

    def _read_types(self, group: Group, raw: Any) -> None:
        arms = " UNION ALL ".join(
            f'SELECT {level} AS level, name, dimensions FROM "{schema}".dataset_type'
            for level, schema in group.members
        )
        rows = self.run(raw, with_marks(group, "r.level, r.name, r.dimensions", arms))
        self.marks[group] = rows[0][: mark_count(group)]
        universe = self.registry.universe
        for level, name, dimensions in sorted(
            row[mark_count(group) :] for row in rows if row[-1] is not None
        ):
            spanned = universe.group(filter(None, dimensions.split(",")))
            known = self.types.setdefault(name, TypeTables(name, spanned, frozenset()))
            if known.group == spanned:
                self.types[name] = attrs.evolve(known, levels=known.levels | {level})

    def type_tables(self, name: str) -> TypeTables:
        """The dataset type; `NotFoundError` names the site."""
        found = self.types.get(name)
        if found is None:
            raise NotFoundError(
                f"dataset type {name!r} is not declared at {self.registry.site}",
                hint="declared are: " + (", ".join(sorted(self.types)) or "none"),
            )
        return found

    # -- collections ------------------------------------------------------------------------------------------

    def leaves(self, collections: tuple[str, ...]) -> tuple[Leaf, ...]:
        """The collections that a search goes through, chains opened, each once, in order.

        `NotFoundError` for a name that no schema here registers; a chain's members that live elsewhere are left out.
        """
        found = self._leaves.get(collections)
        if found is None:
            found = self._leaves[collections] = self._open(collections)
        return found

    def _open(self, collections: tuple[str, ...]) -> tuple[Leaf, ...]:
        self._define(collections)
        for name in collections:
            if self._definitions[name] is None:
                raise NotFoundError(
                    f"no collection {name!r} at {self.registry.site}", hint="run: federation collection list"
                )
        leaves: dict[Leaf, None] = {}
        seen: set[str] = set()
        todo = list(reversed(collections))
        while todo:
            name = todo.pop()
            if name in seen:
                continue
            seen.add(name)
            definition = self._definitions[name]
            if definition is None:
                continue
            kind, children = definition
            if kind is CollectionType.CHAINED:
                self._define(children)
                todo.extend(reversed(children))
            else:
                leaves[Leaf(name, kind)] = None
        return tuple(leaves)

    def _define(self, names: Sequence[str]) -> None:
        """Read the definitions of collections; that of the nearest schema is the one that counts."""
        missing = [name for name in names if name not in self._definitions]
        if not missing:
            return
        found: dict[str, tuple[int, str]] = {}
        children: dict[tuple[int, str], list[tuple[int, str]]] = {}
        for group in self.groups:
            with self.connection(group) as raw:
                where, values = self.among("name", missing)
                for level, name, kind in self._each(
                    raw, group, f"name, type FROM {{}}.collection WHERE {where}", values
                ):
                    found[name] = min(found.get(name, (level, kind)), (level, kind))
                where, values = self.among("parent", missing)
                for level, parent, position, child in self._each(
                    raw, group, f"parent, position, child FROM {{}}.collection_chain WHERE {where}", values
                ):
                    children.setdefault((level, parent), []).append((position, child))
        for name in missing:
            if name not in found:
                self._definitions[name] = None
                continue
            level, kind = found[name]
            ordered = tuple(child for _, child in sorted(children.get((level, name), ())))
            self._definitions[name] = (CollectionType(kind), ordered)

    def _each(self, raw: Any, group: Group, template: str, values: Sequence[Any]) -> Rows:
        """Rows of one SELECT over every schema of a group, each with its level before it."""
        arms = " UNION ALL ".join(
            f"SELECT {level}, " + template.format(f'"{schema}"') for level, schema in group.members
        )
        return self.run(raw, arms, [*values] * len(group.members))


def _ordered(registry: Registry, chain: Sequence[str]) -> tuple[HeldSchema, ...]:
    """The schemas held here in the order of search: the caller's chain, the site's own, then replicas."""
    held = registry.held()
    first: dict[HeldSchema, None] = {}
    for name in chain:
        schema, _, site = name.partition("@")
        matches = [one for one in held if one.schema.name == schema and (not site or one.schema.site == site)]
        if len(matches) != 1:
            what = "several schemas" if matches else "no schema"
            raise NotFoundError(
                f"{what} {name!r} at {registry.site}",
                hint="write one of: " + ", ".join(f"{one.schema.name}@{one.schema.site}" for one in held),
            )
        first[matches[0]] = None
    rest = sorted((one for one in held if one not in first), key=lambda one: not one.owned)
    return (*first, *rest)


def mark_count(group: Group) -> int:
    """How many columns `with_marks` puts before the rows'."""
    return 2 * len(group.members)


@lru_cache(maxsize=1024)
def with_marks(group: Group, columns: str, rows: str) -> str:
    """A statement that gives the marks of the schemas with every row of ``rows`` (known as r), at least once.

    Marks and rows are of one snapshot. Without rows their columns are NULL.
    """
    marks = ", ".join(
        f"(SELECT epoch || ':' || lsn FROM \"{schema}\".log_state), "
        f'(SELECT max(entry_id) FROM "{schema}".change_log)'
        for schema in group.schemas
    )
    return f"SELECT {marks}, {columns} FROM (SELECT 1) AS one LEFT JOIN ({rows}) AS r ON 1 = 1"


@lru_cache(maxsize=1024)
def _for_postgres(sql: str) -> str:
    return sql.replace("?", "%s")
