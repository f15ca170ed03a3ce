"""What became of making or changing a snapshot, or would become of it."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

import attrs

from federation.datastore.io_errors import free_bytes
from federation.snapshot.manifest import Refusal

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from federation.model.position import Position
    from federation.snapshot.closure import Closure
    from federation.snapshot.manifest import Counts
    from federation.snapshot.source import SnapshotSource

__all__ = ["SnapshotReport", "estimate", "missing_keys"]

#: room for the registry, by rows, and for rounding up to blocks, by what there is
_BYTES_PER_ROW, _SPACE_FACTOR = 400, 1.05


@attrs.frozen
class SnapshotReport:
    """What was made, or with ``dry_run`` would be.

    ``datasets``, ``records`` (rows of all tables), ``files`` and ``size_bytes`` are of the whole snapshot after a
    creation and of what was added after a change. ``missing`` names per table the keys that something refers to and
    no site has, under ``file`` datasets whose files are recorded and present nowhere, and under ``schema`` schemas
    that were left out because the caller may not read them, which ``refused`` explains. ``gone`` are datasets that a
    refresh found at no site any more; they stay in the snapshot. ``rounds`` is 0 for a run that went on behind the
    closure. A dry run estimates ``needed_bytes``, of which ``free_bytes`` are there (None: not known).
    """

    target: Path
    datasets: int
    records: int
    files: int
    size_bytes: int
    rounds: int
    positions: tuple[Position, ...]
    missing: dict[str, tuple[str, ...]]
    seconds: float
    dry_run: bool = False
    refused: tuple[Refusal, ...] = ()
    gone: tuple[str, ...] = ()
    needed_bytes: int = 0
    free_bytes: int | None = None

    @classmethod
    def of(
        cls, target: Path, counts: Counts, result: dict[str, Any], files: dict[str, Any], started: float
    ) -> SnapshotReport:
        """The report of a run from what its steps noted."""
        refused = [*result["refused"], *files["refused"]]
        missing = {table: tuple(keys) for table, keys in result["missing"].items()}
        if files["absent"]:
            missing["file"] = tuple(files["absent"])
        schemas = tuple(one[0].removeprefix("schema ") for one in refused if one[0].startswith("schema "))
        if schemas:
            missing["schema"] = schemas
        return cls(
            target, counts.dataset_count, sum(counts.row_count.values()), counts.file_count, counts.size_bytes,
            result["rounds"], tuple(result["positions"]), missing, time.monotonic() - started,
            refused=tuple(Refusal(*one) for one in refused), gone=tuple(result["gone"]),
        )  # fmt: skip


def missing_keys(closure: Closure) -> dict[str, list[str]]:
    """Keys that no site has, by table, as text."""
    return {
        table: ["/".join(str(value) for value in key) for key in keys]
        for table, keys in closure.missing.items()
    }


def estimate(
    source: SnapshotSource,
    closure: Closure,
    target: Path,
    *,
    files: bool,
    known: AbstractSet[uuid.UUID],
    started: float,
) -> SnapshotReport:
    """What a closure would add to a snapshot at ``target`` that has the files of ``known`` datasets."""
    size: dict[uuid.UUID, int] = {}
    for part in closure.table("artifact") if files else ():
        dataset, present, size_bytes = (
            part.columns.index(n) for n in ("dataset_id", "present", "size_bytes")
        )
        for row in part.rows:
            if row[present] and row[dataset] not in known:
                size[row[dataset]] = row[size_bytes] or 0
    used = {part.source for part in closure.rows}
    records = sum(len(part.rows) for part in closure.rows)
    missing = {table: tuple(keys) for table, keys in missing_keys(closure).items()}
    refused = source.refusals
    schemas = tuple(one.what.removeprefix("schema ") for one in refused)
    if schemas:
        missing["schema"] = schemas
    return SnapshotReport(
        target, len(closure.members), records, len(size), sum(size.values()), closure.rounds,
        tuple(position for position in source.positions() if position.schema_id in used),
        missing, time.monotonic() - started, dry_run=True, refused=refused,
        needed_bytes=round((sum(size.values()) + records * _BYTES_PER_ROW) * _SPACE_FACTOR),
        free_bytes=free_bytes(target.absolute()),
    )  # fmt: skip
