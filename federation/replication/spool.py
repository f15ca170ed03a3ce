"""Copies on their way to followers: written to a file at the database's speed, sent from it at the follower's.

One thread a copy reads the database and appends parts; any number of streams send what is there and wait for more. A
finished copy is kept for a while, also when the site is started again, so that a broken stream can go on behind the
last part that arrived. One that was not finished when its process ended is thrown away.
"""

from __future__ import annotations

import os
import re
import secrets
import threading
import time
from typing import TYPE_CHECKING, Any

import attrs
import psutil
import sqlalchemy as sa

from federation.changelog import LogState, digest_of, encode_changes, log_state
from federation.errors import CorruptionError, FederationError, LimitError, UnavailableError
from federation.killpoints import killpoint
from federation.replication.copy_source import CopyHead, read_copy
from federation.replication.copy_space import check_space, copy_directory
from federation.replication.part_file import PartFile
from federation.replication.snapshots import stamp_all
from federation.wire.messages import BootstrapPart

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema
    from federation.wire.messages import BootstrapFrom

__all__ = ["Spool"]

#: how long a finished copy is kept after it was last read, and how many, and how much, at most
KEEP_S = 900.0
KEEP_COUNT_MAX = 8
KEEP_BYTES_MAX = 64 << 30
#: copies being written at once
WRITING_MAX = 4
_WRITING = re.compile(r"[0-9a-f]{16}\.(\d+)\.writing")


@attrs.define(eq=False)
class _Copy:
    """One copy; ``changed`` guards and announces what is below it."""

    copy_id: str
    asked: dict[str, Any]
    file: PartFile
    head: CopyHead
    changed: threading.Condition = attrs.field(factory=threading.Condition)
    part_count: int = 0
    is_whole: bool = False
    error: FederationError | None = None
    readers: int = 0
    used_at: float = attrs.field(factory=time.monotonic)

    @property
    def is_idle(self) -> bool:
        return self.readers == 0 and (self.is_whole or self.error is not None)


class Spool:
    """The copies of one registry; thread-safe."""

    def __init__(self, registry: Registry, *, keep_s: float = KEEP_S) -> None:
        self._registry, self._keep_s = registry, keep_s
        self._copies: dict[str, _Copy] | None = None  # None: not looked yet for what a former process left
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._timer: threading.Timer | None = None

    def stop(self) -> None:
        """End what is being written and every stream; finished copies stay."""
        self._stopping.set()
        with self._lock:
            copies = list((self._copies or {}).values())
            if self._timer is not None:
                self._timer.cancel()
        for copy in copies:
            with copy.changed:
                copy.changed.notify_all()
        for thread in self._threads:
            thread.join()
        for copy in copies:
            if copy.readers == 0:
                copy.file.close()

    def parts(self, held: HeldSchema, wanted: BootstrapFrom) -> Iterator[BootstrapPart]:
        """The parts of the copy that ``wanted`` names, behind those that have arrived, or of a new one from the first.

        A copy that is no longer kept is made anew: another ``copy_id`` tells. `LimitError` when there is no room,
        `UnavailableError` when the site ends meanwhile.
        """
        self.sweep()
        copy = self._find(held, wanted)
        number = min(wanted.after_part, copy.part_count) if copy.copy_id == wanted.copy_id else 0
        try:
            while True:
                with copy.changed:
                    while copy.part_count <= number and not (copy.is_whole or copy.error):
                        self._check()
                        copy.changed.wait()
                    if copy.error is not None:
                        raise copy.error
                    is_last = copy.part_count <= number
                number += 1
                killpoint("copy.before_send")
                yield self._part(copy, number, is_last)
                if is_last:
                    return
        except CorruptionError:
            with self._lock:
                self._drop(copy)
            raise
        finally:
            with self._lock:
                copy.readers -= 1
                copy.used_at = time.monotonic()
                if copy.readers == 0 and copy.copy_id not in self._known():
                    copy.file.close()
                self._sweep_later()

    def _check(self) -> None:
        if self._stopping.is_set():
            raise UnavailableError("the site is ending", hint="it is asked for again")

    @staticmethod
    def _part(copy: _Copy, number: int, is_last: bool) -> BootstrapPart:
        head = copy.head
        body = encode_changes(()) if is_last else copy.file.read(number)
        digest = digest_of(body) if is_last else copy.file.digest(number)
        return BootstrapPart(
            head.state.epoch,
            head.state.lsn,
            head.state.chain,
            head.schema_version,
            body,
            is_last,
            copy.copy_id,
            number,
            digest,
            (head.stale or {}) if number == 1 else {},
            head.size_bytes,
        )

    def _find(self, held: HeldSchema, wanted: BootstrapFrom) -> _Copy:
        """The copy to send, with this reader counted in."""
        asked = _asked(wanted)
        now = None
        if not wanted.bucket_count:
            stamp_all(self._registry, held)
            with self._registry.database.read((held.physical,)) as connection:
                now = log_state(connection, held.physical)
        with self._lock:
            copies = self._known()
            copy = copies.get(wanted.copy_id)
            if copy is None or copy.asked != asked or copy.error is not None:
                copy = None if now is None else self._same_moment(now, asked)
            if copy is not None:
                copy.readers += 1
                return copy
            writing = sum(not one.is_whole and one.error is None for one in copies.values())
            if writing >= WRITING_MAX:
                raise LimitError(
                    f"site {self._registry.site} is making {writing} copies already",
                    hint="it is asked for again",
                )
        copy = self._begin(held, wanted, asked)
        with self._lock:
            copy.readers += 1
            self._known()[copy.copy_id] = copy
        return copy

    def _same_moment(self, now: LogState, asked: dict[str, Any]) -> _Copy | None:
        """A whole copy of the moment that is now, made for another follower."""
        shared = {**asked, "follower": ""}
        for copy in self._known().values():
            is_same = copy.head.state == now and copy.error is None
            if is_same and {**copy.asked, "follower": ""} == shared and copy.head.stale is None:
                return copy
        return None

    def _begin(self, held: HeldSchema, wanted: BootstrapFrom, asked: dict[str, Any]) -> _Copy:
        """Start writing a copy; returns once it is known of which moment."""
        directory = copy_directory(self._registry, "sent")
        copy_id = secrets.token_hex(8)
        content = read_copy(self._registry, held, wanted, self._check)
        ready: list[_Copy | BaseException] = []
        started = threading.Event()

        def write() -> None:
            copy = None
            try:
                head = next(content)
                assert isinstance(head, CopyHead)
                if head.stale is None:
                    check_space(self._registry, held, directory, head.size_bytes, taken_in=False)
                header = {"asked": asked, "head": _head_out(head)}
                file = PartFile(directory / f"{copy_id}.{os.getpid()}.writing", header=header)
                copy = _Copy(copy_id, asked, file, head)
                ready.append(copy)
                started.set()
                self._write(copy, content, directory)
            except (FederationError, sa.exc.SQLAlchemyError, OSError) as error:
                if copy is None:
                    ready.append(error)
                    started.set()
                else:
                    self._fail(copy, error)
            finally:
                content.close()  # type: ignore[attr-defined] # a generator: the snapshot ends here

        thread = threading.Thread(target=write, name=f"copy-{held.schema}", daemon=True)
        with self._lock:
            self._threads = [one for one in self._threads if one.is_alive()]
            self._threads.append(thread)
        thread.start()
        started.wait()
        made = ready[0]
        if isinstance(made, BaseException):
            raise made
        return made

    def _write(self, copy: _Copy, content: Iterator[CopyHead | bytes], directory: Path) -> None:
        for body in content:
            assert isinstance(body, bytes)
            copy.file.append(body)
            killpoint("copy.writing")
            with copy.changed:
                copy.part_count += 1
                copy.changed.notify_all()
        copy.file.sync()
        killpoint("copy.before_kept")
        copy.file.rename(directory / f"{copy.copy_id}.parts")
        killpoint("copy.kept")
        with copy.changed:
            copy.is_whole = True
            copy.changed.notify_all()

    def _fail(self, copy: _Copy, error: Exception) -> None:
        if not isinstance(error, FederationError):
            text = str(error).splitlines()[0]
            error = UnavailableError(f"a copy can't be made: {text}", hint="it is asked for again")
        with copy.changed:
            copy.error = error
            copy.changed.notify_all()
        copy.file.path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove copies that nobody has read for long, and the oldest beyond what may be kept."""
        with self._lock:
            now, kept_bytes = time.monotonic(), 0
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            idle = sorted(
                (one for one in self._known().values() if one.is_idle), key=lambda one: -one.used_at
            )
            for number, copy in enumerate(idle):
                kept_bytes += copy.file.size_bytes
                is_old = now - copy.used_at > self._keep_s
                if is_old or copy.error or number >= KEEP_COUNT_MAX or kept_bytes > KEEP_BYTES_MAX:
                    self._drop(copy)
            if self._known():
                self._sweep_later()

    def _drop(self, copy: _Copy) -> None:
        if self._known().pop(copy.copy_id, None) is not None:
            copy.file.path.unlink(missing_ok=True)
            if copy.readers == 0:  # else the last reader closes it
                copy.file.close()

    def _sweep_later(self) -> None:
        """See to it that what is kept does not stay for ever when nobody asks again."""
        if self._timer is None and not self._stopping.is_set():
            self._timer = threading.Timer(self._keep_s + 1.0, self.sweep)
            self._timer.daemon = True
            self._timer.start()

    def _known(self) -> dict[str, _Copy]:
        """The copies there are; at first those that a former process finished."""
        if self._copies is None:
            self._copies = {}
            for path in sorted(copy_directory(self._registry, "sent").iterdir()):
                writing = _WRITING.fullmatch(path.name)
                if path.suffix == ".parts":
                    self._take_up(path)
                elif writing is None or not psutil.pid_exists(int(writing[1])):
                    path.unlink(missing_ok=True)
        return self._copies

    def _take_up(self, path: Path) -> None:
        assert self._copies is not None
        try:
            file = PartFile(path)
        except CorruptionError:
            path.unlink(missing_ok=True)
            return
        head, copy_id = _head_in(file.header["head"]), path.stem
        self._copies[copy_id] = _Copy(
            copy_id, file.header["asked"], file, head, part_count=file.part_count, is_whole=True
        )


def _asked(wanted: BootstrapFrom) -> dict[str, Any]:
    """What makes two requests ask for one and the same copy; ``have`` is left out: its copy was made from it."""
    return {
        "schema": str(wanted.schema),
        "follower": wanted.follower,
        "universe": wanted.universe_fingerprint,
        "filter": {name: list(globs) for name, globs in attrs.asdict(wanted.filter).items()},
        "bucket_count": wanted.bucket_count,
        "only": {name: list(buckets) for name, buckets in sorted(wanted.only.items())},
    }


def _head_out(head: CopyHead) -> dict[str, Any]:
    return {
        "epoch": head.state.epoch,
        "lsn": head.state.lsn,
        "chain": head.state.chain.hex(),
        "stale": None if head.stale is None else {name: list(found) for name, found in head.stale.items()},
        "size_bytes": head.size_bytes,
        "schema_version": head.schema_version,
    }


def _head_in(said: dict[str, Any]) -> CopyHead:
    stale = said["stale"]
    return CopyHead(
        LogState(said["epoch"], said["lsn"], bytes.fromhex(said["chain"])),
        None if stale is None else {name: tuple(found) for name, found in stale.items()},
        said["size_bytes"],
        said["schema_version"],
    )
