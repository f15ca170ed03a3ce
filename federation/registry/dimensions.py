"""Inserting dimension records: complete, consistent with what is known, and each once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from federation.errors import ConflictError, UserError
from federation.model.coded import Coded
from federation.model.region_arrays import check_regions
from federation.registry.columns import check_values, columns_of
from federation.registry.keyed import has_none_in_range
from federation.registry.transaction import select_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from federation.model.logical import Reference, TableDef
    from federation.registry.columns import Rows
    from federation.registry.transaction import Row, Transaction

    Columns = Mapping[str, Sequence[Any]]

__all__ = ["insert_records"]


def insert_records(tx: Transaction, element: str, rows: Rows) -> int:
    """Insert records of an element into the transaction's schema; returns how many were new or completed.

    A record that is there already is left alone; one that says more (NULL there, a value here) completes it.
    `ConflictError` when two say different things; `UserError` for a record that names an unknown one, lacks a key, or
    has a value that is not of its column's type.
    """
    tx.registry.universe[element]
    table = tx.table(element)
    columns, count = columns_of(rows, table.stored_names, element)
    if not count:
        return 0
    checked = {name: _checked(table, name, columns) for name in table.stored_names}
    named = dict.fromkeys((*table.key, *(name for one in table.references for name in one.columns)))
    coded = {name: Coded.of(checked[name]) for name in named}
    _derive(tx, element, coded)
    for reference in table.references:
        _check_reference(tx, table, reference, coded)
    physical = tx.physical(element)
    if Coded.are_distinct([coded[name] for name in table.key], count) and has_none_in_range(
        tx.connection, physical, {name: coded[name].values for name in table.key}
    ):
        tx.put_columns(element, {**checked, **coded}, fresh=True)
        return count
    keys = list(zip(*(checked[name] for name in table.key), strict=True))
    there = {
        tuple(row[name] for name in table.key): row
        for row in select_rows(tx.connection, physical, table.key, keys)
    }
    return _complete(tx, table, keys, checked, there)


def _complete(
    tx: Transaction,
    table: TableDef,
    keys: Sequence[tuple[Any, ...]],
    columns: Columns,
    there: Mapping[tuple[Any, ...], Row],
) -> int:
    """Insert what is new, and complete what some of the records say more of."""
    changed: dict[tuple[Any, ...], dict[str, Any]] = {}
    for key, values in zip(keys, zip(*columns.values(), strict=True), strict=True):
        row = dict(zip(columns, values, strict=True))
        known = changed.get(key) or there.get(key)
        if known is None:
            changed[key] = row
        elif (merged := _merge(table, known, row)) != known:
            changed[key] = merged
    tx.put(table.name, list(changed.values()))
    return len(changed)


def _checked(table: TableDef, name: str, columns: Mapping[str, list[Any]]) -> list[Any]:
    """One column's values as they are stored."""
    column = table.column(name)
    values = check_values(column.type, columns[name], f"{table.name} record: {name}")
    if not column.nullable and None in values:
        raise UserError(
            f"{table.name} record {_record(columns, values.index(None))} lacks {name}",
            hint="give every key a value",
        )
    if name == "region":
        wrong = check_regions(values)
        if wrong is not None:
            raise UserError(
                f"{table.name} record {_record(columns, wrong)}: region of {len(values[wrong])} bytes starting "
                f"{values[wrong][:4].hex()} is not one",
                hint="give the encoding of an lsst-sphgeom Region, or the object",
            )
    return values


def _record(columns: Columns, number: int) -> dict[str, Any]:
    """The record at ``number`` as its caller gave it, for messages; bytes are left out."""
    row = {name: values[number] for name, values in columns.items()}
    return {
        name: value
        for name, value in row.items()
        if value is not None and not isinstance(value, (bytes, bytearray))
    }


def _merge(table: TableDef, known: Row, row: Row) -> dict[str, Any]:
    merged = {}
    for name in table.stored_names:
        old, new = known[name], row[name]
        if old is not None and new is not None and old != new:
            key = ", ".join(f"{n}={row[n]!r}" for n in table.key)
            raise ConflictError(
                f"{table.name} record {key}: {name} is {old!r} here and {new!r} in the new record",
                hint="mend the record that is wrong; a record is never overwritten",
            )
        merged[name] = new if old is None else old
    return merged


def _derive(tx: Transaction, element: str, columns: Mapping[str, Coded]) -> None:
    """Insert the records of elements that exist because this one names them."""
    for derived in tx.registry.universe.elements:
        if derived.derived_from == element and derived.primary_key is not None:
            values = [value for value in columns[derived.name].values if value is not None]
            insert_records(tx, derived.name, {derived.primary_key.name: values})


def _check_reference(
    tx: Transaction, table: TableDef, reference: Reference, columns: Mapping[str, Coded]
) -> None:
    """Every record that is named must be known here."""
    parts = [columns[name] for name in reference.columns]
    wanted = {key for key in Coded.combine(parts, len(parts[0])).values if None not in key}
    missing = wanted - tx.known_keys(reference.table, reference.target, wanted)
    if missing:
        key = ", ".join(
            f"{name}={value!r}" for name, value in zip(reference.target, min(missing, key=str), strict=True)
        )
        raise UserError(
            f"{table.name} refers to {reference.table} {key}, which is not known at {tx.registry.site}"
            + (f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""),
            hint=f"insert the {reference.table} records first, or follow the site that has them",
        )
