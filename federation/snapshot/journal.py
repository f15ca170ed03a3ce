"""What a snapshot in the making has decided and done, so that a killed run goes on with the same snapshot.

The plan (selection, positions, chosen datasets, ...) is written once; a later run has to ask for the same selection
and then takes the rest from here. Steps are marked when their results are durable.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import uuid
from typing import TYPE_CHECKING, Any, Self

from federation.errors import CorruptionError, UnavailableError, UserError
from federation.snapshot.packed_ids import ID_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from federation.snapshot.packed_ids import PackedIds

__all__ = ["SnapshotJournal"]

#: of what the steps leave behind; a run that another version began can't be gone on with
_FORMAT = 2
#: ids in one row
_IDS = 2000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS plan (one INTEGER PRIMARY KEY CHECK (one = 1), request TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS step (name TEXT PRIMARY KEY, result TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS member (number INTEGER PRIMARY KEY, ids BLOB NOT NULL);
"""


class SnapshotJournal:
    """The journal file at ``path``, for the ``request`` that the caller makes now (plain JSON values).

    Raises `UserError` when the journal belongs to another request, `CorruptionError` when it is no journal. The
    workspace's lock keeps other processes away.
    """

    def __init__(self, path: Path, request: Mapping[str, Any]) -> None:
        self.path = path
        text = json.dumps({**request, "format": _FORMAT}, sort_keys=True)
        try:
            self._connection = sqlite3.connect(path, isolation_level=None)
        except sqlite3.OperationalError as error:
            raise UnavailableError(
                f"cannot open journal {path}: {error}", hint="check the disk it is on"
            ) from error
        try:
            self._connection.execute("PRAGMA synchronous = FULL")
            for statement in filter(str.strip, _SCHEMA.split(";")):
                self._connection.execute(statement)
            self._connection.execute("INSERT OR IGNORE INTO plan VALUES (1, ?)", (text,))
            (stored,) = self._connection.execute("SELECT request FROM plan").fetchone()
        except sqlite3.OperationalError as error:
            self._connection.close()
            raise UnavailableError(
                f"cannot use journal {path}: {error}", hint="check the disk it is on"
            ) from error
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise CorruptionError(f"{path} is no journal: {error}", hint=f"remove {path.parent}") from error
        if stored != text:
            self._connection.close()
            changed = sorted(
                key
                for key in {**json.loads(text), **json.loads(stored)}
                if json.loads(stored).get(key) != json.loads(text).get(key)
            )
            raise UserError(
                f"{path.parent} holds an unfinished run of another request (other {', '.join(changed)})",
                hint=f"repeat that request to finish it, or remove {path.parent}",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._connection.close()

    def result(self, step: str) -> Any | None:
        """The JSON value that a step was marked with, or None when it has not been done."""
        row = self._connection.execute("SELECT result FROM step WHERE name = ?", (step,)).fetchone()
        return None if row is None else json.loads(row[0])

    def members(self) -> Iterator[list[uuid.UUID]]:
        """The ids that a step was marked with, in order, some thousand at a time."""
        for (ids,) in self._connection.execute("SELECT ids FROM member ORDER BY number"):
            yield [uuid.UUID(bytes=ids[at : at + ID_BYTES]) for at in range(0, len(ids), ID_BYTES)]

    def mark(self, step: str, result: Any = True, members: PackedIds | None = None) -> None:
        """Note that ``step`` is done and its effects durable, with a JSON value and ids for the runs to come."""
        try:
            self._connection.execute("BEGIN")
            if members is not None:
                self._connection.executemany(
                    "INSERT INTO member (ids) VALUES (?)", ((part,) for part in members.parts(_IDS))
                )
            self._connection.execute("INSERT OR REPLACE INTO step VALUES (?, ?)", (step, json.dumps(result)))
            self._connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            with contextlib.suppress(sqlite3.Error):  # SQLite itself has rolled back after a full disk
                self._connection.execute("ROLLBACK")
            raise UnavailableError(
                f"cannot write journal {self.path}: {error}", hint="check free space"
            ) from error
