"""Walks along provenance at one site: what is asked and answered, as values and as messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pyarrow as pa

from federation.errors import CorruptionError, UserError
from federation.model.lineage import Direction
from federation.model.position import Position, SchemaId
from federation.wire.arrow import IpcEncoder, decode_stream
from federation.wire.convert import position_in, position_out
from federation.wire.v1 import lineage_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt

    Ints = npt.NDArray[np.int32]

__all__ = ["WalkAnswer", "WalkCall", "answer_in", "answer_out", "call_in", "call_out"]

_ID_BYTES = 16
_DATASETS = pa.schema(
    [
        ("id", pa.binary(_ID_BYTES)),
        ("steps", pa.int32()),
        ("expanded", pa.bool_()),
        ("dataset_type", pa.dictionary(pa.int32(), pa.string())),
    ]
)
_EDGES = pa.schema([("near", pa.int32()), ("far", pa.int32()), ("label", pa.int16())])


@attrs.frozen(eq=False)
class WalkCall:
    """Go from ``ids`` (16 bytes each, end to end), which ``steps`` led to, through the edges of ``schemas``.

    All of ``ids`` are gone on from; what is reached is unless its type is one of ``stop_at`` or, where some are given,
    not known at the site, or ``depth`` steps have led to it.
    """

    direction: Direction
    ids: bytes
    schemas: tuple[SchemaId, ...]
    steps: Ints | None = None
    depth: int | None = None
    stop_at: tuple[str, ...] = ()
    user: str = ""


@attrs.frozen(eq=False)
class WalkAnswer:
    """What a site found: n datasets by ``ids`` (16 bytes each) and m edges between places in these.

    ``steps`` (n) are the fewest within the site, ``expanded`` (n) says from which the site went on, ``dataset_types``
    (n) what it knows them to be, where it was asked to stop at some (else empty). ``near``, ``far`` (m) are in the
    direction of the walk, ``labels`` (m) are places in ``label_names``: schema and task.
    """

    positions: tuple[Position, ...]
    ids: bytes
    steps: Ints
    expanded: npt.NDArray[np.bool_]
    dataset_types: tuple[str | None, ...]
    near: Ints
    far: Ints
    labels: npt.NDArray[np.int16]
    label_names: tuple[tuple[SchemaId, str | None], ...]


def call_out(call: WalkCall) -> Any:
    """The message of a call."""
    return lineage_pb2.WalkRequest(
        downstream=call.direction is Direction.DOWNSTREAM,
        ids=call.ids,
        steps=b"" if call.steps is None else call.steps.astype("<i4").tobytes(),
        depth=call.depth,
        stop_at=call.stop_at,
        schemas=[_schema_out(one) for one in call.schemas],
        user=call.user,
    )


def call_in(message: Any) -> WalkCall:
    """The call in a message; `UserError` where its parts do not fit together."""
    count = len(message.ids) // _ID_BYTES
    if len(message.ids) % _ID_BYTES or len(message.steps) not in (0, 4 * count):
        raise UserError(
            f"a walk from {len(message.ids)} bytes of ids and {len(message.steps)} of steps",
            hint="send 16 bytes for each id, and 4 or none for its steps",
        )
    return WalkCall(
        Direction.DOWNSTREAM if message.downstream else Direction.UPSTREAM,
        message.ids,
        tuple(SchemaId(one.site, one.schema) for one in message.schemas),
        np.frombuffer(message.steps, "<i4").astype(np.int32) if message.steps else None,
        message.depth if message.HasField("depth") else None,
        tuple(message.stop_at),
        message.user,
    )


def answer_out(answer: WalkAnswer) -> Iterator[Any]:
    """The messages of an answer."""
    yield lineage_pb2.WalkResponse(
        positions=map(position_out, answer.positions),
        labels=[
            lineage_pb2.EdgeLabel(schema=_schema_out(schema), task=task)
            for schema, task in answer.label_names
        ],
    )
    count = len(answer.steps)
    types = answer.dataset_types or (None,) * count
    datasets = pa.RecordBatch.from_arrays(
        [
            pa.Array.from_buffers(pa.binary(_ID_BYTES), count, [None, pa.py_buffer(answer.ids)]),
            pa.array(answer.steps),
            pa.array(answer.expanded),
            pa.array(types, pa.string()).dictionary_encode(),
        ],
        schema=_DATASETS,
    )
    edges = pa.RecordBatch.from_arrays(
        [pa.array(answer.near), pa.array(answer.far), pa.array(answer.labels)], schema=_EDGES
    )
    for part in _encoded(datasets):
        yield lineage_pb2.WalkResponse(datasets=part)
    for part in _encoded(edges):
        yield lineage_pb2.WalkResponse(edges=part)


def answer_in(messages: Iterable[Any], site: str, *, with_types: bool) -> WalkAnswer:
    """The answer in the messages of one call; `CorruptionError` where they are none."""
    positions: list[Position] = []
    labels: list[tuple[SchemaId, str | None]] = []
    datasets, edges = [], []
    for message in messages:
        positions += map(position_in, message.positions)
        labels += [
            (SchemaId(one.schema.site, one.schema.schema), one.task if one.HasField("task") else None)
            for one in message.labels
        ]
        datasets += [message.datasets] if message.datasets else []
        edges += [message.edges] if message.edges else []
    place = f"walk at site {site}"
    found = _decoded(datasets, _DATASETS, place)
    between = _decoded(edges, _EDGES, place)
    count, label_count = found.num_rows, len(labels)
    near, far, label = (between.column(name).to_numpy() for name in _EDGES.names)
    for values, bound in ((near, count), (far, count), (label, label_count)):
        if len(values) and (values.min() < 0 or values.max() >= bound):
            raise CorruptionError(f"{place}: an edge leads out of the answer", hint="ask again")
    ids = found.column("id").combine_chunks()
    data = (
        bytes(memoryview(ids.buffers()[1])[_ID_BYTES * ids.offset :][: _ID_BYTES * count]) if count else b""
    )
    return WalkAnswer(
        tuple(positions),
        data,
        found.column("steps").to_numpy(),
        found.column("expanded").to_numpy(),
        tuple(found.column("dataset_type").to_pylist()) if with_types else (),
        near,
        far,
        label,
        tuple(labels),
    )


def _encoded(batch: pa.RecordBatch) -> Iterator[bytes]:
    encoder = IpcEncoder(batch.schema)
    yield from encoder.batch(batch)
    yield from encoder.finish()


def _decoded(parts: list[bytes], schema: pa.Schema, place: str) -> pa.Table:
    table = pa.Table.from_batches(decode_stream(iter(parts), place), schema)
    return table.combine_chunks()


def _schema_out(schema: SchemaId) -> Any:
    return lineage_pb2.WalkSchema(site=schema.site, schema=schema.name)
