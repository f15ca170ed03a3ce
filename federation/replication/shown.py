"""What of this site's logs others may have seen, remembered outside the database; and new epochs where it is gone.

A database that was restored from a backup lacks entries that followers have, and would number other ones like them.
Before a log is published for the first time, it is compared with the mark beside it. A log without the marked entry is
not published until ``federation site restore`` begins a new epoch. One that has it, but lies in another database than
before, may have a twin that goes on elsewhere: it begins a new epoch by itself.
"""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING

import sqlalchemy as sa

from federation.changelog import LogState, log_state
from federation.changelog.epochs import begin_epoch, continued_until, epochs
from federation.changelog.floor import floor_of
from federation.changelog.log import log_tables
from federation.errors import CorruptionError
from federation.killpoints import killpoint
from federation.registry.schemas import FORMAT_VERSION
from federation.replication.high_water import HighWater, HighWaterFile
from federation.replication.positions import chain_at
from federation.replication.snapshots import stamp_all
from federation.storage import SqliteDatabase

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema

__all__ = ["ShownPositions", "begin_new_epoch"]


def _random_epoch() -> str:
    return secrets.token_hex(8)


def begin_new_epoch(
    registry: Registry, held: HeldSchema, new_epoch: Callable[[], str] = _random_epoch
) -> LogState:
    """Let an owned log go on in a new epoch from its end; returns where it begins."""
    registry.check_writable()
    stamp_all(registry, held)
    with registry.database.write(held.physical) as connection:
        table = log_tables(held.physical).state
        connection.execute(sa.select(table.c.id).with_for_update())
        end = log_state(connection, held.physical)
        state = LogState(new_epoch(), end.lsn, end.chain)
        begin_epoch(connection, held.physical, state, registry.clock())
        connection.execute(table.update().values(epoch=state.epoch))
        killpoint("epoch.before_commit")
    killpoint("epoch.after_commit")
    return state


class ShownPositions:
    """The marks of the logs that ``registry`` owns, in files of ``directory``; thread-safe."""

    def __init__(
        self, registry: Registry, directory: Path, new_epoch: Callable[[], str] = _random_epoch
    ) -> None:
        self._registry, self._directory, self._new_epoch = registry, directory, new_epoch
        self._files: dict[str, HighWaterFile] = {}
        self._refused: dict[str, CorruptionError] = {}
        self._lock = threading.Lock()

    def check(self, held: HeldSchema) -> None:
        """See that a log has what was shown of it; the first time in this process only.

        `CorruptionError` when it has not: it was restored from a backup, or is another one's copy.
        """
        if not held.owned or held.physical in self._files or self._registry.format_version != FORMAT_VERSION:
            return
        with self._lock:
            if held.physical in self._refused:
                raise self._refused[held.physical]
            if held.physical not in self._files:
                try:
                    self._files[held.physical] = self._checked(held)
                except CorruptionError as error:
                    self._refused[held.physical] = error
                    raise

    def show(self, held: HeldSchema, state: LogState) -> None:
        """Remember a position, before anything of it leaves this site; raises as `check` does."""
        self.check(held)
        file = self._files.get(held.physical)
        if file is None:
            return
        if file.mark is None or file.mark.epoch != state.epoch:
            # the schema was dropped and made again meanwhile
            with self._lock:
                file.close()
                self._files.pop(held.physical, None)
            self.check(held)
            file = self._files[held.physical]
        file.advance(state.lsn, state.chain)

    def sync(self) -> None:
        """Make all marks durable."""
        for file in list(self._files.values()):
            file.sync()

    def close(self) -> None:
        """Make all marks durable and close their files."""
        with self._lock:
            while self._files:
                _, file = self._files.popitem()
                file.close()

    def restored(self, held: HeldSchema) -> tuple[HighWater | None, LogState]:
        """Begin a new epoch whatever the mark says; returns the mark, if any, and where the epoch begins."""
        try:
            before = HighWaterFile.open(self._path(held)).mark
        except CorruptionError:
            before = None
        state = begin_new_epoch(self._registry, held, self._new_epoch)
        file = HighWaterFile(self._path(held))
        with self._registry.database.read((held.physical,)) as connection:
            names = tuple(epoch.name for epoch in epochs(connection, held.physical))
            file.replace(self._mark(connection, held, names, state))
        file.close()
        with self._lock:
            self._files.pop(held.physical, None)
            self._refused.pop(held.physical, None)
        return before, state

    def refusal(self, held: HeldSchema) -> str:
        """Why a log would not be published, without changing anything; empty where it would be."""
        if not held.owned or self._registry.format_version != FORMAT_VERSION:
            return ""
        try:
            mark = HighWaterFile.open(self._path(held)).mark
            with self._registry.database.read((held.physical,)) as connection:
                names = {epoch.name for epoch in epochs(connection, held.physical)}
                if mark is not None and names & set(mark.epochs):
                    self._check_contains(connection, held, mark)
        except CorruptionError as error:
            return str(error)
        return ""

    def _path(self, held: HeldSchema) -> Path:
        return self._directory / f"{held.physical}.shown"

    def _checked(self, held: HeldSchema) -> HighWaterFile:
        file = HighWaterFile.open(self._path(held))
        with self._registry.database.read((held.physical,)) as connection:
            names = tuple(epoch.name for epoch in epochs(connection, held.physical))
            state = log_state(connection, held.physical)
            now = self._mark(connection, held, names, state)
            if file.mark is None or not set(names) & set(file.mark.epochs):
                file.replace(now)  # a new log, or the first time on this machine
                return file
            self._check_contains(connection, held, file.mark)
        if file.mark.identity != now.identity:
            state = begin_new_epoch(self._registry, held, self._new_epoch)
            now = HighWater(
                epochs=(*names, state.epoch), lsn=state.lsn, chain=state.chain, identity=now.identity
            )
        if file.mark.epochs[-1] != now.epochs[-1] or file.mark.identity != now.identity:
            file.replace(now)
        return file

    def _mark(
        self, connection: sa.Connection, held: HeldSchema, names: tuple[str, ...], state: LogState
    ) -> HighWater:
        return HighWater(
            epochs=names,
            lsn=state.lsn,
            chain=state.chain,
            identity=_identity(self._registry, connection, held),
        )

    def _check_contains(self, connection: sa.Connection, held: HeldSchema, mark: HighWater) -> None:
        state = log_state(connection, held.physical)
        until = continued_until(epochs(connection, held.physical), mark.epoch)
        if until is not None and mark.lsn <= min(until, state.lsn):
            found = chain_at(connection, held.physical, mark.lsn)
            if found == mark.chain or mark.lsn < floor_of(connection, held.physical).lsn:
                return
        what = (
            f"ends at {state.lsn}"
            if mark.lsn > state.lsn
            else f"has another entry {mark.lsn} than was published"
        )
        raise CorruptionError(
            f"the log of {held.schema} {what}; followers may have it up to {mark.lsn} (epoch {mark.epoch}): it was "
            "restored from a backup or is a copy, and is not published",
            hint=f"run: federation site restore {self._registry.site}",
        )


def _identity(registry: Registry, connection: sa.Connection, held: HeldSchema) -> str:
    """What a copy or a restored backup of this schema's database would not share."""
    if isinstance(registry.database, SqliteDatabase):
        return f"inode {registry.database.path(held.physical).stat().st_ino}"
    found = connection.execute(
        sa.text(
            "SELECT s.system_identifier, c.timeline_id, d.oid, n.oid FROM pg_control_system() s, "
            "pg_control_checkpoint() c, pg_database d, pg_namespace n "
            "WHERE d.datname = current_database() AND n.nspname = :schema"
        ),
        {"schema": held.physical},
    ).one()
    return "system {}, timeline {}, database {}, schema {}".format(*found)
