"""DuckDB instances that stay open between statements: starting one costs more than most statements do."""

from __future__ import annotations

import os
import tempfile
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import attrs
import duckdb

from federation.errors import UserError
from federation.model.sql_text import text_literal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["EngineInstances"]

#: global, so that every connection to the instance has them
_SETTINGS = (
    "SET GLOBAL integer_division = true",
    "SET GLOBAL default_null_order = 'postgres'",
    "SET GLOBAL arrow_lossless_conversion = true",
    "SET GLOBAL TimeZone = 'UTC'",
    # it fails on a WITH query that is joined with others and left out: "Failed to bind column reference"
    "SET GLOBAL disabled_optimizers = 'join_elimination'",
)
#: statements read what was loaded and nothing else: no file, network or extension, no variable of this process, and
#: no setting; what is spilled goes on, as its directory is known before
_LOCKED = (
    "SET GLOBAL python_enable_replacements = false",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET allow_community_extensions = false",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)
#: so many bytes are worked on by the calling thread alone: handing them to others costs more than it saves
_SMALL_BYTES = 32 << 20


@attrs.frozen(eq=False)
class _Instance:
    connection: duckdb.DuckDBPyConnection
    spill: tempfile.TemporaryDirectory[str]

    def close(self) -> None:
        self.connection.close()
        self.spill.cleanup()


class EngineInstances:
    """Connections to instances of one ``memory_limit``; thread-safe.

    What does not fit is spilled to files of at most ``spill_limit`` in all, in a directory of its own under
    ``spill_directory`` (None: where the system has its temporary files).
    Temporary tables are a connection's own. One instance works in the calling thread, the other one in all
    processors'; each is opened at its first use, and left to the parent where a process forks.
    """

    def __init__(
        self, memory_limit: str, spill_limit: str = "20GB", spill_directory: Path | None = None
    ) -> None:
        self._memory_limit, self._spill_limit = memory_limit, spill_limit
        self._spill_directory = spill_directory
        self._open: dict[tuple[int, bool], _Instance] = {}
        self._lock = threading.Lock()

    @contextmanager
    def connection(self, byte_count: int, *, own: bool = False) -> Iterator[Any]:
        """A connection for statements over so many bytes; ``own`` for one whose functions others must not see.

        Raises `UserError` for a memory limit that is no size.
        """
        is_small = byte_count < _SMALL_BYTES
        if own:
            instance = self._start(is_small)
            try:
                yield instance.connection
            finally:
                instance.close()
            return
        with closing(self._kept(is_small).connection.cursor()) as connection:
            yield connection

    def _kept(self, is_small: bool) -> _Instance:
        key = os.getpid(), is_small
        with self._lock:
            if key not in self._open:
                self._open[key] = self._start(is_small)
            return self._open[key]

    def _start(self, is_small: bool) -> _Instance:
        connection = duckdb.connect(":memory:", config={"threads": 1} if is_small else {})
        for setting in _SETTINGS:
            connection.execute(setting)
        try:
            connection.execute(f"SET memory_limit = {text_literal(self._memory_limit)}")
        except duckdb.Error as error:
            connection.close()
            raise UserError(
                f"memory_limit {self._memory_limit!r} is not a size", hint='write "2GB" or "512MB" in [query]'
            ) from error
        try:
            spill = tempfile.TemporaryDirectory(
                prefix="federation-query-", dir=self._spill_directory, ignore_cleanup_errors=True
            )
        except OSError as error:
            connection.close()
            raise UserError(
                f"spill_directory {self._spill_directory} can't be used: {error.strerror}",
                hint="make it, or give [query] another one",
            ) from error
        connection.execute(f"SET temp_directory = {text_literal(spill.name)}")
        connection.execute(f"SET max_temp_directory_size = {text_literal(self._spill_limit)}")
        for setting in _LOCKED:
            connection.execute(setting)
        return _Instance(connection, spill)

    def close(self) -> None:
        """Close the instances; no statement may be running."""
        with self._lock:
            mine = [key for key in self._open if key[0] == os.getpid()]
            instances = [self._open.pop(key) for key in mine]
        for instance in instances:
            instance.close()
