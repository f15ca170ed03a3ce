"""What a copy consists of, read from one snapshot: all rows of a schema, or those in which a follower's differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np

from federation.changelog import SCHEMA_VERSION, LogState, encode_changes
from federation.errors import UserError
from federation.model.change import Change, Operation
from federation.replication.copy_space import schema_size
from federation.replication.digests import (
    BUCKET_COUNT_MAX,
    DIGEST_BYTES,
    bucket_numbers,
    digest_tables,
    key_columns,
)
from federation.replication.scan import scan_schema
from federation.replication.snapshots import stamped_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy.typing as npt
    import sqlalchemy as sa

    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema
    from federation.wire.messages import BootstrapFrom

    #: by table, for each bucket whether its rows are sent
    Chosen = Mapping[str, npt.NDArray[np.bool_]]

__all__ = ["CopyHead", "read_copy"]

_PART_BYTES = 4 << 20


@attrs.frozen
class CopyHead:
    """Of what moment a copy is, which buckets of which tables it replaces (None: all), and the schema's size."""

    state: LogState
    stale: Mapping[str, tuple[int, ...]] | None
    size_bytes: int
    schema_version: int = SCHEMA_VERSION


def read_copy(
    registry: Registry, held: HeldSchema, wanted: BootstrapFrom, check: Callable[[], None] = lambda: None
) -> Iterator[CopyHead | bytes]:
    """First the head, then the bodies of the parts, while one snapshot is held.

    ``check`` is called now and then and may raise to end it. `UserError` when digests do not fit the number of buckets.
    """
    _check(wanted)
    with stamped_snapshot(registry, held) as (connection, state):
        chosen = _chosen(registry, connection, held, wanted, check)
        stale = None
        if chosen is not None:
            stale = {
                name: tuple(np.flatnonzero(mask).tolist()) for name, mask in chosen.items() if mask.any()
            }
        yield CopyHead(state, stale, schema_size(registry, connection, held))
        names = None if chosen is None else set(stale or ())
        for table, columns in scan_schema(registry, connection, held, names, wanted.filter, check):
            values = columns
            if chosen is not None:
                buckets = bucket_numbers(table, key_columns(table, columns), wanted.bucket_count)
                places = np.flatnonzero(chosen[table.name][buckets]).tolist()
                values = tuple([column[place] for place in places] for column in columns)
                if not places:
                    continue
            yield from _bodies(Change(table.name, Operation.PUT, table.stored_names, values))


def _check(wanted: BootstrapFrom) -> None:
    if not (wanted.have or wanted.only or wanted.bucket_count):
        return
    if not 1 <= wanted.bucket_count <= BUCKET_COUNT_MAX:
        raise UserError(
            f"{wanted.bucket_count} buckets in a request of {wanted.follower}",
            hint=f"from 1 to {BUCKET_COUNT_MAX}",
        )
    for table, digests in wanted.have.items():
        if len(digests) != DIGEST_BYTES * wanted.bucket_count:
            raise UserError(
                f"{len(digests)} bytes of digests of {table} for {wanted.bucket_count} buckets",
                hint=f"{DIGEST_BYTES} bytes a bucket",
            )
    for table, buckets in wanted.only.items():
        if buckets and not 0 <= min(buckets) <= max(buckets) < wanted.bucket_count:
            raise UserError(
                f"bucket {max(buckets)} of {table}, there are {wanted.bucket_count}", hint="count from 0"
            )


def _chosen(
    registry: Registry,
    connection: sa.Connection,
    held: HeldSchema,
    wanted: BootstrapFrom,
    check: Callable[[], None],
) -> Chosen | None:
    """The buckets to send; None for all rows."""
    if wanted.only:
        chosen = {}
        for name, buckets in wanted.only.items():
            chosen[name] = np.zeros(wanted.bucket_count, np.bool_)
            chosen[name][list(buckets)] = True
        return chosen
    if not wanted.bucket_count:
        return None
    ours = digest_tables(registry, connection, held, wanted.bucket_count, None, wanted.filter, check)
    found = {}
    for name in ours.keys() | wanted.have.keys():
        here = ours[name].digests() if name in ours else bytes(DIGEST_BYTES * wanted.bucket_count)
        there = wanted.have.get(name, bytes(DIGEST_BYTES * wanted.bucket_count))
        pairs = [np.frombuffer(side, np.uint64).reshape(-1, 2) for side in (here, there)]
        found[name] = (pairs[0] != pairs[1]).any(axis=1)
    return found


def _bodies(change: Change) -> Iterator[bytes]:
    body, count = encode_changes((change,)), change.row_count
    if len(body) <= _PART_BYTES or count == 1:
        yield body
        return
    for begin, end in ((0, count // 2), (count // 2, count)):
        yield from _bodies(change.part(begin, end))
