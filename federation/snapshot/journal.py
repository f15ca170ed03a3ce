"""What a snapshot in the making has decided and done, so that a killed run goes on with the same snapshot.

The plan (selection, positions, chosen datasets, ...) is written once; a later run has to ask for the same selection
and then takes the rest from here. Steps are marked when their results are durable.
"""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any, Self

from federation.errors import CorruptionError, UnavailableError, UserError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["SnapshotJournal"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS plan (one INTEGER PRIMARY KEY CHECK (one = 1), request TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS step (name TEXT PRIMARY KEY, result TEXT NOT NULL) WITHOUT ROWID;
"""


class SnapshotJournal:
    """The journal file at ``path``, for the ``request`` that the caller makes now (plain JSON values).

    Raises `UserError` when the journal belongs to another request, `CorruptionError` when it is no journal. The
    workspace's lock keeps other processes away.
    """

    def __init__(self, path: Path, request: Mapping[str, Any]) -> None:
        self.path = path
        text = json.dumps(request, sort_keys=True)
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
                for key in {**request, **json.loads(stored)}
                if json.loads(stored).get(key) != request.get(key)
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

    def mark(self, step: str, result: Any = True) -> None:
        """Note that ``step`` is done and its effects durable, with a JSON value for the runs to come."""
        try:
            self._connection.execute("INSERT OR REPLACE INTO step VALUES (?, ?)", (step, json.dumps(result)))
        except sqlite3.OperationalError as error:
            raise UnavailableError(
                f"cannot write journal {self.path}: {error}", hint="check free space"
            ) from error
