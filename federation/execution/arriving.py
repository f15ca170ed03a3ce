"""Rows of fragments while they arrive: in memory up to a bound for the whole query, then in a file that is mapped."""

from __future__ import annotations

import errno
import mmap
import tempfile
import threading
from typing import IO, TYPE_CHECKING

import pyarrow as pa

from federation.errors import LimitError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ArrivedRows", "Room"]


class Room:
    """Bytes that the rows of one query may take in memory, and beyond it on disk, in files under ``directory``.

    Shared by the threads that gather its fragments. ``directory`` None is the system's for temporary files.
    """

    def __init__(self, memory_bytes: int, disk_bytes: int, directory: Path | None = None) -> None:
        self.memory_bytes, self.disk_bytes, self.directory = memory_bytes, disk_bytes, directory
        self._lock = threading.Lock()
        self._in_memory = 0
        self.spilled_bytes = 0

    def take_memory(self, byte_count: int) -> bool:
        """Whether so many bytes more may be held in memory; then they are counted."""
        with self._lock:
            if self._in_memory + byte_count > self.memory_bytes:
                return False
            self._in_memory += byte_count
            return True

    def take_disk(self, byte_count: int) -> None:
        """Count bytes that go to disk; `LimitError` when they are too many."""
        with self._lock:
            if self.spilled_bytes + byte_count > self.disk_bytes:
                raise LimitError(
                    f"the fragments' rows take more than {self.memory_bytes} bytes of memory "
                    f"and {self.disk_bytes} bytes on disk",
                    hint="select fewer rows or columns, or raise spill_limit in [query]",
                )
            self.spilled_bytes += byte_count


class ArrivedRows:
    """Batches of one fragment in the order they came; `table` ends the adding."""

    def __init__(self, schema: pa.Schema, room: Room) -> None:
        self._schema, self._room = schema, room
        self._batches: list[pa.RecordBatch] = []
        self._file: IO[bytes] | None = None
        self._writer: pa.RecordBatchFileWriter | None = None
        self.row_count = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Keep a batch; once one went to disk all later ones do, so that their order stays."""
        self.row_count += batch.num_rows
        if self._writer is None and self._room.take_memory(batch.nbytes):
            self._batches.append(batch)
            return
        self._room.take_disk(batch.nbytes)
        try:
            if self._writer is None:
                # without a name: it is gone with the last one who has it open, however the process ends
                self._file = tempfile.TemporaryFile(prefix="federation-rows-", dir=self._room.directory)  # noqa: SIM115
                self._writer = pa.ipc.new_file(pa.PythonFile(self._file, "w"), self._schema)
            self._writer.write_batch(batch)
        except OSError as error:
            raise _disk_error(error) from error

    def table(self) -> pa.Table:
        """All rows; those on disk are read from there when they are used."""
        if self._writer is None or self._file is None:
            return pa.Table.from_batches(self._batches, schema=self._schema)
        try:
            self._writer.close()
            self._file.flush()
            mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise _disk_error(error) from error
        spilled = pa.ipc.open_file(pa.BufferReader(pa.py_buffer(mapped))).read_all()
        self.close()
        held = pa.Table.from_batches(self._batches, schema=self._schema)
        return pa.concat_tables([held, spilled])

    def close(self) -> None:
        """Give the file back; what `table` gave stays readable."""
        if self._file is not None:
            self._file.close()
            self._file, self._writer = None, None


def _disk_error(error: OSError) -> LimitError:
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    reason = "the disk is full" if is_full else error.strerror or str(error)
    return LimitError(
        f"the fragments' rows can't be kept on disk: {reason}",
        hint="free some space, or give spill_directory in [query] another place",
    )
