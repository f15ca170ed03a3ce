"""A temporary database that goes with the process: what a closure has seen, in a file rather than in memory."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FlaggedKeys", "decode", "encode", "scratch_database"]

#: memory that SQLite takes for the file's pages, in KiB
_CACHE_KIB = 8192
_FETCH_KEYS = 2000
_ENCODER = msgspec.msgpack.Encoder(uuid_format="bytes")
_DECODER = msgspec.msgpack.Decoder()


def encode(values: Any) -> bytes:
    """Plain values and UUIDs as bytes, the same for the same values; a UUID becomes its 16 bytes."""
    return _ENCODER.encode(values)


def decode(data: bytes) -> Any:
    """What `encode` was given, with bytes where it had UUIDs."""
    return _DECODER.decode(data)


def scratch_database() -> sqlite3.Connection:
    """A new one; its transaction is open and never ends."""
    # an empty name is SQLite's for a file of its own that nobody else sees
    connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute("PRAGMA journal_mode = OFF")
    connection.execute("BEGIN")
    return connection


class FlaggedKeys:
    """Keys (bytes), each with a small number, 0 at first, in the table ``name`` of a scratch database."""

    def __init__(self, database: sqlite3.Connection, name: str) -> None:
        self._run = database.execute
        self._name = name
        self._run(f"CREATE TABLE {name} (key BLOB PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID")
        self._add = f"INSERT OR IGNORE INTO {name} VALUES (?, ?)"
        self._find = f"SELECT number FROM {name} WHERE key = ?"
        self._set = f"UPDATE {name} SET number = ? WHERE key = ?"
        self._flag = (
            f"INSERT INTO {name} VALUES (?, ?) ON CONFLICT DO UPDATE SET number = number | excluded.number"
        )
        self._count = 0

    def __len__(self) -> int:
        """Keys that were added."""
        return self._count

    def __contains__(self, key: bytes) -> bool:
        return self._run(self._find, (key,)).fetchone() is not None

    def add(self, key: bytes, number: int = 0) -> bool:
        """Take in a key; False when it is there already."""
        is_new = self._run(self._add, (key, number)).rowcount == 1
        self._count += is_new
        return is_new

    def number(self, key: bytes) -> int | None:
        """The number of a key, None when it is not there."""
        found = self._run(self._find, (key,)).fetchone()
        return None if found is None else found[0]

    def put(self, key: bytes, number: int) -> None:
        """Change the number of a key that is there."""
        self._run(self._set, (number, key))

    def flag(self, key: bytes, flag: int) -> None:
        """Set a bit of a key's number; it is taken in if it is not there."""
        self._run(self._flag, (key, flag))

    def having(self, number: int | None = None) -> Iterator[bytes]:
        """The keys with a number, or all, in order; keys may be added meanwhile."""
        last: bytes = b""
        where = "" if number is None else f"AND number = {number:d}"
        while True:
            rows = self._run(
                f"SELECT key FROM {self._name} WHERE key > ? {where} ORDER BY key LIMIT {_FETCH_KEYS}",
                (last,),
            ).fetchall()
            if not rows:
                return
            yield from (key for (key,) in rows)
            last = rows[-1][0]
