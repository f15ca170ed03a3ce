"""The verbs on the history of a site: its logs and their followers, backups, and going on after a restore."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import sqlalchemy as sa

from federation.changelog.epochs import epochs
from federation.changelog.floor import floor_of
from federation.changelog.followers import followers, forget_follower
from federation.changelog.log import log_state, log_tables
from federation.changelog.retention import count_entries, held_for, plan_trim
from federation.config import find_site, load_federation
from federation.errors import ConflictError, NotFoundError
from federation.model.position import SchemaId
from federation.registry.migrating.backup import back_up
from federation.registry.registry import Registry
from federation.registry.restoring import restore
from federation.replication.shown import ShownPositions
from federation.replication.snapshots import stamp_all
from federation.services.server_lock import ServerLock
from federation.storage import META_SCHEMA, open_database

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.changelog.epochs import Epoch
    from federation.changelog.followers import RegisteredFollower
    from federation.changelog.retention import TrimPlan
    from federation.config import SiteConfig
    from federation.registry.schemas import HeldSchema

__all__ = [
    "FollowerReport",
    "LogReport",
    "RestoreReport",
    "RestoredLog",
    "backup_site",
    "forget_replica",
    "restore_site",
    "site_log",
]


@attrs.frozen
class FollowerReport:
    """A registered follower: how many entries it lacks, how long ago it was heard, and whether the log waits for it."""

    follower: RegisteredFollower
    lag_lsn: int
    age_s: float
    is_waited_for: bool


@attrs.frozen
class LogReport:
    """The log of one schema: entries ``first_lsn`` to ``head_lsn`` are kept, ``size_bytes`` of them.

    ``age_s`` is the age of the oldest, ``to_trim`` what the server would trim now, ``refusal`` why the log is not
    published, empty where it is.
    """

    site: str
    schema: SchemaId
    epoch: str
    first_lsn: int
    head_lsn: int
    size_bytes: int
    age_s: float
    epochs: tuple[Epoch, ...]
    followers: tuple[FollowerReport, ...]
    to_trim: TrimPlan
    refusal: str = ""


@attrs.frozen
class RestoredLog:
    """A log that goes on in a new epoch from ``lsn``; followers were shown it up to ``shown_lsn`` (None: not known)."""

    schema: SchemaId
    epoch: str
    lsn: int
    shown_lsn: int | None


@attrs.frozen
class RestoreReport:
    """A restored site; ``replaced`` is where the registry went that was there before, None where it was kept."""

    site: str
    replaced: Path | None
    logs: tuple[RestoredLog, ...]


def site_log(names: Sequence[str] = (), *, sites: str | Path = "sites") -> tuple[LogReport, ...]:
    """How far back the logs of sites reach, who follows them, and what trimming would do; all sites without names."""
    directory = Path(sites)
    configs = [find_site(name, directory) for name in names] or load_federation(directory)
    reports: list[LogReport] = []
    for config in configs:
        with Registry.open(config) as registry:
            registry.check_writable()
            reports += [report for held in registry.held() if (report := _report(registry, config, held))]
    return tuple(reports)


def _report(registry: Registry, config: SiteConfig, held: HeldSchema) -> LogReport | None:
    """None for a replica that keeps no log."""
    stamp_all(registry, held)
    floor = count_entries(registry.database, held.physical)
    if not held.owned and not floor.size_bytes:
        return None
    now, log = registry.clock(), log_tables(held.physical).log
    with registry.database.read((held.physical,)) as connection:
        state, floor = log_state(connection, held.physical), floor_of(connection, held.physical)
        oldest = connection.execute(
            sa.select(log.c.committed_tai_ns).where(log.c.lsn > floor.lsn).order_by(log.c.lsn).limit(1)
        ).scalar()
        history, registered = epochs(connection, held.physical), followers(connection, held.physical)
        needed = held_for(registered, history, config.log.follower_timeout_s, now)
        plan = plan_trim(connection, held.physical, config.log, needed, now)
    return LogReport(
        config.name,
        held.schema,
        state.epoch,
        floor.lsn + 1,
        state.lsn,
        floor.size_bytes,
        0.0 if oldest is None else max(0, now - oldest) / 1e9,
        history,
        tuple(
            FollowerReport(one, max(0, state.lsn - one.lsn), one.age_s(now), one.name in needed)
            for one in registered
        ),
        plan,
        ShownPositions(registry, config.shown_dir).refusal(held),
    )


def forget_replica(
    follower: str, *, site: str, sites: str | Path = "sites", schema: str | None = None
) -> tuple[SchemaId, ...]:
    """Take a follower off the lists of a site's logs (or of one schema's), which are then no longer kept for it.

    Returns of which ones it was; `NotFoundError` where it was on none. It comes back on by following again.
    """
    config = find_site(site, Path(sites))
    with Registry.open(config) as registry:
        registry.check_writable()
        gone, known = [], set()
        for held in registry.held():
            if schema is not None and schema not in (held.schema.name, str(held.schema)):
                continue
            with registry.database.write(held.physical) as connection:
                known |= {one.name for one in followers(connection, held.physical)}
                if forget_follower(connection, held.physical, follower):
                    gone.append(held.schema)
    if not gone:
        raise NotFoundError(
            f"site {config.name} knows no follower {follower!r}" + (f" of {schema}" if schema else ""),
            hint=f"it knows: {', '.join(sorted(known)) or 'none'}",
        )
    return tuple(gone)


def backup_site(site: str, target: str | Path, *, sites: str | Path = "sites") -> Path:
    """Copy the registry of a site, as it is at one moment, to the new directory ``target``; the site goes on meanwhile.

    The files of datasets are not in it. `ConflictError` where ``target`` is there already.
    """
    config, path = find_site(site, Path(sites)), Path(target).absolute()
    if path.exists():
        raise ConflictError(f"{path} is there already", hint="name a new directory for each backup")
    with Registry.open(config) as registry:
        schemas = (META_SCHEMA, *(held.physical for held in registry.held()))
        return back_up(registry.database, schemas, path.parent, path.name)


def restore_site(
    site: str, *, sites: str | Path = "sites", backup: str | Path | None = None
) -> RestoreReport:
    """Let the logs of a restored site go on: each in a new epoch from its end, which followers learn of.

    With ``backup``, a directory of `backup_site`, the registry is first replaced by it, and what was there is kept in
    ``backup`` below the site's root. Without, it was put back by other means, such as ``pg_restore``. The same again
    does no harm. `ConflictError` while a server runs on the site.
    """
    config = find_site(site, Path(sites))
    lock = ServerLock(config.root, config.name)
    try:
        replaced = None
        if backup is not None:
            with closing(open_database(config)) as database:
                replaced = restore(database, config.name, Path(backup).absolute(), config.root / "backup")
        with Registry.open(config) as registry:
            registry.check_writable()
            shown = ShownPositions(registry, config.shown_dir)
            logs = []
            for held in registry.held():
                if held.owned:
                    mark, state = shown.restored(held)
                    known = None if mark is None else mark.lsn
                    logs.append(RestoredLog(held.schema, state.epoch, state.lsn, known))
        return RestoreReport(config.name, replaced, tuple(logs))
    finally:
        lock.release()
