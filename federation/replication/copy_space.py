"""Where copies lie on disk while they are made or taken in, and whether there is room for one."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import sqlalchemy as sa

from federation.errors import LimitError
from federation.storage import SqliteDatabase

if TYPE_CHECKING:
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema

__all__ = ["check_space", "copy_directory", "schema_size"]

#: a copy's parts are compressed and have no indexes: they take less than this share of what the database takes
_SHARE = 0.5
#: what is left alone
_RESERVE_BYTES = 32 << 20


def copy_directory(registry: Registry, use: Literal["sent", "received"]) -> Path:
    """The directory for copies that a registry sends or receives, made where it is not there.

    Under the site's root; for a registry that was opened without one, in a directory that ends with this process.
    """
    database = registry.database
    if registry.root is not None:
        root = registry.root
    else:
        name = str(database.directory) if isinstance(database, SqliteDatabase) else str(id(registry))
        root = Path(_temporary().name) / hashlib.blake2b(name.encode(), digest_size=8).hexdigest()
    directory = root / "copies" / use
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return directory


@lru_cache(maxsize=1)
def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="federation-copies-")


def schema_size(registry: Registry, connection: sa.Connection, held: HeldSchema) -> int:
    """Bytes that a schema takes in its database, the log left out where the database can tell."""
    if isinstance(registry.database, SqliteDatabase):
        return registry.database.path(held.physical).stat().st_size
    found = connection.execute(
        sa.text(
            "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = :schema AND c.relkind = 'r' AND c.relname <> 'change_log'"
        ),
        {"schema": held.physical},
    ).scalar()
    return int(found or 0)


def check_space(
    registry: Registry, held: HeldSchema, directory: Path, size_bytes: int, *, taken_in: bool
) -> None:
    """`LimitError` when a copy of a schema of ``size_bytes`` may not find room in ``directory``.

    With ``taken_in``, nor its rows in the database, where that is on a disk of this machine's that can be asked.
    """
    parts = int(size_bytes * _SHARE)
    wanted = [(directory, parts)]
    if taken_in and isinstance(registry.database, SqliteDatabase):
        # the rows, and again in the write-ahead log until they are checkpointed
        wanted.append((registry.database.directory, 2 * size_bytes))
        if directory.stat().st_dev == registry.database.directory.stat().st_dev:
            wanted = [(directory, parts + 2 * size_bytes)]
    for place, needed in wanted:
        free = shutil.disk_usage(place).free
        if free < needed + _RESERVE_BYTES:
            raise LimitError(
                f"{place}: a copy of {held.schema} needs up to {(needed + _RESERVE_BYTES) >> 20} MiB, "
                f"{free >> 20} MiB are free",
                hint="free some space there; the copy is tried again",
            )
