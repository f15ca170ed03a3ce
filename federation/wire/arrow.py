"""Rows as Arrow: schemas of logical types, batches of database rows, and IPC streams cut into messages."""

from __future__ import annotations

import contextlib
import itertools
import uuid
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from federation.errors import CorruptionError, QueryError
from federation.model.logical import LogicalType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from federation.wire.messages import Column

__all__ = [
    "IpcEncoder",
    "arrow_schema",
    "column_array",
    "column_pairs",
    "decode_schema",
    "decode_stream",
    "encode_schema",
    "logical_columns",
    "logical_of",
    "retype_batch",
    "rows_to_batch",
]

ARROW_TYPES: dict[LogicalType, pa.DataType] = {
    LogicalType.INT64: pa.int64(),
    LogicalType.FLOAT64: pa.float64(),
    LogicalType.BOOL: pa.bool_(),
    LogicalType.STRING: pa.string(),
    LogicalType.BYTES: pa.binary(),
    LogicalType.UUID: pa.uuid(),
    LogicalType.TIMESTAMP: pa.timestamp("ns"),
}
_LOGICAL = {type_: logical for logical, type_ in ARROW_TYPES.items()}

#: larger messages only delay the first row
_PART_BYTES = 2 << 20


def arrow_schema(columns: Iterable[tuple[str, LogicalType]]) -> pa.Schema:
    """The Arrow schema of named logical types."""
    return pa.schema([pa.field(name, ARROW_TYPES[kind]) for name, kind in columns])


def column_pairs(columns: Iterable[Column], sql: str) -> tuple[tuple[str, LogicalType], ...]:
    """(name, type) of the columns that a fragment gives; `QueryError` where one has no type."""
    pairs = []
    for column in columns:
        if column.type is None:
            raise QueryError(f"column {column.name!r} of a fragment has no logical type", sql=sql)
        pairs.append((column.name, column.type))
    return tuple(pairs)


def logical_of(type_: pa.DataType) -> LogicalType:
    """The logical type that an Arrow type stands for; `CorruptionError` when there is none."""
    try:
        return _LOGICAL[type_]
    except KeyError:
        raise CorruptionError(
            f"Arrow type {type_} has no logical type", hint="bring both sites to one version"
        ) from None


def logical_columns(schema: pa.Schema) -> tuple[tuple[str, LogicalType], ...]:
    """(name, type) of every column of an Arrow schema."""
    return tuple((field.name, logical_of(field.type)) for field in schema)


def rows_to_batch(
    rows: Sequence[tuple[Any, ...]], schema: pa.Schema, hidden_count: int = 0
) -> pa.RecordBatch:
    """Rows as a database driver gives them, as one batch without their last ``hidden_count`` values.

    UUIDs are `uuid.UUID` or 16 bytes, timestamps TAI nanoseconds, booleans bool or 0 and 1. `QueryError` names the
    column that holds a value of another type.
    """
    width = len(schema) + hidden_count
    # all rows of a statement have as many values; an iterator for each row, as zip makes, takes twice the time
    if rows and len(rows[0]) != width:
        raise QueryError(f"a statement gave {len(rows[0])} columns where {width} were announced")
    flat = list(itertools.chain.from_iterable(rows))
    arrays = []
    for number, field in enumerate(schema):
        try:
            arrays.append(column_array(flat[number::width], _LOGICAL[field.type]))
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise QueryError(
                f"column {field.name!r} holds a value that is no {_LOGICAL[field.type]}: {error}".split("\n")[
                    0
                ],
                hint="a number may be out of the range of 64 bits",
            ) from error
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def retype_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch as a database's Arrow driver gives it, in the logical types of ``schema``.

    Narrower integers are widened, timestamps are made of TAI nanoseconds.
    `QueryError` names the column that holds a value of another type.
    """
    if batch.num_columns != len(schema):
        raise QueryError(f"a statement gave {batch.num_columns} columns where {len(schema)} were announced")
    arrays = []
    for field, column in zip(schema, batch.columns, strict=True):
        try:
            arrays.append(_retype(column, field.type))
        except pa.ArrowException as error:
            raise QueryError(
                f"column {field.name!r} holds a value that is no {_LOGICAL[field.type]}: {error}".split("\n")[
                    0
                ],
                hint="a number may be out of the range of 64 bits",
            ) from error
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _retype(column: pa.Array, wanted: pa.DataType) -> pa.Array:
    if column.type == wanted:
        return column
    plain = column.storage if isinstance(column.type, pa.BaseExtensionType) else column
    if wanted == pa.uuid():
        return pa.ExtensionArray.from_storage(wanted, plain.cast(pa.binary(16)))
    if wanted == pa.timestamp("ns"):
        plain = plain.cast(pa.int64())
    return plain.cast(wanted)


def column_array(values: Sequence[Any], kind: LogicalType) -> pa.Array:
    """Values of one column as a database driver gives them; Arrow's errors, or Python's, for those of another type."""
    match kind:
        case LogicalType.UUID:
            return pa.ExtensionArray.from_storage(pa.uuid(), _uuid_storage(values))
        case LogicalType.BOOL:
            return _booleans(values)
        case LogicalType.INT64:
            return _integers(values)
        case LogicalType.TIMESTAMP:
            return _integers(values).cast(pa.timestamp("ns"))
        case LogicalType.FLOAT64:
            return _floats(values)
        case _:
            return pa.array(values, ARROW_TYPES[kind])


def _uuid_storage(values: Sequence[Any]) -> pa.Array:
    if any(isinstance(value, uuid.UUID) for value in values[:1]):
        values = [value.bytes if isinstance(value, uuid.UUID) else value for value in values]
    try:
        return pa.array(values, pa.binary(16))
    except pa.ArrowTypeError:
        return pa.array([v.bytes if isinstance(v, uuid.UUID) else v for v in values], pa.binary(16))


def _booleans(values: Sequence[Any]) -> pa.Array:
    try:
        return pa.array(values).cast(pa.bool_())
    except pa.ArrowTypeError:  # SQLite's 0 and 1 beside real booleans
        return pa.array([None if value is None else bool(value) for value in values], pa.bool_())


def _floats(values: Sequence[Any]) -> pa.Array:
    try:
        return pa.array(values, pa.float64())
    except (pa.ArrowTypeError, pa.ArrowInvalid):  # decimals, and integers beyond 53 bits
        return pa.array([None if value is None else float(value) for value in values], pa.float64())


def _integers(values: Sequence[Any]) -> pa.Array:
    # SQLite goes over to floats where 64 bits overflow; with the type given, Arrow would cut them silently
    found = pa.array(values)
    return found if found.type == pa.int64() else found.cast(pa.int64())


def _write_options(compression: str = "zstd") -> pa.ipc.IpcWriteOptions:
    return pa.ipc.IpcWriteOptions(compression=compression)


class _Sink:
    """A file that keeps what is written until it is taken."""

    closed = False

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def write(self, data: Any) -> int:
        part = bytes(data)
        self.parts.append(part)
        return len(part)

    def flush(self) -> None:
        pass

    def take(self) -> list[bytes]:
        data = b"".join(self.parts)
        self.parts.clear()
        return [data[start : start + _PART_BYTES] for start in range(0, len(data), _PART_BYTES)]


class IpcEncoder:
    """Cuts one Arrow IPC stream into messages; call `finish` for the last one.

    ``compression`` is ``zstd``, or ``lz4``, which takes a third of the time for twice the bytes.
    """

    def __init__(self, schema: pa.Schema, compression: str = "zstd") -> None:
        self._sink = _Sink()
        self._writer = pa.ipc.new_stream(
            pa.PythonFile(self._sink, mode="w"), schema, options=_write_options(compression)
        )

    def start(self) -> list[bytes]:
        """What precedes the first batch, if it is written already."""
        return self._sink.take()

    def batch(self, batch: pa.RecordBatch) -> list[bytes]:
        self._writer.write_batch(batch)
        return self._sink.take()

    def finish(self) -> list[bytes]:
        self._writer.close()
        return self._sink.take()


class _Source:
    """A file over the messages of a stream, read as they arrive."""

    closed = False

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        taken: list[bytes | memoryview] = []
        missing = size
        while missing:
            if not self._rest:
                part = next(self._parts, None)
                if part is None:
                    break
                self._rest = memoryview(part)
                continue
            piece = self._rest if missing < 0 else self._rest[:missing]
            self._rest = self._rest[len(piece) :]
            taken.append(piece)
            missing = missing - len(piece) if missing > 0 else missing
        return b"".join(taken)


@contextlib.contextmanager
def _as_corruption(place: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise CorruptionError(
            f"{place}: not an Arrow stream: {error}".split("\n")[0], hint="ask again; check the network"
        ) from error


def decode_stream(parts: Iterator[bytes], place: str) -> Iterator[pa.RecordBatch]:
    """The batches of one Arrow IPC stream that comes in parts; `CorruptionError` names ``place``."""
    with _as_corruption(place):
        reader = pa.ipc.open_stream(pa.PythonFile(_Source(parts), mode="r"))
    while True:
        with _as_corruption(place):
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                return
        yield batch


def encode_schema(schema: pa.Schema) -> bytes:
    """A schema as one IPC message."""
    return bytes(schema.serialize())


def decode_schema(data: bytes) -> pa.Schema:
    """A schema from its IPC message."""
    with _as_corruption("schema of a fragment"):
        return pa.ipc.read_schema(pa.py_buffer(data))
