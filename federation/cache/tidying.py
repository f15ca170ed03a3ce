"""Keeps a cache's index, the registry and the files in step: what is here, what is missing, what nobody knows."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

import attrs
import sqlalchemy as sa

from federation.cache.victims import CachedFile
from federation.errors import UnavailableError
from federation.model.system_tables import system_tables
from federation.registry.transaction import select_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import Any

    from federation.cache.index import CacheIndex
    from federation.datastore import Datastore
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema

__all__ = ["Tidied", "take_stock", "tidy"]

#: a file that nothing names may still be about to be registered until it is so old
ORPHAN_S = 3600.0


@attrs.frozen
class Tidied:
    """Files that nothing named, which were set aside, and datasets whose files are gone, which are named no more."""

    orphans: tuple[str, ...]
    missing: tuple[uuid.UUID, ...]


def take_stock(registry: Registry, index: CacheIndex, now_ns: int) -> None:
    """Make the index hold the files that the registry names at this site, and no others."""
    known = {file.dataset_id for file in index.files()} | {one.file.dataset_id for one in index.leaving()}
    here: set[uuid.UUID] = set()
    new: list[tuple[HeldSchema, dict[str, Any]]] = []
    for held, row in _present(registry):
        here.add(row["dataset_id"])
        if row["dataset_id"] not in known:
            new.append((held, row))
    owners = _owners(registry, [row["dataset_id"] for _, row in new])
    index.add(
        CachedFile(
            row["dataset_id"],
            held.schema.name,
            owners[row["dataset_id"]],
            row["uri"],
            row["size_bytes"] or 0,
            row["checksum"],
            row["formatter"],
            now_ns,
            now_ns,
        )
        for held, row in new
        if row["dataset_id"] in owners and "://" not in row["uri"]
    )
    index.forget(file.dataset_id for file in index.files() if file.dataset_id not in here)


def tidy(
    registry: Registry, datastore: Datastore, index: CacheIndex, directory: Path, retired: Iterable[str] = ()
) -> Tidied:
    """Move files that nothing names to ``directory``, and take back rows whose files are not there.

    ``retired`` files stay: their datasets may be restored.

    Nothing is deleted: a file that nobody knows may be the only one of its kind.
    """
    root = datastore.local_root
    assert root is not None
    named = (
        {*retired} | {row["uri"] for _, row in _present(registry)} | {one.file.uri for one in index.leaving()}
    )
    found: set[str] = set()
    orphans = []
    oldest = time.time() - ORPHAN_S
    for path, _info in datastore.walk():
        found.add(path)
        if path in named or any(part.startswith(".") for part in path.split("/")):
            continue
        try:
            if (root / path).stat().st_mtime < oldest:
                target = directory / path
                target.parent.mkdir(parents=True, exist_ok=True)
                (root / path).rename(target)
                orphans.append(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UnavailableError(
                f"{root / path} can't be set aside: {error.strerror}", hint="check its permissions"
            ) from error
    return Tidied(tuple(orphans), tuple(_take_back(registry, index, root, found)))


def _take_back(registry: Registry, index: CacheIndex, root: Path, found: set[str]) -> Iterator[uuid.UUID]:
    """Remove rows that name files which are not there."""
    missing: dict[str, list[dict[str, Any]]] = {}
    for held, row in _present(registry):
        is_gone = row["uri"] not in found and "://" not in row["uri"] and not (root / row["uri"]).exists()
        if is_gone and index.left(row["dataset_id"]) is None:
            missing.setdefault(held.schema.name, []).append(row)
    for schema, rows in missing.items():
        with registry.transaction(schema) as tx:
            tx.delete("artifact", rows)
        index.forget(row["dataset_id"] for row in rows)
        yield from (row["dataset_id"] for row in rows)


def _present(registry: Registry) -> Iterator[tuple[HeldSchema, dict[str, Any]]]:
    """The rows of this site's schemas that name a file here."""
    for held in registry.held():
        if not held.owned:
            continue
        with registry.database.read((held.physical,)) as connection:
            table = registry.physical_tables(held.physical, system_tables())["artifact"]
            wanted = sa.select(table).where(table.c.site == registry.site, table.c.present)
            for row in connection.execute(wanted):
                yield held, dict(row._mapping)


def _owners(registry: Registry, ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, str]:
    """The schema that each dataset is of, as ``SITE/NAME``."""
    found: dict[uuid.UUID, str] = {}
    wanted = list(ids)
    for held in registry.held():
        todo = [(one,) for one in wanted if one not in found]
        if not todo:
            break
        with registry.database.read((held.physical,)) as connection:
            table = registry.physical_tables(held.physical, system_tables())["dataset"]
            for row in select_rows(connection, table, ("dataset_id",), todo):
                found[row["dataset_id"]] = str(held.schema)
    return found
