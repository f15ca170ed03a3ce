"""Inserting dimension records: complete, consistent with what is known, and each once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from federation.errors import ConflictError, UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.model.logical import TableDef
    from federation.registry.transaction import Row, Transaction

__all__ = ["insert_records"]


def insert_records(tx: Transaction, element: str, rows: Sequence[Row]) -> int:
    """Insert records of an element into the transaction's schema; returns how many were new or completed.

    A record that is there already is left alone; one that says more (NULL there, a value here) completes it.
    `ConflictError` when two say different things; `UserError` for a record that names an unknown one.
    """
    universe = tx.registry.universe
    universe[element]
    table = tx.table(element)
    complete = [{name: row.get(name) for name in table.stored_names} for row in rows]
    for row, given in zip(complete, rows, strict=True):
        _check(table, row, given)
    _derive(tx, element, complete)
    _check_references(tx, table, complete)
    keys = [tuple(row[name] for name in table.key) for row in complete]
    there = {tuple(row[n] for n in table.key): row for row in tx.select(element, table.key, keys)}
    fresh: dict[tuple[Any, ...], dict[str, Any]] = {}
    for key, row in zip(keys, complete, strict=True):
        known = fresh.get(key) or there.get(key)
        if known is None:
            fresh[key] = row
        elif (merged := _merge(table, known, row)) != known:
            fresh[key] = merged
    tx.put(element, list(fresh.values()))
    return len(fresh)


def _check(table: TableDef, row: Row, given: Row) -> None:
    unknown = set(given) - set(table.stored_names)
    if unknown:
        raise UserError(
            f"{table.name} has no column {', '.join(sorted(unknown))}",
            hint="its columns: " + ", ".join(table.stored_names),
        )
    for column in table.stored:
        if row[column.name] is None and not column.nullable:
            raise UserError(
                f"{table.name} record {dict(given)} lacks {column.name}", hint="give every key a value"
            )


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


def _derive(tx: Transaction, element: str, rows: Sequence[Row]) -> None:
    """Insert the records of elements that exist because this one names them."""
    for derived in tx.registry.universe.elements:
        if derived.derived_from == element and derived.primary_key is not None:
            values = dict.fromkeys(row[derived.name] for row in rows if row[derived.name] is not None)
            insert_records(tx, derived.name, [{derived.primary_key.name: value} for value in values])


def _check_references(tx: Transaction, table: TableDef, rows: Sequence[Row]) -> None:
    for reference in table.references:
        wanted = {
            tuple(row[name] for name in reference.columns)
            for row in rows
            if all(row[name] is not None for name in reference.columns)
        }
        missing = wanted - tx.known(reference.table, reference.target, wanted).keys()
        if missing:
            key = ", ".join(
                f"{name}={value!r}"
                for name, value in zip(reference.target, min(missing, key=str), strict=True)
            )
            raise UserError(
                f"{table.name} refers to {reference.table} {key}, which is not known at {tx.registry.site}"
                + (f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""),
                hint=f"insert the {reference.table} records first, or follow the site that has them",
            )
