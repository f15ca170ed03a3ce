"""What a comparison of a replica with its source found, and what a repair did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from federation.model.position import SchemaId
    from federation.replication.copy_apply import Mended

__all__ = ["Difference", "RepairReport", "TableCheck", "VerifyReport"]


@attrs.frozen
class Difference:
    """One row that is not alike: ``missing`` in the replica, ``extra`` there, or ``changed``; ``key`` is JSON."""

    table: str
    key: str
    kind: str


@attrs.frozen
class TableCheck:
    """One table on both sides, the replica's with the entries applied that it has not seen yet."""

    table: str
    row_count: int
    replica_row_count: int
    is_equal: bool


@attrs.frozen
class VerifyReport:
    """A replica, read at ``replica_lsn``, compared with its source at ``lsn``, by way of the log between the two.

    ``differences`` names up to 100,000 rows, ``difference_count`` tells of all.
    """

    schema: SchemaId
    epoch: str
    lsn: int
    tables: tuple[TableCheck, ...]
    differences: tuple[Difference, ...]
    replica_lsn: int = 0
    difference_count: int = 0

    @property
    def is_equal(self) -> bool:
        return all(table.is_equal for table in self.tables)


@attrs.frozen
class RepairReport:
    """What `repair` did at ``lsn``: ``mended`` by table; ``copied`` where the source's log does not go on from there.

    ``found`` is what was wrong, None when it was copied.
    """

    schema: SchemaId
    found: VerifyReport | None
    mended: Mapping[str, Mended]
    copied: bool
    lsn: int
