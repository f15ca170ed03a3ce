"""Every row of a schema at one position, in parts: what a replica begins with."""

from __future__ import annotations

import struct
import tempfile
from typing import TYPE_CHECKING

import sqlalchemy as sa

from federation.changelog import SCHEMA_VERSION, encode_changes
from federation.model.change import Change, Operation
from federation.registry.transaction import stored_values
from federation.replication.snapshots import stamped_snapshot
from federation.wire.messages import BootstrapPart

if TYPE_CHECKING:
    from collections.abc import Iterator

    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema

__all__ = ["copy_parts"]

_PART_ROWS = 2000
_PART_BYTES = 8 << 20
_LENGTH = struct.Struct("<Q")


def copy_parts(registry: Registry, held: HeldSchema) -> Iterator[BootstrapPart]:
    """Every row of a schema in one snapshot, with its position.

    The copy is written to a temporary file first: a slow reader must not hold up the database.
    """
    with tempfile.TemporaryFile(prefix="federation-copy-") as file:
        with stamped_snapshot(registry, held) as (connection, state):
            for body in _bodies(registry, connection, held):
                file.write(_LENGTH.pack(len(body)))
                file.write(body)
        file.seek(0)
        while header := file.read(_LENGTH.size):
            body = file.read(_LENGTH.unpack(header)[0])
            yield BootstrapPart(state.epoch, state.lsn, state.chain, SCHEMA_VERSION, body, last=False)
    yield BootstrapPart(state.epoch, state.lsn, state.chain, SCHEMA_VERSION, encode_changes(()), last=True)


def _bodies(registry: Registry, connection: sa.Connection, held: HeldSchema) -> Iterator[bytes]:
    tables = registry.tables_in(connection, held.physical)
    physical = registry.physical_tables(held.physical, tuple(tables.values()))
    for name, table in tables.items():  # dataset_type comes first, and its rows make tables
        result = connection.execution_options(yield_per=_PART_ROWS).execute(sa.select(physical[name]))
        for rows in result.partitions(_PART_ROWS):
            columns = zip(*rows, strict=True)
            values = tuple(
                stored_values(column.type, found) for column, found in zip(table.stored, columns, strict=True)
            )
            yield from _bodies_of(Change(name, Operation.PUT, table.stored_names, values))


def _bodies_of(change: Change) -> Iterator[bytes]:
    body, count = encode_changes((change,)), change.row_count
    if len(body) <= _PART_BYTES or count == 1:
        yield body
        return
    for begin, end in ((0, count // 2), (count // 2, count)):
        yield from _bodies_of(change.part(begin, end))
