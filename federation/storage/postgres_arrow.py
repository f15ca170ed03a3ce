"""A PostgreSQL connection that gives Arrow, read from a binary COPY by the ADBC driver."""

from __future__ import annotations

import threading
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

import adbc_driver_manager
import adbc_driver_postgresql
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ArrowConnection", "ArrowSource"]

_BATCH_BYTES = "adbc.postgresql.batch_size_hint_bytes"


class ArrowSource:
    """Where connections come from; the driver reads the server's types once."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._database: adbc_driver_manager.AdbcDatabase | None = None
        self._lock = threading.Lock()

    def connect(self) -> ArrowConnection:
        """A new connection; raises `adbc_driver_manager.Error`."""
        with self._lock:
            if self._database is None:
                self._database = adbc_driver_postgresql.connect(self._conninfo)
            return ArrowConnection(adbc_driver_manager.AdbcConnection(self._database))

    def close(self) -> None:
        """Close what connections share, once none of them is in use."""
        with self._lock:
            if self._database is not None:
                # refused while a reader has not ended; then the end of the process closes it
                with suppress(RuntimeError):
                    self._database.close()
                self._database = None


class ArrowConnection:
    """One connection, in transactions that its user opens. The driver's DB-API would import data frame libraries.

    Raises `adbc_driver_manager.Error`; the batches of a query `OSError` or `pyarrow.ArrowException`.
    """

    def __init__(self, connection: adbc_driver_manager.AdbcConnection) -> None:
        self._connection = connection
        self._running: adbc_driver_manager.AdbcStatement | None = None

    def execute(self, sql: str) -> None:
        """Run a statement that gives no rows."""
        with closing(adbc_driver_manager.AdbcStatement(self._connection)) as statement:
            statement.set_sql_query(sql)
            statement.execute_update()

    @contextmanager
    def query(self, sql: str, batch_bytes: int) -> Iterator[pa.RecordBatchReader]:
        """The rows of a query, in batches of about so many bytes; leaving the context early cancels it."""
        with closing(adbc_driver_manager.AdbcStatement(self._connection)) as statement:
            self._running = statement
            try:
                statement.set_options(**{_BATCH_BYTES: str(batch_bytes)})
                statement.set_sql_query(sql)
                handle, _ = statement.execute_query()
                with pa.RecordBatchReader._import_from_c(handle.address) as reader:
                    yield reader
            except BaseException:
                statement.cancel()
                raise
            finally:
                self._running = None

    def cancel(self) -> None:
        """Stop the query that is running, if one is; from any thread."""
        running = self._running
        if running is not None:
            running.cancel()

    def close(self) -> None:
        self._connection.close()
