"""Rows of Arrow batches as objects, column by column: no Python code runs once per value."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import repeat
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import pyarrow as pa

from federation.garbage import no_cycle_search
from federation.model.data_id import DataId, ExpandedDataId
from federation.model.dataset import DatasetRef
from federation.model.region import decode_region
from federation.model.timespan import Timespan

if TYPE_CHECKING:
    from lsst.sphgeom import Region

__all__ = ["DimensionRecord", "data_ids", "dataset_refs", "expanded_data_ids", "python_values", "records"]

T = TypeVar("T")


@attrs.frozen
class DimensionRecord(Mapping[str, Any]):
    """One record of an element: a mapping from its columns, which are attributes too.

    Times are TAI nanoseconds, and ``record["region"]`` is encoded; `region` and `timespan` are the objects.
    """

    element: str
    names: tuple[str, ...]
    values_: tuple[Any, ...]

    def __getitem__(self, name: str) -> Any:
        try:
            return self.values_[self.names.index(name)]
        except ValueError:
            raise KeyError(name) from None

    def __getattr__(self, name: str) -> Any:
        if name in {"element", "names", "values_"}:  # of an object that is not filled in yet
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"{self.element} has no {name!r}: {', '.join(self.names)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __hash__(self) -> int:
        return hash((self.element, self.values_))

    @property
    def region(self) -> Region | None:
        """The region; None where there is none."""
        encoded = self.get("region")
        return None if encoded is None else decode_region(encoded)

    @property
    def timespan(self) -> Timespan | None:
        """The timespan; None for an element without one."""
        if "timespan_begin" not in self.names:
            return None
        return Timespan(self["timespan_begin"], self["timespan_end"])


def dataset_refs(batch: pa.RecordBatch, dataset_type: str, dimensions: tuple[str, ...]) -> list[DatasetRef]:
    """References from a batch with columns dataset_id, run and the dimensions."""
    with no_cycle_search():
        ids, runs = python_values(batch.column("dataset_id")), python_values(batch.column("run"))
        minimal = data_ids(batch, dimensions)
        return _filled(DatasetRef, batch.num_rows, ids, repeat(dataset_type), minimal, runs)


def data_ids(batch: pa.RecordBatch, dimensions: tuple[str, ...]) -> list[DataId]:
    """Data IDs of the batch's columns ``dimensions``; all share that tuple as their keys."""
    with no_cycle_search():
        return _filled(DataId, batch.num_rows, repeat(dimensions), _rows(batch, dimensions))


def expanded_data_ids(
    batch: pa.RecordBatch, required: tuple[str, ...], implied: tuple[str, ...]
) -> list[ExpandedDataId]:
    """Data IDs with implied values."""
    with no_cycle_search():
        minimal = data_ids(batch, required)
        return _filled(ExpandedDataId, batch.num_rows, minimal, repeat(implied), _rows(batch, implied))


def records(batch: pa.RecordBatch, element: str, names: tuple[str, ...]) -> list[DimensionRecord]:
    """Records of an element from its table's columns."""
    with no_cycle_search():
        return _filled(DimensionRecord, batch.num_rows, repeat(element), repeat(names), _rows(batch, names))


def _rows(batch: pa.RecordBatch, names: tuple[str, ...]) -> Iterable[tuple[Any, ...]]:
    if not names:
        return repeat((), batch.num_rows)
    return zip(*(python_values(batch.column(name)) for name in names), strict=True)


def python_values(column: pa.Array) -> list[Any]:
    """A column as Python values: UUIDs as `uuid.UUID`, times as TAI nanoseconds."""
    if column.type == pa.uuid():
        return _uuids(_plain(column.storage))
    if column.type == pa.timestamp("ns"):
        column = column.cast(pa.int64())
    return _plain(column)


def _plain(column: pa.Array) -> list[Any]:
    """`pa.Array.to_pylist` by way of numpy, which does not make an Arrow scalar of every value."""
    values: list[Any]
    if column.null_count and not pa.types.is_string(column.type):
        values = column.to_pylist()  # numpy has no NULL among numbers
    else:
        values = column.to_numpy(zero_copy_only=False).tolist()
    return values


def _uuids(raw: list[bytes | None]) -> list[uuid.UUID | None]:
    if None in raw:
        return [None if value is None else uuid.UUID(bytes=value) for value in raw]
    numbers = map(int.from_bytes, raw, repeat("big"))  # type: ignore[arg-type]
    made = list(map(object.__new__, repeat(uuid.UUID, len(raw))))
    _set(uuid.UUID, "int", made, numbers)
    _set(uuid.UUID, "is_safe", made, repeat(uuid.SafeUUID.unknown))
    return made  # type: ignore[return-value]


def _filled(cls: type[T], count: int, *columns: Iterable[Any]) -> list[T]:
    """``count`` objects of a frozen attrs class, from the values of each field.

    Fills the class's slots directly: its ``__init__`` would be called once for each object.
    """
    made = list(map(cls.__new__, repeat(cls, count)))
    for field, values in zip(attrs.fields(cls), columns, strict=True):  # type: ignore[arg-type]
        _set(cls, field.name, made, values)
    return made


def _set(cls: type[Any], slot: str, objects: list[Any], values: Iterable[Any]) -> None:
    deque(map(cls.__dict__[slot].__set__, objects, values), maxlen=0)
