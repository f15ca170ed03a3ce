"""Verbs on a site's datastore: what its files are against the registry, and files from one store to another."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from federation.config import find_site
from federation.datastore import (
    CopyMode,
    Datastore,
    TransferItem,
    TransferJournal,
    transfer,
)
from federation.datastore.durable import is_temporary, make_directories
from federation.datastore.meter import Meter
from federation.errors import CorruptionError, UserError
from federation.registry.file_check import FileCheck, Trouble, withdraw
from federation.registry.registry import Registry
from federation.registry.retirement import RETIRED_DIRECTORY, list_retired

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from federation.config import StoreOptions
    from federation.datastore import TransferEvent, TransferReport
    from federation.registry.file_check import Finding

__all__ = ["CheckSummary", "check_datastore", "copy_datastore"]


@attrs.frozen
class CheckSummary:
    """What a check of ``site`` came to: recorded files, bytes of those that are there, and findings of each kind.

    After a repair ``withdrawn`` rows say that their files are not here, and ``removed`` leftovers are gone.
    """

    site: str
    files: int
    size_bytes: int
    counts: Mapping[Trouble, int]
    withdrawn: int = 0
    removed: int = 0

    @property
    def lost(self) -> int:
        """Files that the registry promises and the datastore doesn't hold as recorded."""
        return sum(count for trouble, count in self.counts.items() if trouble.is_loss)

    def raise_for_loss(self) -> None:
        """`CorruptionError` when a file is not as it is recorded; nothing otherwise."""
        if self.lost:
            told = ", ".join(f"{n} {kind}" for kind, n in sorted(self.counts.items()) if kind.is_loss)
            raise CorruptionError(
                f"{self.lost} of {self.files} files of {self.site} are not as recorded: {told}",
                hint="copy them from another site: federation datastore check --repair, then federation transfer",
            )


def check_datastore(
    site: str,
    *,
    sites: str | Path = "sites",
    deep: bool = False,
    repair: bool = False,
    older_than_s: float = 3600.0,
    rate_bytes_s: float | None = None,
    on_finding: Callable[[Finding], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> CheckSummary:
    """Compare the files of a site's datastore with its registry, by name and size, or with ``deep`` by checksum.

    ``on_finding`` hears of each file that is missing, changed, corrupt, unreadable, of a retired dataset, recorded
    nowhere or left over by a killed writer; ``progress`` of how many files were compared. ``repair`` makes rows of lost
    files say so, after which they are fetched from other sites like any that is wanted, and removes leftovers that are
    older than ``older_than_s``; it touches no other file. `NotFoundError` when there is no datastore.
    """
    config = find_site(site, Path(sites))
    with Registry.open(config) as registry:
        store = Datastore(config.datastore_url, config.datastore_options)
        retired = {
            store.relative(uri): one.name
            for one in list_retired(config.root / RETIRED_DIRECTORY)
            for uri in one.uris
            if store.contains(uri)
        }
        check = FileCheck(
            registry, store, deep=deep, rate_bytes_s=rate_bytes_s, progress=progress, retired=retired
        )
        found: list[Finding] = []
        for finding in check:
            if on_finding is not None:
                on_finding(finding)
            if repair and (finding.trouble.is_loss or finding.trouble is Trouble.INTERRUPTED):
                found.append(finding)
        withdrawn, removed = withdraw(registry, store, found, older_than_s=older_than_s) if repair else (0, 0)
    return CheckSummary(config.name, check.files, check.size_bytes, dict(check.counts), withdrawn, removed)


def copy_datastore(
    source: str,
    target: str,
    *,
    journal: str | Path | None = None,
    mode: CopyMode = CopyMode.STREAM,
    workers: int | None = None,
    rate_bytes_s: float | None = None,
    source_options: StoreOptions | None = None,
    target_options: StoreOptions | None = None,
    progress: Callable[[Meter, TransferEvent], None] | None = None,
) -> TransferReport:
    """Copy all files below one URL or path to another, each whole or not at all.

    ``journal`` is a file; with it a run that was cut short goes on where it was, and a second one copies only what is
    new or changed. Without it, a journal stands beside a local target, or in the current directory, until all files are
    copied. ``progress`` is told what
    happened, with a `Meter` that knows rate and time left. `NotFoundError` when there is no such source.
    """
    origin, place = Datastore(source, source_options), Datastore(target, target_options)
    if f"{place.url}/".startswith(f"{origin.url}/") or f"{origin.url}/".startswith(f"{place.url}/"):
        raise UserError(
            f"{place.url} and {origin.url} hold each other", hint="choose a target beside the source"
        )
    origin.check_readable()
    items = [
        # with the version: a source that was changed is another file to the journal
        TransferItem(f"{path}@{info.version}", (origin.source(path),), path, info.size_bytes, info.checksum)
        for path, info in sorted(origin.walk())
        if not is_temporary(path.rpartition("/")[2])
    ]
    meter = Meter(sum(item.size_bytes or 0 for item in items), len(items))

    def tell(event: TransferEvent) -> None:
        meter.take(event)
        if progress is not None:
            progress(meter, event)

    if place.local_root is not None:
        make_directories(place.local_root)
    with ExitStack() as stack:
        path = Path(journal) if journal is not None else _journal_path(place)
        transfers = stack.enter_context(TransferJournal(path))
        report = transfer(
            items,
            place,
            journal=transfers,
            mode=mode,
            workers=workers,
            rate_bytes_s=rate_bytes_s,
            progress=tell,
        )
    if journal is None and not report.failed:
        for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
            path.with_name(name).unlink(missing_ok=True)
    return report


def _journal_path(place: Datastore) -> Path:
    if place.local_root is not None:
        return place.local_root.with_name(f".{place.local_root.name}.transfer.sqlite")
    name = "".join(character if character.isalnum() else "_" for character in place.url)
    return Path(f".{name[-100:]}.transfer.sqlite")
