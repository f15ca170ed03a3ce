"""Bringing a replica to its source's state by a copy: whole where it is empty, else only of what differs.

Parts are staged in a file as they arrive. A copy that breaks off, on either side, goes on behind the last part that is
there; a whole one is applied while it arrives. The replica shows the old rows or the new ones, never a mixture.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import attrs

from federation.changelog import LogState, log_state
from federation.errors import UnavailableError
from federation.model.log_filter import LogFilter
from federation.replication.copy_apply import CopyTarget, Mended, apply_difference, apply_whole, is_empty
from federation.replication.digests import digest_tables
from federation.replication.staged_copy import StagedCopy
from federation.wire.messages import BootstrapFrom

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema
    from federation.wire.client import SiteClient

__all__ = ["BUCKET_COUNT", "CopyReport", "copy_replica"]

#: of each table; a bucket is what is sent again where one of its rows differs
BUCKET_COUNT = 1024
_EVERYTHING = LogFilter()


@attrs.frozen
class CopyReport:
    """Where a replica stands after a copy; ``mended`` is what a copy of the difference did, by table, else None."""

    state: LogState
    mended: Mapping[str, Mended] | None = None


def copy_replica(
    registry: Registry,
    held: HeldSchema,
    client: SiteClient,
    name: str,
    wanted: LogFilter = _EVERYTHING,
    check_epoch: Callable[[str], None] = lambda _epoch: None,
    stopping: threading.Event | None = None,
) -> CopyReport:
    """Make a replica equal to its source as of now; ``name`` is what the source sees, ``wanted`` what is copied.

    ``check_epoch`` may refuse a source by the epoch of its log; setting ``stopping`` gives the copy up within a moment.

    `LimitError` without room, `UnavailableError` when the copy breaks off or another process copies it too,
    `CorruptionError` for damaged parts. What has arrived is kept for the next call.
    """
    registry.check_writable()
    with registry.database.read((held.physical,)) as connection:
        previous = log_state(connection, held.physical)
    target = CopyTarget(held, previous, wanted)
    request = _request(registry, target, name)
    with StagedCopy(
        registry, held, client, request, previous, check_epoch=check_epoch, stopping=stopping
    ) as staged:
        if not staged.asked.bucket_count:
            state = apply_whole(registry, target, staged.bodies(), staged.state)
            report = CopyReport(state)
        else:
            staged.receive()
            mended = apply_difference(
                registry, target, staged.bodies, staged.stale, staged.asked.bucket_count, staged.state()
            )
            report = CopyReport(staged.state(), mended)
        staged.discard()
    return report


def _request(registry: Registry, target: CopyTarget, name: str) -> BootstrapFrom:
    held = target.held
    wanted = BootstrapFrom(held.schema, name, registry.universe.fingerprint, target.filter)
    if is_empty(registry, held):
        return wanted
    with registry.database.read((held.physical,)) as connection:
        if log_state(connection, held.physical) != target.previous:
            raise UnavailableError(
                f"another process has moved the replica of {held.schema} meanwhile",
                hint="it is taken up from there",
            )
        found = digest_tables(registry, connection, held, BUCKET_COUNT)
    have = {table: sums.digests() for table, sums in found.items() if sums.row_count}
    return attrs.evolve(wanted, bucket_count=BUCKET_COUNT, have=have)
