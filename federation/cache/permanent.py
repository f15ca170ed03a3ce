"""Whether a permanent site has a file: its registry names it there with the same content, and knows its dataset."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pyarrow as pa

from federation.errors import FederationError
from federation.model.logical import LogicalType
from federation.planner.plan import OutputColumn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from federation.cache.victims import CachedFile
    from federation.execution.gathering import QueryableSite
    from federation.model.position import Position

__all__ = ["PermanentSites"]

#: files that are asked about in one call
_ASKED_MAX = 2000
_TIMEOUT_S = 60.0
_COLUMNS = (OutputColumn("dataset_id", LogicalType.UUID), OutputColumn("checksum", LogicalType.STRING))
# of the dataset's rows, too: a file without them would be of no use there
_FILES_THERE = (
    'SELECT a.dataset_id, a.checksum FROM "{site}/{site}".artifact AS a '
    'JOIN "{owner}".dataset AS d ON d.dataset_id = a.dataset_id '
    "WHERE a.site = '{site}' AND a.present AND a.dataset_id IN (SELECT value FROM param.ids)"
)


class PermanentSites:
    """The sites that keep files for good, in the order in which they are asked."""

    def __init__(self, clients: Mapping[str, QueryableSite]) -> None:
        self._clients = dict(clients)
        #: what is wrong with sites that could not be asked, by site
        self.problems: dict[str, str] = {}

    def proofs(self, files: Sequence[CachedFile]) -> dict[uuid.UUID, str]:
        """Of those files that a permanent site has: by what that is known, in words with a position.

        A site that does not answer proves nothing.
        """
        found: dict[uuid.UUID, str] = {}
        for site, client in self._clients.items():
            todo = [file for file in files if file.dataset_id not in found]
            try:
                for part in _parts(todo):
                    found |= self._ask(site, client, part)
            except FederationError as error:
                self.problems[site] = error.message
            else:
                self.problems.pop(site, None)
        return found

    @staticmethod
    def _ask(site: str, client: QueryableSite, files: Sequence[CachedFile]) -> dict[uuid.UUID, str]:
        """``files`` are of one schema."""
        ids = pa.array([file.dataset_id.bytes for file in files], pa.binary(16)).cast(pa.uuid())
        sql = _FILES_THERE.format(site=site, owner=files[0].owner)
        wanted = {file.dataset_id: file.checksum for file in files}
        proof: dict[uuid.UUID, str] = {}
        with client.execute(sql, _COLUMNS, {"ids": pa.table({"value": ids})}, timeout_s=_TIMEOUT_S) as rows:
            there = [row for batch in rows for row in batch.to_pylist()]
            said = _said(site, rows.positions)
        for row in there:
            dataset_id = row["dataset_id"]
            if not isinstance(dataset_id, uuid.UUID):
                dataset_id = uuid.UUID(bytes=dataset_id)
            if wanted.get(dataset_id) == row["checksum"]:
                proof[dataset_id] = f"{row['checksum']} {said}"
        return proof


def _parts(files: Sequence[CachedFile]) -> Iterator[list[CachedFile]]:
    by_owner: dict[str, list[CachedFile]] = {}
    for file in files:
        by_owner.setdefault(file.owner, []).append(file)
    for owned in by_owner.values():
        for start in range(0, len(owned), _ASKED_MAX):
            yield owned[start : start + _ASKED_MAX]


def _said(site: str, positions: Sequence[Position]) -> str:
    return f"at {site}, which has read " + ", ".join(map(str, positions))
