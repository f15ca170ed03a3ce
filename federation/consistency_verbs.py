"""Where the logs of a site's own schemas stand: what later queries must not miss, or be asked as of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from federation.config import find_site
from federation.model.position import Position, SchemaId
from federation.registry.registry import Registry
from federation.replication.snapshots import stamped_snapshot

if TYPE_CHECKING:
    from federation.registry.schemas import HeldSchema

__all__ = ["positions"]


def positions(site: str, schemas: tuple[str, ...] = (), sites: str | Path = "sites") -> tuple[Position, ...]:
    """The positions of a site's own schemas (all of them without ``schemas``), with everything committed until now.

    A query that is given them with ``after`` reads no copy that lacks any of it. `NotFoundError` for a schema that the
    site does not own.
    """
    with Registry.open(find_site(site, Path(sites))) as registry:
        if schemas:
            held = [registry.get(SchemaId(registry.site, name)) for name in dict.fromkeys(schemas)]
        else:
            held = [one for one in registry.held() if one.owned]
        return tuple(_position(registry, one) for one in held)


def _position(registry: Registry, held: HeldSchema) -> Position:
    with stamped_snapshot(registry, held) as (_, state):
        return Position(held.schema.site, held.schema.name, state.epoch, state.lsn)
