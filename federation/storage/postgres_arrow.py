"""A PostgreSQL connection that gives Arrow, read from a binary COPY by the ADBC driver."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import adbc_driver_manager
import adbc_driver_postgresql
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ArrowConnection"]

_BATCH_BYTES = "adbc.postgresql.batch_size_hint_bytes"


class ArrowConnection:
    """One connection, in transactions that its user opens. The driver's DB-API would import data frame libraries.

    Raises `adbc_driver_manager.Error`; the batches of a query `OSError` or `pyarrow.ArrowException`.
    """

    def __init__(self, conninfo: str) -> None:
        self._database = adbc_driver_postgresql.connect(conninfo)
        try:
            self._connection = adbc_driver_manager.AdbcConnection(self._database)
        except adbc_driver_manager.Error:
            self._database.close()
            raise
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
        self._database.close()
