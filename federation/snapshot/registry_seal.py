"""The last state of a snapshot's registry: the same bytes for the same rows, complete in itself, and durable.

SQLite's files tell how they came to be: by free pages, statistics and counters. So each is written anew in one pass,
and the log of the snapshot's own schema as if one transaction after the other had recorded its files in their order.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from federation.changelog import append, log_state
from federation.changelog.epochs import begin_epoch
from federation.changelog.log import LogState, log_tables
from federation.datastore.durable import fsync_directory
from federation.datastore.io_errors import as_federation_error
from federation.errors import LimitError, UnavailableError
from federation.model.change import Change, Operation
from federation.model.position import GENESIS, SchemaId
from federation.model.system_tables import system_tables
from federation.registry.transaction import stored_values

if TYPE_CHECKING:
    from pathlib import Path

    from federation.registry.registry import Registry

__all__ = ["REGISTRY", "registry_files", "seal", "write_own_log"]

#: directory of the registry's files below a snapshot
REGISTRY = "registry"
_BATCH = 5000
_ARTIFACT = next(table for table in system_tables() if table.name == "artifact")


def registry_files(directory: Path) -> tuple[str, ...]:
    """Paths of the registry's files, relative to the snapshot."""
    return tuple(f"{REGISTRY}/{path.name}" for path in sorted((directory / REGISTRY).glob("*.sqlite")))


def write_own_log(registry: Registry, of_history: str, committed_tai_ns: int) -> None:
    """Give the snapshot's own schema a log that leads to its rows, in an epoch that ``of_history`` names."""
    held = registry.get(SchemaId(registry.site, registry.site))
    schema = held.physical
    epoch = hashlib.blake2b(of_history.encode(), digest_size=8).hexdigest()
    physical = registry.physical_tables(schema, (_ARTIFACT,))["artifact"]
    names = _ARTIFACT.stored_names
    with registry.database.write(schema) as connection:
        connection.execute(log_tables(schema).log.delete())
        raw: Any = connection.connection.dbapi_connection
        raw.execute(f'DELETE FROM "{schema}".log_epoch')
        raw.execute(f'UPDATE "{schema}".log_state SET epoch = ?, lsn = 0, chain = ?', (epoch, GENESIS))
        raw.execute(f"DELETE FROM \"{schema}\".sqlite_sequence WHERE name = 'change_log'")
        begin_epoch(connection, schema, LogState(epoch, 0, GENESIS), committed_tai_ns)
        last = b""
        while True:
            rows = connection.execute(
                sa.select(*(physical.c[name] for name in names))
                .where(sa.type_coerce(physical.c.dataset_id, sa.LargeBinary) > last)
                .order_by(physical.c.dataset_id)
                .limit(_BATCH)
            ).all()
            if not rows:
                break
            last = rows[-1].dataset_id.bytes
            columns = tuple(
                stored_values(_ARTIFACT.column(name).type, values)
                for name, values in zip(names, zip(*rows, strict=True), strict=True)
            )
            append(connection, schema, [Change("artifact", Operation.PUT, names, columns)], committed_tai_ns)
        log_state(connection, schema)


def seal(directory: Path) -> None:
    """Write every file of the registry anew, durably and without a write-ahead log beside it.

    A registry in this state can be read from media that take no writes. Nothing may have it open.
    """
    for name in registry_files(directory):
        path = directory / name
        fresh = path.with_name(f"{path.name}.sealed")
        fresh.unlink(missing_ok=True)  # of a run that was killed here
        _write_anew(path, fresh)
        try:
            with fresh.open("rb") as file:
                os.fsync(file.fileno())
            fresh.replace(path)
        except OSError as error:
            raise as_federation_error(error, "write", str(path)) from error
    fsync_directory(directory / REGISTRY)


def _write_anew(path: Path, fresh: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (mode,) = connection.execute("PRAGMA journal_mode=DELETE").fetchone()
        if mode != "delete":
            raise UnavailableError(f"{path} is in use by another process", hint="end it, then run again")
        connection.execute("PRAGMA analysis_limit = 0")
        connection.execute("ANALYZE")
        connection.execute("VACUUM INTO ?", (str(fresh),))
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise LimitError(
                f"cannot write {path}: no space left", hint="free some space, then run again"
            ) from error
        raise UnavailableError(f"cannot write {path}: {error}", hint="check the disk it is on") from error
    finally:
        connection.close()
