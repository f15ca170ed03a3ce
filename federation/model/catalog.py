"""What a planner knows of the federation: which site holds which schema, as owner or as replica, with which tables."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import attrs

from federation.model.statistics import ColumnStats, TableStats

if TYPE_CHECKING:
    from federation.model.logical import LogicalType, TableDef
    from federation.model.position import SchemaId

__all__ = ["ColumnStats", "FederationCatalog", "SchemaCatalog", "SiteCatalog", "TableStats"]


@attrs.frozen
class SchemaCatalog:
    """One schema as one site holds it.

    At the owner ``staleness_s`` is 0. At the holder of a replica it is the time since the replica was last known
    to equal the owner's schema, and None when that was never the case. ``lsn`` is what is committed (owner) or
    applied (replica), ``head_lsn`` the owner's head as last heard.
    """

    schema: SchemaId
    epoch: str
    lsn: int
    head_lsn: int
    staleness_s: float | None
    tables: tuple[TableDef, ...]
    stats: dict[str, TableStats] = attrs.field(factory=dict, eq=False)
    #: names of the metrics in table ``metric``, with FLOAT64 or STRING
    metrics: dict[str, LogicalType] = attrs.field(factory=dict, eq=False)
    #: why the caller may not read it, and the remedy; its tables are not told then
    forbidden: tuple[str, str] | None = None
    #: tables of which a filtered replica may lack rows
    partial_tables: frozenset[str] = frozenset()

    def table(self, name: str) -> TableDef | None:
        """The table with exactly this logical name."""
        return self._by_name.get(name)

    @cached_property
    def _by_name(self) -> dict[str, TableDef]:
        return {table.name: table for table in self.tables}


@attrs.frozen
class SiteCatalog:
    """All that one site can answer from: its own schemas and its replicas of others'.

    ``is_in_process`` says that the one who asks reads the site's database itself, so that moving rows costs nothing.
    ``version`` stands for all of it, ``layout`` for the tables and what may be read, ``statistics`` for the values of
    columns; ``""`` where nobody said.
    """

    site: str
    version: str
    schemas: tuple[SchemaCatalog, ...]
    is_in_process: bool = False
    layout: str = ""
    statistics: str = ""

    def schema(self, schema: SchemaId) -> SchemaCatalog | None:
        return next((held for held in self.schemas if held.schema == schema), None)


@attrs.frozen
class FederationCatalog:
    """The sites that answered, in order of nearness (home first), and those that did not, with the reason.

    ``forbidden`` are schemas that the caller may read nowhere, with the reason and the remedy.
    """

    home: str
    sites: tuple[SiteCatalog, ...]
    unreachable: dict[str, str] = attrs.field(factory=dict, eq=False)
    forbidden: dict[SchemaId, tuple[str, str]] = attrs.field(factory=dict, eq=False)

    @classmethod
    def permitted(
        cls, home: str, sites: tuple[SiteCatalog, ...], unreachable: dict[str, str]
    ) -> FederationCatalog:
        """The catalog without what the caller may not read.

        An owner that refuses a schema decides for all; a holder of a replica, which may not know of a grant yet, for
        its copy.
        """
        allowed: set[SchemaId] = set()
        refused: dict[SchemaId, tuple[str, str]] = {}
        decided: set[SchemaId] = set()
        for site in sites:
            for held in site.schemas:
                if held.forbidden is None:
                    allowed.add(held.schema)
                elif held.schema.site == site.site:
                    decided.add(held.schema)
                    refused[held.schema] = held.forbidden
                else:
                    refused.setdefault(held.schema, held.forbidden)
        if not refused:
            return cls(home, sites, unreachable)
        hidden = {
            schema: why for schema, why in refused.items() if schema in decided or schema not in allowed
        }
        kept = tuple(
            attrs.evolve(
                site,
                schemas=tuple(h for h in site.schemas if h.forbidden is None and h.schema not in hidden),
            )
            for site in sites
        )
        return cls(home, kept, unreachable, hidden)

    def site(self, name: str) -> SiteCatalog | None:
        return self._by_name.get(name)

    @cached_property
    def _by_name(self) -> dict[str, SiteCatalog]:
        return {site.site: site for site in reversed(self.sites)}

    @cached_property
    def schemas(self) -> tuple[SchemaId, ...]:
        """Every schema that some reachable site holds, owners' order first."""
        seen: dict[SchemaId, None] = {}
        for site in self.sites:
            for held in site.schemas:
                if held.schema.site == site.site:
                    seen.setdefault(held.schema)
        for site in self.sites:
            for held in site.schemas:
                seen.setdefault(held.schema)
        return tuple(seen)

    def holders(self, schema: SchemaId) -> tuple[tuple[str, SchemaCatalog], ...]:
        """(site, its copy) of every reachable site that holds the schema, in order of nearness."""
        return self._holders.get(schema, ())

    @cached_property
    def _holders(self) -> dict[SchemaId, tuple[tuple[str, SchemaCatalog], ...]]:
        found: dict[SchemaId, list[tuple[str, SchemaCatalog]]] = {}
        for site in self.sites:
            for held in site.schemas:
                found.setdefault(held.schema, []).append((site.site, held))
        return {schema: tuple(copies) for schema, copies in found.items()}
