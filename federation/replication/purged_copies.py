"""This site's copies of files whose datasets were purged where they belong: removed, where the site file says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from federation.errors import NotFoundError
from federation.killpoints import killpoint
from federation.model.position import SchemaId
from federation.model.system_tables import system_tables
from federation.registry.keyed import chunks
from federation.registry.retirement import PURGED_URI
from federation.registry.transaction import select_rows

if TYPE_CHECKING:
    import uuid
    from collections.abc import Collection, Sequence

    from federation.datastore import Datastore
    from federation.registry.registry import Registry

__all__ = ["PurgedCopies"]

#: files whose rows change in one transaction
_BATCH = 500


class PurgedCopies:
    """Removes what a purge at the owner leaves here; ``stores`` are this site's, its own datastore among them.

    A dataset counts as purged when a replica has the owner's word for it and no schema held here has the dataset. The
    row first says that the file is not here, then the file goes, then the row: after a kill the next call goes on.
    """

    def __init__(self, registry: Registry, stores: Sequence[Datastore]) -> None:
        self._registry, self._stores = registry, tuple(stores)
        self._own = registry.get(SchemaId(registry.site, registry.site))

    def remove(self) -> int:
        """Remove all copies of purged datasets; how many files went."""
        count = 0
        for ids in chunks(sorted(self._purged()), _BATCH):
            count += self._remove(ids)
        return count

    def _table(self, physical: str, name: str) -> sa.Table:
        return self._registry.physical_tables(physical, system_tables())[name]

    def _purged(self) -> set[uuid.UUID]:
        """Purged datasets of which this site has a row of its own."""
        every = self._registry.held()
        own = self._table(self._own.physical, "artifact")
        found: set[uuid.UUID] = set()
        with self._registry.database.read([one.physical for one in every]) as connection:
            for held in every:
                if held.owned:
                    continue
                told = self._table(held.physical, "artifact")
                marked = sa.select(told.c.dataset_id).where(
                    told.c.uri == PURGED_URI, told.c.site == held.schema.site, ~told.c.present
                )
                here = sa.select(own.c.dataset_id).where(
                    own.c.dataset_id.in_(marked), own.c.site == self._registry.site, own.c.uri != PURGED_URI
                )
                found.update(connection.execute(here).scalars())
            return found - self._alive(connection, found)

    def _alive(self, connection: sa.Connection, ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
        """Those of some datasets that a schema held here has."""
        keys = [(one,) for one in ids]
        return {
            row["dataset_id"]
            for held in self._registry.held()
            for row in select_rows(connection, self._table(held.physical, "dataset"), ("dataset_id",), keys)
        }

    def _remove(self, ids: list[uuid.UUID]) -> int:
        keys = [(one, self._registry.site) for one in ids]
        with self._registry.transaction(self._registry.site) as tx:
            rows = [
                row for row in tx.select("artifact", ("dataset_id", "site"), keys) if self._store(row["uri"])
            ]
            tx.put("artifact", [{**row, "present": False} for row in rows if row["present"]])
        killpoint("retire.copy_withdrawn")
        # had a dataset come back meanwhile, its file would now be wanted again
        again = self._purged()
        rows = [row for row in rows if row["dataset_id"] in again]
        count = 0
        named = self._named({row["uri"] for row in rows})
        for uri in dict.fromkeys(row["uri"] for row in rows):
            store = self._store(uri)
            if store is not None and uri not in named:
                try:
                    store.remove(store.relative(uri))
                except NotFoundError:
                    continue  # an earlier run was ended here
                count += 1
        killpoint("retire.copy_removed")
        with self._registry.transaction(self._registry.site) as tx:
            tx.delete("artifact", rows)
        return count

    def _store(self, uri: str) -> Datastore | None:
        """The store of this site that has a file; None for one that lies elsewhere, which is not ours to remove."""
        return next((store for store in self._stores if store.contains(uri)), None)

    def _named(self, uris: Collection[str]) -> set[str]:
        """Files that another row of this site needs."""
        named: set[str] = set()
        for held in self._registry.held():
            if held.owned:
                with self._registry.database.read((held.physical,)) as connection:
                    table = self._table(held.physical, "artifact")
                    keys = [(uri,) for uri in uris]
                    named |= {
                        row["uri"] for row in select_rows(connection, table, ("uri",), keys) if row["present"]
                    }
        return named
