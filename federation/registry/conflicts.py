"""Conflicts: different contents offered under one identity, kept as records until somebody decides."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Literal

import attrs

from federation.errors import ConflictError, NotFoundError, UserError
from federation.model.dataset import DATASET_ID_NAMESPACE
from federation.registry.views import views

if TYPE_CHECKING:
    from collections.abc import Iterable

    from federation.registry.transaction import Transaction
    from federation.registry.views import Source

__all__ = ["Conflict", "conflict_id", "list_open", "note_conflict", "note_conflicts", "read", "resolve"]

#: what of two things that claim one identity stays
Keep = Literal["recorded", "offered"]


@attrs.frozen
class Conflict:
    """Two things under one dataset id. ``kind`` is ``checksum`` (contents) or ``definition`` (type, run or data ID).

    ``recorded`` is what the site that noticed has, ``offered`` the other, which is or was at ``uri``; ``noticed`` is in
    TAI nanoseconds. ``resolution`` is ``recorded`` or ``offered``, or None while it is open.
    """

    conflict_id: uuid.UUID
    dataset_id: uuid.UUID
    dataset_type: str
    run: str
    kind: str
    recorded: str
    offered: str
    uri: str | None
    site: str
    noticed: int
    resolution: str | None = None


def conflict_id(dataset_id: uuid.UUID, kind: str, recorded: str, offered: str) -> uuid.UUID:
    """Identity of a conflict by what it says, the same whichever of the two is the recorded one."""
    one, other = sorted((recorded, offered))
    return uuid.uuid5(DATASET_ID_NAMESPACE, f"conflict={dataset_id},{kind},{one},{other}")


def note_conflict(
    tx: Transaction,
    dataset_id: uuid.UUID,
    dataset_type: str,
    run: str,
    kind: str,
    recorded: str,
    offered: str,
    uri: str | None = None,
) -> uuid.UUID:
    """Record a conflict in the transaction's schema; one that is there, open or resolved, stays as it is."""
    identity = conflict_id(dataset_id, kind, recorded, offered)
    site, noticed = tx.registry.site, tx.registry.clock()
    noted = Conflict(identity, dataset_id, dataset_type, run, kind, recorded, offered, uri, site, noticed)
    note_conflicts(tx, [noted])
    return identity


def note_conflicts(tx: Transaction, conflicts: Iterable[Conflict]) -> int:
    """`note_conflict` for many; returns how many are new."""
    wanted = {conflict.conflict_id: conflict for conflict in conflicts}
    there = tx.select("conflict", ("conflict_id",), [(i,) for i in wanted])
    for row in there:
        del wanted[row["conflict_id"]]
    tx.put("conflict", [attrs.asdict(conflict) for conflict in wanted.values()])
    return len(wanted)


def read(source: Source, ids: Iterable[uuid.UUID] | None = None) -> list[Conflict]:
    """Conflicts that any schema here records (or those of ``ids``), each once: the nearest record, in order of time."""
    keys = None if ids is None else [(i,) for i in ids]
    found: dict[uuid.UUID, Conflict] = {}
    for view in views(source):
        if "conflict" not in view.tables:  # a registry of an older format
            continue
        rows: Iterable[tuple[Any, ...]]
        if keys is None:
            rows = map(tuple, view.connection.execute(view.tables["conflict"].select()))
        else:
            rows = view.rows("conflict", ("conflict_id",), keys)
        names = view.tables["conflict"].c.keys()
        for row in rows:
            conflict = Conflict(**dict(zip(names, row, strict=True)))
            found.setdefault(conflict.conflict_id, conflict)
    return sorted(found.values(), key=lambda conflict: (conflict.noticed, conflict.conflict_id))


def list_open(source: Source) -> list[Conflict]:
    """Conflicts that this site, or where it says nothing of one the site that noticed it, has not resolved."""
    return [conflict for conflict in read(source) if conflict.resolution is None]


def resolve(
    tx: Transaction, identity: uuid.UUID, keep: Keep, *, size_bytes: int | None = None, present: bool = False
) -> Conflict:
    """Resolve a conflict in the transaction's schema; returns it as it is now.

    ``recorded`` leaves all as it is. ``offered``, for contents only, gives up the file that this schema records of the
    dataset at this site: with ``present`` the offered one, whose ``uri`` holds ``size_bytes``, takes its place; else
    the site has none, until the other is brought. No file is touched. `NotFoundError` for an unknown conflict,
    `ConflictError` for one that is resolved otherwise, `UserError` for one that can't be resolved so.
    """
    if keep not in ("recorded", "offered"):
        raise UserError(f"a conflict can't be resolved by {keep!r}", hint="keep recorded or offered")
    found = read(tx, [identity])
    if not found:
        raise NotFoundError(
            f"no conflict {identity} at {tx.registry.site}", hint="run: federation registry conflicts"
        )
    conflict = found[0]
    if conflict.resolution == keep:
        return conflict
    if conflict.resolution is not None:
        raise ConflictError(
            f"conflict {identity} is resolved already: {conflict.resolution} was kept",
            hint="ingest the other content into another RUN",
        )
    if keep == "offered":
        if conflict.kind != "checksum":
            raise UserError(
                f"conflict {identity} is about the {conflict.kind} of dataset {conflict.dataset_id}, "
                "which can't be exchanged",
                hint="keep the recorded one; register the other as a new dataset",
            )
        _exchange(tx, conflict, size_bytes, present=present)
    resolved = attrs.evolve(conflict, resolution=keep)
    tx.put("conflict", [attrs.asdict(resolved)])
    return resolved


def _exchange(tx: Transaction, conflict: Conflict, size_bytes: int | None, *, present: bool) -> None:
    key = (conflict.dataset_id, tx.registry.site)
    for row in tx.select("artifact", ("dataset_id", "site"), [key]):
        if present:
            changed = {"uri": conflict.uri, "size_bytes": size_bytes, "checksum": conflict.offered}
        else:
            changed = {"size_bytes": None, "checksum": None}
        tx.put("artifact", [{**row, **changed, "present": present}])
