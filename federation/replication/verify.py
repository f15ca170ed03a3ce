"""Proof that a replica equals its source at one position: tables first, then buckets of keys, then rows."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import attrs

from federation.errors import UnavailableError
from federation.replication.digests import digest_schema
from federation.wire.messages import DigestOf

if TYPE_CHECKING:
    from federation.model.position import SchemaId
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema
    from federation.wire.client import SiteClient
    from federation.wire.messages import DigestAnswer

__all__ = ["Difference", "TableCheck", "VerifyReport", "verify"]

BUCKET_COUNT = 256
#: differing buckets of one table whose rows are named
BUCKETS_MAX = 16
_ATTEMPTS = 100
_PAUSE_S = 0.1
_TIMEOUT_S = 600.0


@attrs.frozen
class Difference:
    """One row that is not alike: ``missing`` in the replica, ``extra`` there, or ``changed``; ``key`` is JSON."""

    table: str
    key: str
    kind: str


@attrs.frozen
class TableCheck:
    """One table on both sides."""

    table: str
    row_count: int
    replica_row_count: int
    is_equal: bool


@attrs.frozen
class VerifyReport:
    """A replica compared with its source at ``lsn``; ``differences`` may leave some out where there are many."""

    schema: SchemaId
    epoch: str
    lsn: int
    tables: tuple[TableCheck, ...]
    differences: tuple[Difference, ...]

    @property
    def is_equal(self) -> bool:
        return all(table.is_equal for table in self.tables)


class _Moved(Exception):  # noqa: N818 - not an error: the comparison starts over
    """The two sides stand at different positions."""


def verify(registry: Registry, client: SiteClient, schema: SchemaId) -> VerifyReport:
    """Compare the replica of ``schema`` in ``registry`` with its source behind ``client``.

    Raises `NotFoundError` when there is no replica here, `UnavailableError` when the source does not answer or the two
    never stand at one position.
    """
    held = registry.get(schema)
    sides = "no answer"
    for _ in range(_ATTEMPTS):
        try:
            return _compare(registry, held, client)
        except _Moved as moved:
            sides = str(moved)
            # waits for the follower, which is another thread or process
            threading.Event().wait(_PAUSE_S)
    raise UnavailableError(
        f"{schema}: source and replica did not come to one position ({sides})",
        hint="check that the replica is followed: federation replica status; compare when there is less to do",
    )


def _ask(
    registry: Registry, held: HeldSchema, client: SiteClient, wanted: DigestOf, at: tuple[str, int] | None
) -> tuple[DigestAnswer, DigestAnswer]:
    source = client.digest(wanted, timeout_s=_TIMEOUT_S)
    here = digest_schema(registry, held, wanted)
    position = (source.epoch, source.lsn)
    # a replica has no epoch before its first entry
    is_same = (here.epoch, here.lsn) == position or (here.lsn == source.lsn == 0 and not here.epoch)
    if not is_same or at not in (None, position):
        raise _Moved(f"source {source.epoch}:{source.lsn}, replica {here.epoch or 'none'}:{here.lsn}")
    return source, here


def _compare(registry: Registry, held: HeldSchema, client: SiteClient) -> VerifyReport:
    source, here = _ask(registry, held, client, DigestOf(held.schema), None)
    at = (source.epoch, source.lsn)
    ours = {digest.table: digest for digest in here.tables}
    checks, differences = [], []
    for theirs in source.tables:
        mine = ours.pop(theirs.table, None)
        # a registry of an older format lacks tables, which are empty to it
        is_equal = (
            not theirs.row_count
            if mine is None
            else (mine.digest, mine.row_count) == (theirs.digest, theirs.row_count)
        )
        checks.append(TableCheck(theirs.table, theirs.row_count, mine.row_count if mine else 0, is_equal))
        if mine is not None and not is_equal:
            differences += _rows(registry, held, client, theirs.table, at)
    checks += [TableCheck(name, 0, digest.row_count, digest.row_count == 0) for name, digest in ours.items()]
    return VerifyReport(held.schema, source.epoch, source.lsn, tuple(checks), tuple(differences))


def _rows(
    registry: Registry, held: HeldSchema, client: SiteClient, table: str, at: tuple[str, int]
) -> list[Difference]:
    source, here = _ask(registry, held, client, DigestOf(held.schema, table, BUCKET_COUNT), at)
    differing = tuple(
        theirs.bucket for theirs, mine in zip(source.buckets, here.buckets, strict=True) if theirs != mine
    )[:BUCKETS_MAX]
    source, here = _ask(registry, held, client, DigestOf(held.schema, table, BUCKET_COUNT, differing), at)
    theirs_by_key = {row.key: row.digest for row in source.rows}
    mine_by_key = {row.key: row.digest for row in here.rows}
    found = [Difference(table, key, "missing") for key in theirs_by_key.keys() - mine_by_key.keys()]
    found += [Difference(table, key, "extra") for key in mine_by_key.keys() - theirs_by_key.keys()]
    found += [
        Difference(table, key, "changed")
        for key in theirs_by_key.keys() & mine_by_key.keys()
        if theirs_by_key[key] != mine_by_key[key]
    ]
    return sorted(found, key=lambda difference: (difference.key, difference.kind))
