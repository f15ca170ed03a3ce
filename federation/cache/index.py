"""What a cache remembers of its files besides the registry: when they were used, who counts on them, what is going.

A file on its way out is in ``trash`` from before its row goes until after the file has gone, so that a process that
ends anywhere in between leaves neither a row without a file nor a file that nobody knows.
"""

from __future__ import annotations

import enum
import sqlite3
import threading
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

from federation.cache.victims import CachedFile
from federation.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["FOREVER_NS", "CacheIndex", "Leaving", "Phase", "Pin"]

_TABLES = """
CREATE TABLE IF NOT EXISTS file (dataset_id BLOB PRIMARY KEY, schema TEXT NOT NULL, owner TEXT NOT NULL,
    uri TEXT NOT NULL, size_bytes INTEGER NOT NULL, checksum TEXT NOT NULL, formatter TEXT, added_ns INTEGER NOT NULL,
    used_ns INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pin (dataset_id BLOB NOT NULL, holder TEXT NOT NULL, until_ns INTEGER NOT NULL,
    PRIMARY KEY (dataset_id, holder)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS trash (dataset_id BLOB PRIMARY KEY, schema TEXT NOT NULL, owner TEXT NOT NULL,
    uri TEXT NOT NULL, size_bytes INTEGER NOT NULL, checksum TEXT NOT NULL, formatter TEXT, added_ns INTEGER NOT NULL,
    since_ns INTEGER NOT NULL, proof TEXT NOT NULL, phase INTEGER NOT NULL) WITHOUT ROWID;
"""
_FILE = "f.dataset_id, f.schema, f.owner, f.uri, f.size_bytes, f.checksum, f.formatter, f.added_ns, f.used_ns"
_BUSY_MS = 30_000
#: a moment that never comes: of a pin without an end
FOREVER_NS = (1 << 63) - 1


class Phase(enum.IntEnum):
    """How far a file is on its way out."""

    CHOSEN = 0
    #: the registry does not name it any more
    UNNAMED = 1
    #: it is not in its place any more, but among what is deleted next
    ASIDE = 2


@attrs.frozen
class Leaving:
    """A file on its way out, in its ``phase`` since then; ``proof`` says by what it was known to be kept elsewhere."""

    file: CachedFile
    since_ns: int
    proof: str
    phase: Phase


@attrs.frozen
class Pin:
    """Somebody counts on a file until then; `FOREVER_NS` for ever."""

    dataset_id: uuid.UUID
    holder: str
    until_ns: int


class CacheIndex:
    """The bookkeeping in one file, which several processes may use at once; thread-safe."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._lock = threading.RLock()
        with self._errors():
            self._raw = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._raw.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
            self._raw.execute("PRAGMA journal_mode=WAL")
            self._raw.execute("PRAGMA synchronous=FULL")
            self._raw.executescript(_TABLES)

    def close(self) -> None:
        """End the use of the file."""
        with self._lock:
            self._raw.close()

    # -- files ------------------------------------------------------------------------------------------------

    def add(self, files: Iterable[CachedFile]) -> None:
        """Take note of files that are here; of those known already nothing changes."""
        with self._writing():
            self._raw.executemany(
                "INSERT INTO file VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                [
                    (
                        f.dataset_id.bytes, f.schema, f.owner, f.uri, f.size_bytes, f.checksum,
                        f.formatter, f.added_ns, f.used_ns,
                    )
                    for f in files
                ],
            )  # fmt: skip

    def forget(self, ids: Iterable[uuid.UUID]) -> None:
        """Files that are not here any more."""
        keys = [(one.bytes,) for one in ids]
        with self._writing():
            self._raw.executemany("DELETE FROM file WHERE dataset_id = ?", keys)

    def files(self) -> list[CachedFile]:
        """All files that are not on their way out, with who counts on them."""
        with self._reading():
            rows = self._raw.execute(
                f"SELECT {_FILE}, max(p.until_ns) FROM file f LEFT JOIN pin p USING (dataset_id) GROUP BY f.dataset_id"
            ).fetchall()
        return [_cached(row) for row in rows]

    def find(self, dataset_id: uuid.UUID) -> CachedFile | None:
        """A file that is here and not on its way out."""
        with self._reading():
            row = self._raw.execute(
                f"SELECT {_FILE}, (SELECT max(until_ns) FROM pin p WHERE p.dataset_id = f.dataset_id) FROM file f "
                "WHERE f.dataset_id = ?",
                (dataset_id.bytes,),
            ).fetchone()
        return None if row is None else _cached(row)

    def used_bytes(self) -> int:
        """Bytes of all files, those on their way out too."""
        with self._reading():
            (found,) = self._raw.execute(
                "SELECT coalesce((SELECT sum(size_bytes) FROM file), 0) + "
                "coalesce((SELECT sum(size_bytes) FROM trash), 0)"
            ).fetchone()
        return int(found)

    def use(self, dataset_id: uuid.UUID, now_ns: int, *, holder: str, until_ns: int) -> CachedFile | None:
        """Note that a file is used, and that ``holder`` counts on it until then; None when it is not here."""
        with self._writing():
            self._raw.execute(
                "UPDATE file SET used_ns = max(used_ns, ?) WHERE dataset_id = ?", (now_ns, dataset_id.bytes)
            )
            found = self.find(dataset_id)
            if found is not None:
                self._pin(Pin(dataset_id, holder, until_ns))
            return found

    # -- pins -------------------------------------------------------------------------------------------------

    def pin(self, pins: Iterable[Pin]) -> None:
        """Count on files until then, be they here or come later."""
        with self._writing():
            for one in pins:
                self._pin(one)

    def _pin(self, one: Pin) -> None:
        self._raw.execute(
            "INSERT INTO pin VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET until_ns = max(until_ns, excluded.until_ns)",
            (one.dataset_id.bytes, one.holder, one.until_ns),
        )

    def unpin(self, ids: Iterable[uuid.UUID], holder: str) -> int:
        """``holder`` does not count on files any more; how many it had counted on."""
        with self._writing():
            return sum(
                self._raw.execute(
                    "DELETE FROM pin WHERE dataset_id = ? AND holder = ?", (one.bytes, holder)
                ).rowcount
                for one in ids
            )

    def drop_pins(self, now_ns: int) -> None:
        """Forget pins that are over."""
        with self._writing():
            self._raw.execute("DELETE FROM pin WHERE until_ns <= ?", (now_ns,))

    # -- on the way out ---------------------------------------------------------------------------------------

    def let_go(self, proven: Iterable[tuple[CachedFile, str]], now_ns: int) -> list[Leaving]:
        """Begin to let files go, each with its proof; those that somebody took or pinned meanwhile stay."""
        begun = []
        with self._writing():
            for file, proof in proven:
                now = self.find(file.dataset_id)
                if now is None or now.is_pinned(now_ns) or now.used_ns != file.used_ns:
                    continue
                self._raw.execute(
                    "INSERT OR REPLACE INTO trash VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
                    (
                        now.dataset_id.bytes, now.schema, now.owner, now.uri, now.size_bytes, now.checksum,
                        now.formatter, now.added_ns, now_ns, proof,
                    ),
                )  # fmt: skip
                self._raw.execute("DELETE FROM file WHERE dataset_id = ?", (now.dataset_id.bytes,))
                begun.append(Leaving(now, now_ns, proof, Phase.CHOSEN))
        return begun

    def leaving(self) -> list[Leaving]:
        """The files on their way out, oldest first."""
        with self._reading():
            rows = self._raw.execute(
                "SELECT dataset_id, schema, owner, uri, size_bytes, checksum, formatter, added_ns, since_ns, NULL, "
                "proof, phase FROM trash ORDER BY since_ns, dataset_id"
            ).fetchall()
        return [Leaving(_cached(row[:10]), row[8], row[10], Phase(row[11])) for row in rows]

    def left(self, dataset_id: uuid.UUID) -> Leaving | None:
        """A file that is on its way out."""
        return next((one for one in self.leaving() if one.file.dataset_id == dataset_id), None)

    def move_on(self, ids: Iterable[uuid.UUID], phase: Phase, now_ns: int) -> None:
        """The files have reached a phase; from now on its grace period runs."""
        with self._writing():
            self._raw.executemany(
                "UPDATE trash SET phase = ?, since_ns = ? WHERE dataset_id = ?",
                [(phase, now_ns, one.bytes) for one in ids],
            )

    def gone(self, ids: Iterable[uuid.UUID]) -> None:
        """The files themselves are gone."""
        with self._writing():
            self._raw.executemany("DELETE FROM trash WHERE dataset_id = ?", [(one.bytes,) for one in ids])

    def keep(self, dataset_id: uuid.UUID, now_ns: int) -> None:
        """Take a file back that was on its way out."""
        with self._writing():
            self._raw.execute(
                "INSERT OR IGNORE INTO file SELECT dataset_id, schema, owner, uri, size_bytes, checksum, formatter, "
                "added_ns, ? FROM trash WHERE dataset_id = ?",
                (now_ns, dataset_id.bytes),
            )
            self._raw.execute("DELETE FROM trash WHERE dataset_id = ?", (dataset_id.bytes,))

    # -- the file ---------------------------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock, self._errors():
            yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._lock, self._errors():
            if self._raw.in_transaction:  # within another method of this thread
                yield
                return
            self._raw.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self._raw.in_transaction:
                    self._raw.execute("ROLLBACK")
                raise
            self._raw.execute("COMMIT")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise UnavailableError(
                f"{self._path} can't be used: {error}",
                hint="check the disk and its permissions; it is tried again",
            ) from error


def _cached(row: tuple[bytes, str, str, str, int, str, str | None, int, int, int | None]) -> CachedFile:
    return CachedFile(uuid.UUID(bytes=row[0]), *row[1:])
