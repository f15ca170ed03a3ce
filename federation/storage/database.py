"""One site's database: a PostgreSQL server or a directory of SQLite files, behind the same few operations.

A physical schema is a PostgreSQL schema, or a SQLite file attached under its name. One transaction writes one
schema; a reader sees several in one snapshot.
"""

from __future__ import annotations

import abc
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import adbc_driver_manager
import psycopg
import sqlalchemy as sa

from federation.errors import (
    ConflictError,
    CorruptionError,
    FederationError,
    LimitError,
    NotFoundError,
    UnavailableError,
    UserError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["META_SCHEMA", "Database", "database_errors"]

#: the schema of what the registry knows of itself
META_SCHEMA = "federation"


class Database(abc.ABC):
    """Connections to one database; thread-safe."""

    kind: Literal["sqlite", "postgresql"]

    @abc.abstractmethod
    def read(self, schemas: Iterable[str]) -> _Scope:
        """A connection that sees the physical ``schemas`` in one snapshot."""

    @abc.abstractmethod
    def statements(self, schemas: Iterable[str]) -> AbstractContextManager[Any]:
        """A driver's own connection for reading, each statement in a snapshot of its own.

        For point lookups, where a transaction costs more than the statement. Its statements are prepared once.
        """

    @abc.abstractmethod
    def write(self, schema: str, *, durable: bool = True) -> _Scope:
        """A connection in a transaction that may write one physical schema; commits at exit unless an error leaves it.

        On SQLite the schema's only writer; a second waits. Not ``durable``: a crash of the machine may take back the
        last transactions, the latest first, until `make_durable`.
        """

    @abc.abstractmethod
    def make_durable(self, schema: str) -> None:
        """Return once everything that was committed to a physical schema before is on disk."""

    @abc.abstractmethod
    def create_schema(self, schema: str) -> None:
        """Make the physical schema if it is not there."""

    @abc.abstractmethod
    def has_schema(self, schema: str) -> bool:
        """Whether the physical schema is there."""

    @abc.abstractmethod
    def describe(self) -> str:
        """What and where it is, without secrets, for messages."""

    @abc.abstractmethod
    def close(self) -> None:
        """Release connections and, where this process started one, the server."""


if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    _Scope = AbstractContextManager[sa.Connection]


@contextmanager
def database_errors(place: str) -> Iterator[None]:
    """Turn a driver's errors, met directly or through SQLAlchemy, into ours, naming the database."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        translated = _translated(place, error.orig)
        if translated is None:
            raise
        raise translated from error
    except (sqlite3.Error, psycopg.Error, adbc_driver_manager.Error) as error:
        translated = _translated(place, error)
        if translated is None:
            raise
        raise translated from error


#: (words of a driver's message, error, remedy), the first that fits
_BY_TEXT: tuple[tuple[tuple[str, ...], type[FederationError], str], ...] = (
    (("is full", "No space", "disk I/O error"), LimitError, "free some space, then run the command again"),
    (("locked", "busy"), UnavailableError, "another process holds it; wait, or end that process"),
    (("password", "authentication", "role "), UserError, "check user and password in the registry's URL"),
    (("readonly", "read-only"), UserError, "the registry is on read-only storage; write elsewhere"),
    (("not a database", "malformed"), CorruptionError, "restore the file from a backup"),
    (("does not exist",), UserError, "check the database's name in the registry's URL"),
)


def _first(error: BaseException | None) -> BaseException | None:
    """What went wrong first: a full disk ends the whole transaction on SQLite, and then a savepoint is missed too."""
    while error is not None and "no such savepoint" in str(error) and error.__context__ is not None:
        error = error.__context__
        if isinstance(error, sa.exc.DBAPIError):
            error = error.orig
    return error


def _translated(place: str, error: BaseException | None) -> FederationError | None:
    """The error of ours that says the same; None for one that nothing outside the code can mend."""
    error = _first(error)
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(error, (sqlite3.IntegrityError, psycopg.IntegrityError)):
        return ConflictError(f"{place}: {text}", hint="another writer was faster; run the command again")
    if isinstance(error, (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName)):
        return NotFoundError(f"{place}: {text}", hint="it was dropped while it was in use; ask again")
    if not isinstance(
        error, (sqlite3.DatabaseError, psycopg.OperationalError, adbc_driver_manager.OperationalError)
    ) or isinstance(error, sqlite3.ProgrammingError):
        return None
    for words, kind, hint in _BY_TEXT:
        if any(word in text for word in words):
            return kind(f"{place}: {text}", hint=hint)
    return UnavailableError(f"{place}: {text}", hint="check that the database runs and the URL is right")
