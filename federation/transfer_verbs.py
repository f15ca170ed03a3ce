"""``federation transfer``: chosen datasets' files to a site, once its replicas know the datasets."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import attrs

from federation.errors import FederationError, LimitError, NotFoundError, UnavailableError, UsageError
from federation.request_context import RequestPool
from federation.session import connect
from federation.snapshot.lookup import RowsByIds
from federation.snapshot.selection import find_seeds
from federation.snapshot.source import FederatedSource
from federation.snapshot_choice import selection_of
from federation.wire.messages import BroughtFile, FileSlice

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from federation.session import Session
    from federation.wire.client import SiteClient

__all__ = ["TransferSummary", "transfer"]

#: files that are asked for in one call
_BATCH = 1000
_PUSH_WORKERS = 4
_POLL_S = 0.1


@attrs.frozen
class TransferSummary:
    """What a transfer to ``site`` came to; ``failed`` files by dataset id, each with its reason."""

    site: str
    brought: int
    size_bytes: int
    were_there: int
    failed: Mapping[uuid.UUID, FederationError]

    def raise_for_failure(self) -> None:
        """Raise the first failure, saying how many there were; nothing if there were none."""
        if not self.failed:
            return
        error = next(iter(self.failed.values()))
        if len(self.failed) > 1:
            total = len(self.failed) + self.brought + self.were_there
            error = type(error)(
                f"{len(self.failed)} of {total} files failed, first: {error.message}", hint=error.hint
            )
        raise error


def transfer(
    to: str,
    *,
    site: str | Path | None = None,
    sites: str | Path = "sites",
    where: str | None = None,
    dataset_types: Sequence[str] = (),
    sql: str | None = None,
    ids: Iterable[uuid.UUID] | Path | None = None,
    members: Sequence[str] = (),
    push: bool = False,
    timeout_s: float = 60.0,
    progress: Callable[[BroughtFile, int], None] | None = None,
) -> TransferSummary:
    """Bring the files of chosen datasets to site ``to``: extracted, sent, verified and ingested there.

    Datasets are chosen as for a snapshot. First the site's replicas must have come to where their owners stand now,
    for which they get ``timeout_s``. Then the site pulls the files from wherever they are; with ``push``, they are
    read and sent by this process, which is for a site that cannot reach the others. Files that are there already
    stay. ``progress`` is told of each file and of how many there are. Running it again goes on with what is missing.

    Raises `LimitError` when the replicas take too long, `NotFoundError` for a site that there is not.
    """
    selection = selection_of(where, dataset_types, sql, ids, members, ())
    with connect(site, sites) as session:
        client = _client(session, to)
        source = FederatedSource(session.coordinator, purpose="transfer")
        chosen = sorted(find_seeds(source, selection))
        _wait_for_rows(client, source, timeout_s)
        files = _pushed(client, source, chosen) if push else _pulled(client, chosen)
        brought = size_bytes = were_there = 0
        failed: dict[uuid.UUID, FederationError] = {}
        for file in files:
            if file.error is not None:
                failed[file.dataset_id] = file.error
            elif file.was_here:
                were_there += 1
            else:
                brought, size_bytes = brought + 1, size_bytes + file.size_bytes
            if progress is not None:
                progress(file, len(chosen))
    return TransferSummary(to, brought, size_bytes, were_there, failed)


def _client(session: Session, to: str) -> SiteClient:
    clients: Mapping[str, Any] = session.coordinator.clients
    if to not in clients:
        raise NotFoundError(f"no site {to!r}", hint="sites: " + ", ".join(sorted(clients)))
    if not hasattr(clients[to], "bring"):
        raise UsageError(f"{to} is a snapshot, not a served site", hint="use: federation snapshot extend")
    found: SiteClient = clients[to]
    return found


def _wait_for_rows(client: SiteClient, source: FederatedSource, timeout_s: float) -> None:
    """Until the replicas of the site have what their owners had when the datasets were chosen."""
    wanted = {(one.site, one.schema): one for one in source.positions()}
    deadline = time.monotonic() + timeout_s
    while True:
        behind = []
        for held in client.status().schemas:
            owner = wanted.get((held.schema.site, held.schema.name))
            is_there = owner is None or held.owned or (held.epoch == owner.epoch and held.lsn >= owner.lsn)
            if not is_there and owner is not None:
                behind.append(f"{held.schema} is at LSN {held.lsn} of {owner.lsn}")
        if not behind:
            return
        if time.monotonic() > deadline:
            raise LimitError(
                f"{client.site} did not come to where the datasets were chosen in {timeout_s:g} s: "
                + "; ".join(behind),
                hint=f"see: federation replica status {client.site}; or allow more with --timeout",
            )
        # another process applies what is missing
        threading.Event().wait(_POLL_S)


def _pulled(client: SiteClient, ids: Sequence[uuid.UUID]) -> Iterator[BroughtFile]:
    for start in range(0, len(ids), _BATCH):
        with client.bring(ids[start : start + _BATCH]) as files:
            yield from files


def _pushed(client: SiteClient, source: FederatedSource, ids: Sequence[uuid.UUID]) -> Iterator[BroughtFile]:
    artifacts: dict[uuid.UUID, list[Mapping[str, Any]]] = {}
    for start in range(0, len(ids), _BATCH):
        some = frozenset(ids[start : start + _BATCH])
        for answer in source.lookup((RowsByIds("artifact", "dataset_id", some),)):
            for row in answer.mappings():
                artifacts.setdefault(row["dataset_id"], []).append(row)

    def push(dataset_id: uuid.UUID) -> BroughtFile:
        rows = artifacts.get(dataset_id, [])
        if any(row["site"] == client.site and row["present"] for row in rows):
            return BroughtFile(dataset_id, was_here=True)
        try:
            return _push(client, source, dataset_id, rows)
        except FederationError as error:
            return BroughtFile(dataset_id, error=error)

    with RequestPool(_PUSH_WORKERS, "push-file") as pool:
        yield from pool.map(push, ids)


def _push(
    client: SiteClient, source: FederatedSource, dataset_id: uuid.UUID, rows: Sequence[Mapping[str, Any]]
) -> BroughtFile:
    """Send one file, from the first source that has it right."""
    problem: FederationError = NotFoundError(
        f"no site has a file of dataset {dataset_id}", hint="look at table artifact"
    )
    known = next((row for row in rows if row["present"] and row["checksum"]), None)
    if known is None:
        raise problem
    for one in source.artifact_sources(rows):
        try:
            with one.open() as chunks:
                file = FileSlice(dataset_id, known["size_bytes"] or 0, known["checksum"], chunks)
                return client.store(file, known["formatter"])
        except (UnavailableError, NotFoundError) as error:
            problem = error
    raise problem
