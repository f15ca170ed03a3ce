"""Which schemas a registry holds, and under which physical names."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import attrs
import sqlalchemy as sa

from federation.model.position import SchemaId, check_name
from federation.storage import META_SCHEMA

if TYPE_CHECKING:
    from federation.storage import Database

__all__ = ["FORMAT_VERSION", "HeldSchema", "MetaTables", "meta_tables", "physical_name"]

#: version of the physical layout of a registry
FORMAT_VERSION = 2


@attrs.frozen
class HeldSchema:
    """A schema in this registry: its own, or a replica of another site's."""

    schema: SchemaId
    physical: str
    owned: bool


@attrs.frozen
class MetaTables:
    """Tables of what the registry knows of itself."""

    info: sa.Table
    held: sa.Table

    def read_info(self, connection: sa.Connection) -> dict[str, str]:
        return {row.key: row.value for row in connection.execute(sa.select(self.info))}

    def read_held(self, database: Database) -> tuple[HeldSchema, ...]:
        # asked with every query: without a transaction it is one round trip
        with database.statements((META_SCHEMA,)) as raw:
            rows = raw.execute(
                f"SELECT site, name, physical, owned FROM {META_SCHEMA}.held_schema ORDER BY number"
            ).fetchall()
        return tuple(
            HeldSchema(SchemaId(site, name), physical, bool(owned)) for site, name, physical, owned in rows
        )

    def add_held(self, connection: sa.Connection, held: HeldSchema) -> None:
        values: dict[str, Any] = {
            "physical": held.physical,
            "site": held.schema.site,
            "name": held.schema.name,
            "owned": held.owned,
            "number": sa.select(sa.func.coalesce(sa.func.max(self.held.c.number), 0) + 1).scalar_subquery(),
        }
        connection.execute(self.held.insert().values(values))


@lru_cache(maxsize=1)
def meta_tables() -> MetaTables:
    """The registry's own tables."""
    metadata = sa.MetaData(schema=META_SCHEMA)
    info = sa.Table(
        "registry_info",
        metadata,
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    held = sa.Table(
        "held_schema",
        metadata,
        sa.Column("physical", sa.Text, primary_key=True),
        sa.Column("site", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("owned", sa.Boolean, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.UniqueConstraint("site", "name"),
    )
    return MetaTables(info, held)


def physical_name(site: str, schema: SchemaId) -> str:
    """Where the registry of ``site`` keeps ``schema``: its own under the name, a replica as ``site__name``."""
    check_name("schema", schema.name)
    return schema.name if schema.site == site else f"{check_name('site', schema.site)}__{schema.name}"
