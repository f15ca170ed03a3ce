"""CALIBRATION collections: which dataset of a type is valid when, for each data ID."""

from __future__ import annotations

import hashlib
import uuid
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import sqlalchemy as sa

from federation.errors import ConflictError, UserError
from federation.model.collection import CollectionType
from federation.model.data_id import DataId, data_id_text
from federation.model.dataset import DATASET_ID_NAMESPACE
from federation.model.timespan import Timespan
from federation.registry import summaries
from federation.registry.chains import flatten
from federation.registry.members import (
    Occupant,
    collection_of_type,
    find_collection,
    governor_values,
    governors_of,
    occupants,
)
from federation.registry.views import Id, dataset_type_of, id_bytes, registry_of, types_of, values_of, views

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from federation.registry.schemas import HeldSchema
    from federation.registry.transaction import Transaction
    from federation.registry.views import Source, View

__all__ = ["Validity", "certify", "certify_ranges", "decertify", "valid_at"]

_FIRST, _LAST = np.iinfo(np.int64).min, np.iinfo(np.int64).max


@attrs.frozen
class Validity:
    """A dataset and a time in which it is the one to use for its data ID, in one CALIBRATION collection."""

    collection: str
    dataset_type: str
    dataset_id: uuid.UUID
    data_id: DataId
    timespan: Timespan


@attrs.frozen(eq=False)
class _Ranges:
    """Validity ranges column by column; ``begins`` and ``ends`` in TAI ns, None is unbounded."""

    ids: list[bytes]
    dataset_ids: list[bytes]
    begins: list[int | None]
    ends: list[int | None]

    def span(self, number: int) -> Timespan:
        return Timespan(self.begins[number], self.ends[number])


def certify(tx: Transaction, name: str, timespan: Timespan, ids: Iterable[Id]) -> int:
    """Declare calibrations valid for a timespan in a CALIBRATION collection; returns how many ranges were new.

    `ConflictError` when another dataset of the same type and data ID is valid in a part of it; `UserError` for an empty
    timespan, a dataset type that is no calibration, or a collection of another type.
    """
    wanted = list(dict.fromkeys(ids))
    count = len(wanted)
    return certify_ranges(tx, name, wanted, [timespan.begin] * count, [timespan.end] * count)


def certify_ranges(
    tx: Transaction,
    name: str,
    ids: Sequence[Id],
    begins: Sequence[int | None],
    ends: Sequence[int | None],
) -> int:
    """`certify` for many ranges: dataset ``ids[i]`` is valid from ``begins[i]`` to before ``ends[i]``.

    Both are TAI nanoseconds since 1970-01-01T00:00:00 TAI; None is unbounded.
    """
    owner = collection_of_type(tx, name, CollectionType.CALIBRATION)
    identities = id_bytes(ids)
    types = types_of(tx, identities)
    texts = {identity: str(uuid.UUID(bytes=identity)) for identity in types}
    by_type: dict[str, dict[bytes, int]] = {}
    for number, (dataset_id, begin, end) in enumerate(zip(identities, begins, ends, strict=True)):
        if begin is not None and end is not None and begin >= end:
            raise UserError(
                f"{name}: validity range {Timespan(begin, end)} of dataset {texts[dataset_id]} is empty",
                hint="give a timespan that ends after it begins",
            )
        # named by what it says, so that the same certification twice is one
        validity = _validity_id(name, texts[dataset_id], begin, end)
        by_type.setdefault(types[dataset_id], {}).setdefault(validity, number)
    count = 0
    for dataset_type, chosen in by_type.items():
        numbers = chosen.values()
        ranges = _Ranges(
            list(chosen),
            [identities[n] for n in numbers],
            [begins[n] for n in numbers],
            [ends[n] for n in numbers],
        )
        count += _certify_type(tx, owner, name, dataset_type, ranges)
    return count


def _validity_id(name: str, dataset_id: str, begin: int | None, end: int | None) -> bytes:
    """The 16 bytes of ``uuid5(DATASET_ID_NAMESPACE, "validity=...")``, without an object for each."""
    said = f"validity={name},{dataset_id},{begin},{end}".encode()
    digest = bytearray(hashlib.sha1(DATASET_ID_NAMESPACE.bytes + said, usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return bytes(digest)


def _certify_type(tx: Transaction, owner: HeldSchema, name: str, dataset_type: str, new: _Ranges) -> int:
    declared = dataset_type_of(tx, dataset_type)
    if not declared.is_calibration:
        raise UserError(
            f"dataset type {dataset_type!r} is no calibration and can't be certified into {name!r}",
            hint="declare it as a calibration (is_calibration), or tag the datasets",
        )
    universe = tx.registry.universe
    group = universe.group(declared.dimensions)
    governors = governors_of(universe, group)
    columns = (*group.required, *(governor for governor in governors if governor not in group.required))
    values = values_of(tx, dataset_type, columns, new.dataset_ids)
    width = len(group.required)
    data_ids = {dataset_id: row[:width] for dataset_id, row in values.items()}
    there, present = _there(tx, owner, name, dataset_type, group.required, new, data_ids)
    kept = [number for number, validity in enumerate(new.ids) if validity not in present]
    fresh = _Ranges(
        [new.ids[n] for n in kept],
        [new.dataset_ids[n] for n in kept],
        [new.begins[n] for n in kept],
        [new.ends[n] for n in kept],
    )
    _check_overlaps(name, dataset_type, group.required, data_ids, there, fresh)
    _put(tx, name, dataset_type, fresh)
    if kept:
        summaries.note(tx, name, dataset_type, governor_values(governors, columns, values.values()))
    return len(kept)


def _there(
    tx: Transaction,
    owner: HeldSchema,
    name: str,
    dataset_type: str,
    required: Sequence[str],
    new: _Ranges,
    data_ids: dict[bytes, tuple[Any, ...]],
) -> tuple[_Ranges, set[bytes]]:
    """Ranges that could overlap new ones, and the ids of those of this schema.

    Data IDs of their datasets are added to ``data_ids``.
    """
    there = _Ranges([], [], [], [])
    present: set[bytes] = set()
    said = set(new.ids)
    wanted = set(data_ids.values())
    begins = [_FIRST if begin is None else begin for begin in new.begins]
    ends = [_LAST if end is None else end for end in new.ends]
    for view in views(tx):
        # a collection of another schema: what its owner has certified counts too
        if view.held not in (tx.held, owner):
            continue
        where = _overlapping(view.tables["calibration"], Timespan(min(begins), max(ends)))
        for old in occupants(tx, view, "calibration", name, dataset_type, required, wanted, where):
            is_said_again = old.validity_id in said
            if is_said_again and view.held != tx.held:
                continue  # the owner said it before: it is new here
            if is_said_again:
                present.add(old.validity_id)
            if old.data_id in wanted:
                data_ids[old.dataset_id] = old.data_id
                there.ids.append(old.validity_id)
                there.dataset_ids.append(old.dataset_id)
                there.begins.append(old.begin)
                there.ends.append(old.end)
    return there, present


def _overlapping(table: sa.Table, timespan: Timespan) -> list[sa.ColumnElement[bool]]:
    begin, end = table.c.timespan_begin, table.c.timespan_end
    where: list[sa.ColumnElement[bool]] = []
    if timespan.end is not None:
        where.append(sa.or_(begin.is_(None), begin < timespan.end))
    if timespan.begin is not None:
        where.append(sa.or_(end.is_(None), end > timespan.begin))
    return where


def _check_overlaps(
    name: str,
    dataset_type: str,
    required: Sequence[str],
    data_ids: Mapping[bytes, tuple[Any, ...]],
    there: _Ranges,
    fresh: _Ranges,
) -> None:
    """Sorted by data ID and begin, no range may reach beyond the begin of the next."""
    both = _Ranges(
        there.ids + fresh.ids,
        there.dataset_ids + fresh.dataset_ids,
        there.begins + fresh.begins,
        there.ends + fresh.ends,
    )
    if len(both.ids) < 2 or not fresh.ids:
        return
    codes: dict[tuple[Any, ...] | None, int] = {}
    code = np.array([codes.setdefault(data_ids.get(i), len(codes)) for i in both.dataset_ids])
    begin = np.array([_FIRST if value is None else value for value in both.begins], dtype=np.int64)
    end = np.array([_LAST if value is None else value for value in both.ends], dtype=np.int64)
    order = np.lexsort((end, begin, code))
    code, begin, end = code[order], begin[order], end[order]
    wrong = np.flatnonzero((code[1:] == code[:-1]) & (begin[1:] < end[:-1]))
    if not wrong.size:
        return
    first, second = int(order[wrong[0]]), int(order[wrong[0] + 1])
    data_id = data_id_text(required, data_ids.get(both.dataset_ids[first], ()))
    one, other = (uuid.UUID(bytes=both.dataset_ids[number]) for number in (first, second))
    raise ConflictError(
        f"{name}: {dataset_type} {data_id} would have two valid datasets: {one} in {both.span(first)} "
        f"and {other} in {both.span(second)}",
        hint="certify for a timespan that is free, or decertify the other first",
    )


def decertify(
    tx: Transaction,
    name: str,
    dataset_type: str,
    timespan: Timespan,
    data_ids: Iterable[Mapping[str, Any]] | None = None,
) -> int:
    """Make nothing of a type valid in a timespan, for some data IDs or for all; returns how many ranges were cut.

    Of a range that reaches beyond the timespan the rest stays valid. Ranges that another schema has certified stay.
    """
    collection_of_type(tx, name, CollectionType.CALIBRATION)
    if timespan.is_empty:
        raise UserError(
            f"{name}: timespan {timespan} to decertify is empty",
            hint="give a timespan that ends after it begins",
        )
    universe = tx.registry.universe
    group = universe.group(dataset_type_of(tx, dataset_type).dimensions)
    wanted = (
        None
        if data_ids is None
        else {DataId.standardize(universe, group, data_id).values_ for data_id in data_ids}
    )
    view = next(iter(views(tx)))
    where = _overlapping(view.tables["calibration"], timespan)
    if wanted is None:
        found = list(_ranges_of(view, name, dataset_type, where))
    else:
        rows = occupants(tx, view, "calibration", name, dataset_type, group.required, wanted, where)
        found = [row for row in rows if row.data_id in wanted]
    rest = _Ranges([], [], [], [])
    for row in found:
        text = str(uuid.UUID(bytes=row.dataset_id))
        for begin, end in _remains(Timespan(row.begin, row.end), timespan):
            rest.ids.append(_validity_id(name, text, begin, end))
            rest.dataset_ids.append(row.dataset_id)
            rest.begins.append(begin)
            rest.ends.append(end)
    tx.delete("calibration", [{"validity_id": row.validity_id} for row in found])
    _put(tx, name, dataset_type, rest)
    return len(found)


def _ranges_of(
    view: View, name: str, dataset_type: str, where: Sequence[sa.ColumnElement[bool]]
) -> Iterator[Occupant]:
    """Ranges of a type in one schema, also those of datasets that are gone, without data IDs."""
    table = view.tables["calibration"]
    chosen = sa.select(
        view.id_column(table.c.dataset_id).label("dataset_id"),
        view.id_column(table.c.validity_id).label("validity_id"),
        table.c.timespan_begin,
        table.c.timespan_end,
    ).where(table.c.collection == name, table.c.dataset_type == dataset_type, *where)
    for row in view.connection.execute(chosen):
        begin, end = row.timespan_begin, row.timespan_end
        yield Occupant((), bytes(row.dataset_id), begin, end, bytes(row.validity_id))


def _put(tx: Transaction, name: str, dataset_type: str, ranges: _Ranges) -> None:
    count = len(ranges.ids)
    tx.put_columns(
        "calibration",
        {
            "collection": [name] * count,
            "dataset_id": ranges.dataset_ids,
            "dataset_type": [dataset_type] * count,
            "timespan_begin": ranges.begins,
            "timespan_end": ranges.ends,
            "validity_id": ranges.ids,
        },
        fresh=True,
    )


def _remains(span: Timespan, cut: Timespan) -> list[tuple[int | None, int | None]]:
    """What of ``span`` lies before and after ``cut``, which overlaps it.

    >>> _remains(Timespan(0, 100), Timespan(40, 60)), _remains(Timespan(None, 10), Timespan(5, None))
    ([(0, 40), (60, 100)], [(None, 5)])
    """
    parts: list[tuple[int | None, int | None]] = []
    if cut.begin is not None and (span.begin is None or span.begin < cut.begin):
        parts.append((span.begin, cut.begin))
    if cut.end is not None and (span.end is None or cut.end < span.end):
        parts.append((cut.end, span.end))
    return parts


def valid_at(
    source: Source,
    name: str,
    dataset_type: str,
    timespan: Timespan,
    data_ids: Iterable[Mapping[str, Any]] | None = None,
) -> list[Validity]:
    """The calibrations of a type that are valid in some part of a timespan, for some data IDs or for all.

    ``name`` is a CALIBRATION collection or a chain: the first collection of it that has something for a data ID
    decides, and collections of other types are passed over. A timespan that reaches over several ranges gives several
    for a data ID. Ordered by data ID and begin. `NotFoundError` for an unknown collection or dataset type.
    """
    universe = registry_of(source).universe
    group = universe.group(dataset_type_of(source, dataset_type).dimensions)
    wanted = (
        None
        if data_ids is None
        else {DataId.standardize(universe, group, data_id).values_ for data_id in data_ids}
    )
    found = find_collection(source, name)
    if found is None or found[1]["type"] != CollectionType.CHAINED.value:
        collection_of_type(source, name, CollectionType.CALIBRATION)
    answer: dict[tuple[Any, ...], list[Validity]] = {}
    for collection in () if timespan.is_empty else flatten(source, name):
        here: dict[bytes, tuple[tuple[Any, ...], Validity]] = {}
        for view in views(source):
            where = _overlapping(view.tables["calibration"], timespan)
            for row in occupants(
                source, view, "calibration", collection, dataset_type, group.required, wanted, where
            ):
                if row.data_id not in answer and (wanted is None or row.data_id in wanted):
                    validity = Validity(
                        collection,
                        dataset_type,
                        uuid.UUID(bytes=row.dataset_id),
                        DataId(group.required, row.data_id),
                        Timespan(row.begin, row.end),
                    )
                    here.setdefault(row.validity_id, (row.data_id, validity))
        for data_id, validity in here.values():
            answer.setdefault(data_id, []).append(validity)
    return [
        validity
        for data_id in sorted(answer)
        for validity in sorted(
            answer[data_id], key=lambda v: _FIRST if v.timespan.begin is None else v.timespan.begin
        )
    ]
