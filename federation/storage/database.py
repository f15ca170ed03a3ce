"""One site's database: a PostgreSQL server or a directory of SQLite files, behind the same few operations.

A physical schema is a PostgreSQL schema, or a SQLite file attached under its name. One transaction writes one
schema; a reader sees several in one snapshot.
"""

from __future__ import annotations

import abc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import sqlalchemy as sa

from federation.errors import ConflictError, CorruptionError, FederationError, LimitError, UnavailableError, UserError

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
    def write(self, schema: str) -> _Scope:
        """A connection in a transaction that may write one physical schema; commits at exit unless an error leaves it.

        On SQLite the schema's only writer; a second waits.
        """

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
    """Turn a driver's errors into ours, naming the database."""
    try:
        yield
    except FederationError:
        raise
    except sa.exc.OperationalError as error:
        text = str(error.orig).strip().splitlines()[0]
        if "full" in text or "No space" in text:
            raise LimitError(
                f"{place}: {text}", hint="free some space, then run the command again"
            ) from error
        if "locked" in text or "busy" in text:
            raise UnavailableError(
                f"{place}: {text}", hint="another process holds it; wait, or end that process"
            ) from error
        if "password" in text or "authentication" in text or "role" in text:
            raise UserError(
                f"{place}: {text}", hint="check user and password in the registry's URL"
            ) from error
        if "readonly" in text:
            raise UserError(
                f"{place}: {text}", hint="the registry is on read-only storage; write elsewhere"
            ) from error
        raise UnavailableError(
            f"{place}: {text}", hint="check that the database runs and the URL is right"
        ) from error
    except sa.exc.IntegrityError as error:
        text = str(error.orig).strip().splitlines()[0]
        raise ConflictError(f"{place}: {text}", hint="another writer was faster; run the command again") from error
    except sa.exc.DBAPIError as error:
        text = str(error.orig).strip().splitlines()[0]
        if "not a database" in text or "malformed" in text:
            raise CorruptionError(f"{place}: {text}", hint="restore the file from a backup") from error
        raise
