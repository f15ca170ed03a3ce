"""What must be known before a query can be written: dataset types, collections, values of governor dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from federation.errors import NotFoundError
from federation.model.collection import CollectionType
from federation.model.dataset import DatasetType
from federation.model.suggestion import suggest
from federation.queries.sql import column, literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pyarrow as pa

    from federation.model.dimension import DimensionUniverse
    from federation.model.position import SchemaId

__all__ = ["Facts", "facts_from", "facts_sql"]


@attrs.frozen(eq=False)
class Facts:
    """The federation's collections and dataset types as one query found them.

    ``chains`` holds children in search order; ``summaries`` the dataset types that a collection may hold, for
    collections that have a summary; ``governors`` the values of every governor dimension.
    """

    dataset_types: Mapping[str, DatasetType]
    collections: Mapping[str, CollectionType]
    chains: Mapping[str, tuple[str, ...]]
    summaries: Mapping[str, frozenset[str]]
    governors: Mapping[str, tuple[str, ...]]

    def dataset_type(self, name: str) -> DatasetType:
        """The dataset type; `NotFoundError` says what there is."""
        found = self.dataset_types.get(name)
        if found is None:
            raise NotFoundError(
                f"unknown dataset type {name!r}", hint=suggest(name, self.dataset_types, "dataset types")
            )
        return found


def facts_sql(universe: DimensionUniverse, schemas: Iterable[SchemaId]) -> str:
    """One statement for everything; its columns are ``kind``, ``a``, ``b``, ``c`` (texts) and ``n``."""
    parts = [
        "SELECT 'type' AS kind, name AS a, dimensions AS b, storage_class AS c,"
        " CASE WHEN is_calibration THEN 1 ELSE 0 END AS n FROM dataset_type",
        "SELECT 'metadata' AS kind, name AS a, metadata AS b, '' AS c, 0 AS n FROM dataset_type",
        "SELECT 'collection' AS kind, name AS a, type AS b, '' AS c, 0 AS n FROM collection",
        "SELECT 'chain' AS kind, parent AS a, child AS b, '' AS c, position AS n FROM collection_chain",
    ]
    for schema in schemas:
        # a summary speaks for the datasets of its own schema, so one must know which schema says what
        name, where = literal(str(schema)), column(f"{schema.name}@{schema.site}")
        parts.append(
            f"SELECT 'registered' AS kind, name AS a, {name} AS b, '' AS c, 0 AS n FROM {where}.collection"
        )
        parts.append(
            f"SELECT DISTINCT 'summary' AS kind, collection AS a, {name} AS b, dataset_type AS c, 0 AS n"
            f" FROM {where}.collection_summary"
        )
    for element in universe.elements:
        if element.governor and element.primary_key is not None:
            parts.append(
                f"SELECT 'governor' AS kind, {literal(element.name)} AS a,"
                f" {column(element.name, element.primary_key.name)} AS b, '' AS c, 0 AS n"
                f" FROM {column(element.name)}"
            )
    return " UNION ALL ".join(parts)


def facts_from(table: pa.Table) -> Facts:
    """From the rows of `facts_sql`."""
    by_kind: dict[str, list[tuple[str, str, str, int]]] = {}
    columns = [table.column(name).to_pylist() for name in ("kind", "a", "b", "c", "n")]
    for kind, *row in zip(*columns, strict=True):
        by_kind.setdefault(kind, []).append(tuple(row))
    metadata = {name: text for name, text, _, _ in by_kind.get("metadata", ())}
    types = {
        name: DatasetType.from_row(
            {
                "name": name,
                "dimensions": dimensions,
                "storage_class": storage_class,
                "is_calibration": bool(calibration),
                "metadata": metadata[name],
            }
        )
        for name, dimensions, storage_class, calibration in by_kind.get("type", ())
    }
    chains: dict[str, list[tuple[int, str]]] = {}
    for parent, child, _, position in by_kind.get("chain", ()):
        chains.setdefault(parent, []).append((position, child))
    summaries = _summaries(by_kind.get("registered", ()), by_kind.get("summary", ()))
    governors: dict[str, set[str]] = {}
    for dimension, value, _, _ in by_kind.get("governor", ()):
        governors.setdefault(dimension, set()).add(value)
    return Facts(
        types,
        {name: CollectionType(kind) for name, kind, _, _ in by_kind.get("collection", ())},
        {parent: tuple(child for _, child in sorted(children)) for parent, children in chains.items()},
        summaries,
        {name: tuple(sorted(found)) for name, found in governors.items()},
    )


def _summaries(
    registered: Iterable[tuple[str, str, str, int]], said: Iterable[tuple[str, str, str, int]]
) -> dict[str, frozenset[str]]:
    """The dataset types of every collection of which each schema that registers it has a summary."""
    types: dict[tuple[str, str], set[str]] = {}
    for collection, schema, dataset_type, _ in said:
        types.setdefault((collection, schema), set()).add(dataset_type)
    schemas: dict[str, set[str]] = {}
    for collection, schema, _, _ in registered:
        schemas.setdefault(collection, set()).add(schema)
    for collection, schema in types:
        schemas.setdefault(collection, set()).add(schema)
    return {
        collection: frozenset().union(*(types[collection, schema] for schema in named))
        for collection, named in schemas.items()
        if all((collection, schema) in types for schema in named)
    }
